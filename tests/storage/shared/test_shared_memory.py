"""What only memory that processes share can get wrong: other processes, and files."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.gateway.shared import STRANGERS, InProcessState
from app.storage.shared.region import open_region
from app.storage.shared.shared_memory import SharedMemory, open_shared
from app.storage.shared.slots import SLOT

HOUSE = Path(__file__).parents[3]

COUNT = """
from threading import Thread
def increment(value):
    return str(int(value or 0) + 1).encode(), None
def count():
    for _ in range(500):
        state.update("n", increment)
threads = [Thread(target=count) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(state.alone, flush=True)
"""
HOLD = """
def hold(value):
    print("held", flush=True)
    sys.stdin.readline()
    return b"by the other", None
state.update("n", hold)
print("done", flush=True)
sys.stdin.readline()
"""


@contextlib.contextmanager
def another_process(path, script):
    """A process that opens the memory, says so, and goes on with the script if told."""
    lines = f"""
import sys
from pathlib import Path
from app.storage.shared.shared_memory import SharedMemory
state = SharedMemory(Path({str(path)!r}))
print("open", flush=True)
sys.stdin.readline()
{script}
state.close()
"""
    with subprocess.Popen(
        [sys.executable, "-c", lines],
        cwd=HOUSE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "open\n"
        yield process
        process.kill()


def go_on(process):
    process.stdin.write("\n")
    process.stdin.flush()


def leave_behind(path, value):
    """As if the machine had lost every process that used the memory."""
    memory = SharedMemory(path)
    with another_process(path, "") as other:
        put(memory, "n", value)
        memory.close()
    other.wait()


def put(state, key, value, ttl=None):
    state.update(key, lambda _: (value, None), ttl)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "memory"


@pytest.fixture
def memory(path):
    with contextlib.closing(SharedMemory(path)) as memory:
        yield memory


class TestAmongProcesses:
    def test_no_count_is_lost(self, memory, path):
        with contextlib.ExitStack() as stack:
            others = [
                stack.enter_context(another_process(path, COUNT)) for _ in range(3)
            ]
            for other in others:
                go_on(other)
            alone = [int(other.stdout.readline()) for other in others]

        lost = sum(alone)  # none, unless this machine stands still for 50 ms
        assert int(memory.read("n")) == 3000 - lost
        assert lost < 300

    def test_the_lock_of_a_killed_one_is_free(self, memory, path):
        put(memory, "n", b"before")
        with another_process(path, HOLD) as other:
            go_on(other)
            assert other.stdout.readline() == "held\n"
            other.kill()
            other.wait()

            assert memory.update("n", lambda value: (b"after", value)) == b"before"
            assert (memory.read("n"), memory.alone) == (b"after", 0)

    def test_one_that_is_frozen_holds_nobody_up(self, memory, path):
        put(memory, "n", b"before")
        with another_process(path, HOLD) as other:
            go_on(other)
            assert other.stdout.readline() == "held\n"
            other.send_signal(signal.SIGSTOP)

            took = [self.seconds_to_put(memory, b"%d" % n) for n in range(5)]

            assert took[0] < 0.05 + 0.25
            assert sorted(took)[2] < 0.04  # the next ones do not even wait
            assert memory.alone == 5
            assert memory.read("n") == b"4"  # what it knows itself

    def seconds_to_put(self, memory, value):
        started = time.monotonic()
        put(memory, "n", value)
        return time.monotonic() - started

    def test_what_was_changed_alone_gives_way_to_what_is_shared(self, memory, path):
        with another_process(path, HOLD) as other:
            go_on(other)
            assert other.stdout.readline() == "held\n"
            put(memory, "n", b"alone")
            go_on(other)
            assert other.stdout.readline() == "done\n"

            before = memory.update("n", lambda value: (b"shared", value))

            assert (before, memory.read("n")) == (b"by the other", b"shared")

    def test_a_forked_child_goes_on_alone(self, memory, path):
        put(memory, "n", b"the parent's")
        child = os.fork()
        if child == 0:
            put(memory, "n", b"the child's")
            os._exit(0 if memory.read("n") == b"the child's" else 1)

        assert os.waitpid(child, 0)[1] == 0
        assert memory.read("n") == b"the parent's"
        with contextlib.closing(SharedMemory(path)):
            pass
        assert path.exists()  # the parent is still counted


class TestDamage:
    def test_a_value_that_was_half_written_is_none(self, memory, path):
        put(memory, "n", b"0123456789")
        content = path.read_bytes()
        with path.open("r+b") as file:
            file.seek(content.index(b"0123456789") + 3)
            file.write(b"x")

        assert memory.read("n") is None
        assert memory.update("n", lambda value: (b"new", value)) is None
        assert memory.read("n") == b"new"

    def test_a_length_that_makes_no_sense_is_none(self, memory, path):
        put(memory, "n", b"0123456789")
        with path.open("r+b") as file:
            file.seek(path.read_bytes().index(b"0123456789") - SLOT % 480)
            file.write(b"\xff" * 28)

        assert memory.read("n") is None

    def test_a_removed_file_is_made_anew(self, path):
        with contextlib.closing(SharedMemory(path, look_interval=0.0)) as memory:
            path.unlink()
            put(memory, "n", b"1")
            with contextlib.closing(SharedMemory(path)) as newcomer:
                assert newcomer.read("n") == b"1"

    def test_a_full_bucket_of_lasting_values_takes_no_more_but_serves(self, memory):
        place_of = memory._region.table.place_of
        bucket = place_of("0").bucket
        keys = [k for k in map(str, range(9000)) if place_of(k).bucket == bucket][:9]
        for key in keys:
            put(memory, key, key.encode())

        assert [memory.read(key) for key in keys] == [k.encode() for k in keys]
        assert memory.alone == 1


class TestWhereKeysLie:
    """Whoever chooses keys must not choose whom they push out."""

    def bucket(self, memory, key):
        return memory._region.table.place_of(key).bucket

    def test_all_processes_find_the_same_place(self, path):
        closing = contextlib.closing
        with closing(SharedMemory(path)) as one, closing(SharedMemory(path)) as other:
            put(one, "n", b"1")

            assert other.read("n") == b"1"

    def test_it_cannot_be_computed_from_outside(self, path, tmp_path):
        keys = [f"token:{n}" for n in range(50)]
        closing, elsewhere = contextlib.closing, tmp_path / "other"
        with closing(SharedMemory(path)) as a, closing(SharedMemory(elsewhere)) as b:
            here = [self.bucket(a, key) for key in keys]
            there = [self.bucket(b, key) for key in keys]

        assert sum(a == b for a, b in zip(here, there, strict=True)) < 10

    def test_a_flood_of_strangers_pushes_out_no_count_of_a_caller(self, memory):
        callers = [f"token:{n}" for n in range(40)]
        for key in callers:
            memory.update(key, lambda _: (b"5", None), ttl=60)
        for n in range(20_000):
            memory.update(f"{STRANGERS}{n}", lambda _: (b"1", None), ttl=60)

        assert all(memory.read(key) == b"5" for key in callers)
        assert memory.read(f"{STRANGERS}19999") == b"1"


class TestTheFile:
    def test_it_is_private(self, memory, path):
        assert path.stat().st_mode & 0o777 == 0o600

    def test_the_last_who_leaves_removes_it(self, path):
        first, second = SharedMemory(path), SharedMemory(path)
        put(first, "n", b"1")

        first.close()
        assert second.read("n") == b"1"
        assert path.exists()
        second.close()

        assert not path.exists()
        put(second, "n", b"2")  # late, and harmless
        assert second.read("n") == b"2"

    def test_one_that_just_ends_leaves_too(self, path):
        with another_process(path, "sys.exit()") as other:
            go_on(other)
            other.wait()

        assert not path.exists()

    def test_what_a_crash_left_is_used_again(self, path):
        leave_behind(path, b"1")
        assert path.exists()

        with contextlib.closing(SharedMemory(path)) as memory:
            assert memory.read("n") == b"1"

    def test_what_is_older_than_the_machines_start_is_forgotten(self, path):
        leave_behind(path, b"1")
        content = path.read_bytes()
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
        path.write_bytes(content.replace(boot, b"0" * len(boot)))

        with contextlib.closing(SharedMemory(path)) as memory:
            assert memory.read("n") is None

    def test_one_that_others_may_read_is_refused(self, path):
        path.touch(mode=0o644)

        with pytest.raises(PermissionError):
            open_region(path)

    def test_a_link_to_something_else_is_refused(self, path, tmp_path):
        (tmp_path / "precious").write_text("data")
        path.symlink_to(tmp_path / "precious")

        with pytest.raises(OSError, match="symbolic"):
            open_region(path)

        assert (tmp_path / "precious").read_text() == "data"

    def test_where_a_folder_will_not_do_the_next_one_is_used(self, tmp_path):
        state = open_shared("an instance", [tmp_path / "missing", tmp_path])

        assert isinstance(state, SharedMemory)
        assert len(list(tmp_path.iterdir())) == 1
        state.close()

    def test_where_none_will_do_each_process_goes_on_by_itself(self, tmp_path, caplog):
        state = open_shared("an instance", [tmp_path / "missing"])

        assert isinstance(state, InProcessState)
        assert "share nothing" in caplog.text

    def test_every_page_is_its_own_from_the_start(self, memory, path):
        """Writing into a hole of a full file system is a SIGBUS."""
        found = path.stat()

        assert found.st_blocks * 512 >= found.st_size > 2_000_000

    def test_no_room_is_found_out_at_the_start(self, tmp_path):
        script = f"""
import resource
from pathlib import Path
from app.storage.shared.shared_memory import open_shared
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
state = open_shared("an instance", [Path({str(tmp_path)!r})])
print(type(state).__name__)
"""
        said = subprocess.run(
            [sys.executable, "-c", script],
            cwd=HOUSE,
            capture_output=True,
            text=True,
            check=True,
        )

        assert said.stdout == "InProcessState\n"

    def test_two_instances_share_nothing(self, tmp_path):
        one = open_shared("sqlite:///a.db 127.0.0.1:1", [tmp_path])
        two = open_shared("sqlite:///a.db 127.0.0.1:2", [tmp_path])
        put(one, "n", b"1")

        assert two.read("n") is None
        one.close()
        two.close()
