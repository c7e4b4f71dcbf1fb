"""What gunicorn is told, and the hooks around the life of its processes."""

import contextlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from gunicorn.config import Config
from gunicorn.sock import UnixSocket
from gunicorn.util import load_class

from app.gateway.shared import InProcessState
from app.server.worker import Worker
from app.settings import load as load_settings
from app.storage.trail import open_backend
from app.wiring import shared
from tests.support.stack import free_port

HOUSE = Path(__file__).parents[1]
CONFIG = HOUSE / "gunicorn.conf.py"
TOKEN = "a-token-for-tests"


@pytest.fixture
def env(monkeypatch):
    def set_all(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"VX11_{name}", value)

    set_all(TENTACULO_LINK_TOKEN=TOKEN)
    return set_all


def load():
    """The file's names, as gunicorn sees them."""
    names = {"__file__": str(CONFIG)}
    exec(compile(CONFIG.read_text(), str(CONFIG), "exec"), names)
    return SimpleNamespace(**names)


def test_gunicorn_knows_all_of_its_settings(env):
    known, names = Config(), vars(load())

    for name, value in names.items():
        if name in known.settings:
            known.set(name, value)

    assert load_class(known.worker_class_str) is Worker
    assert known.preload_app is False
    assert known.reuse_port is False
    assert known.max_requests == 0
    assert known.http_parser == "python"
    assert known.limit_request_fields == 50
    assert known.limit_request_field_size == 8190
    assert known.control_socket_disable is True
    assert known.forwarded_allow_ips == ["127.0.0.1"]
    assert known.forwarder_headers == []


def test_a_unix_socket_is_for_the_user_and_the_group_alone(env, tmp_path):
    """Its peers are trusted proxies, and one of the metrics asks for no token."""
    known = Config()
    known.set("umask", load().umask)

    with contextlib.closing(UnixSocket(str(tmp_path / "s"), known, None)):
        mode = (tmp_path / "s").stat().st_mode & 0o777

    assert mode == 0o770


def test_what_an_operator_chooses_comes_from_the_settings(env):
    env(BIND="127.0.0.1:1234", WORKERS="3", THREADS="20", GRACE="7.5")

    config = load()

    assert "127.0.0.1:1234" in config.bind
    assert (config.workers, config.threads) == (3, 20)
    assert config.graceful_timeout == 8


def test_the_grace_covers_a_chat_by_default(env):
    env(CHAT_DEADLINE="20")

    assert load().graceful_timeout == 22


def test_callers_without_a_thread_have_room_beside_the_others(env):
    env(THREADS="512")

    assert load().worker_connections - load().threads >= 1000


def test_the_heartbeat_waits_for_no_disk(env):
    assert load().worker_tmp_dir == ("/dev/shm" if Path("/dev/shm").is_dir() else None)


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"TENTACULO_LINK_TOKEN": ""}, "VX11_TENTACULO_LINK_TOKEN"),
        ({"THREADS": "55", "SLOTS": "40", "QUEUE": "8"}, "VX11_QUEUE (8)"),
    ],
)
def test_a_bad_setting_is_named_and_nothing_starts(env, variables, problem):
    env(**variables)

    with pytest.raises(SystemExit) as refused:
        load()

    assert "does not start" in str(refused.value)
    assert problem in str(refused.value)


def test_a_variable_that_nobody_reads_is_told_at_the_start(env, tmp_path, caplog):
    env(SWICH_URL="secret-word", AUDIT_URL=f"sqlite:///{tmp_path}/audit.db")
    env(BIND=f"127.0.0.1:{free_port()}")
    master = Master()
    config = load()

    config.on_starting(master)
    config.on_exit(master)

    assert "VX11_SWICH_URL: is not read" in caplog.text
    assert "VX11_SWITCH_URL" in caplog.text
    assert "secret-word" not in caplog.text


@pytest.mark.parametrize("moves", [False, True])
def test_what_workers_share_outlives_each_of_them_until_the_master_ends(
    env, tmp_path, moves
):
    """In a reload the last old worker may go before the first new one has come."""
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    env(AUDIT_URL=f"sqlite:///{tmp_path}/audit.db", SHARED_DIR=str(folders[0]))
    env(BIND=f"127.0.0.1:{free_port()}")
    master, config = Master(), load()
    config.on_starting(master)
    env(SHARED_DIR=str(folders[moves]))

    def reload():
        note_as_a_worker()
        master.done.append(("reload",))

    master.reload = reload
    config.when_ready(master)
    master.reload()

    assert read_as_a_worker() == b"kept"
    assert [len(list(folder.iterdir())) for folder in folders] == [not moves, moves]
    load().on_exit(master)
    assert read_as_a_worker() is None


def note_as_a_worker():
    state = shared(load_settings())
    state.update("a key", lambda _: (b"kept", None))
    state.close()


def read_as_a_worker():
    with contextlib.closing(shared(load_settings())) as state:
        return state.read("a key")


class Master:
    """As much of gunicorn's arbiter as the hooks touch."""

    log = logging.getLogger("master")

    cfg = "the configuration in force"
    tokens = head = None
    shared = InProcessState()
    WORKERS = ()

    def __init__(self):
        self.done, self.pid = [], os.getpid()
        self.app = SimpleNamespace(cfg=self.cfg)

    def stop(self, graceful=True):
        self.done.append(("stop", graceful))

    def reload(self):
        self.done.append(("reload",))

    def manage_workers(self):
        self.done.append(("manage",))


@pytest.fixture
def master(env, tmp_path):
    url = f"sqlite:///{tmp_path}/audit.db"
    env(AUDIT_URL=url)
    open_backend(url).trail().close()  # as the start has done
    master = Master()
    load().when_ready(master)
    return master


def test_workers_can_tell_a_stop_from_a_reload(env, master):
    worker = SimpleNamespace()
    load().pre_fork(master, worker)

    master.reload()
    assert not worker.board.is_stopping

    read, write = os.pipe()
    if os.fork() == 0:  # told across the fork, as a worker is
        os.read(read, 1)
        os._exit(7 if worker.board.is_stopping else 0)
    master.stop(graceful=False)
    os.write(write, b"x")

    assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
    assert master.done == [("reload",), ("stop", False)]
    os.close(read)
    os.close(write)


def test_one_worker_of_a_start_and_of_each_reload_is_to_put_it_on_record(env, master):
    def next_one():
        load().pre_fork(master, SimpleNamespace())
        return master.told

    assert [next_one(), next_one()] == ["start", ""]

    master.reload()

    assert [next_one(), next_one()] == ["reload", ""]


def test_each_worker_has_a_place_until_it_ends(env, master):
    config = load()
    first, second, third = (SimpleNamespace() for _ in range(3))
    for worker in (first, second):
        config.pre_fork(master, worker)

    config.child_exit(master, first)
    config.pre_fork(master, third)

    assert first.place == third.place != second.place


@pytest.mark.parametrize(
    ("variable", "bad"),
    [
        ("THREADS", "many"),
        ("TLS_CA", "/nonexistent"),
        ("TOKENS_FILE", "/nonexistent"),
        ("AUDIT_URL", "sqlite:////proc/nonexistent/audit.db"),
        ("ANCHOR_FILE", "/proc/nonexistent/anchors"),
        ("SHARED_DIR", "/proc"),
        ("METRICS_BIND", "127.0.0.1:9999"),
    ],
)
def test_a_reload_of_a_bad_file_leaves_all_as_it_is(env, master, caplog, variable, bad):
    env(**{variable: bad})

    master.reload()

    assert master.done == []
    assert f"Not reloaded: VX11_{variable}" in caplog.text


def test_a_reload_that_breaks_halfway_ends_nothing(master, caplog):
    """gunicorn exits if a file becomes bad between our look and its own."""

    def reload():
        master.app.cfg = "half of another one"
        raise SystemExit(1)

    master = Master()
    master.reload = reload
    load().when_ready(master)

    master.reload()

    assert master.app.cfg == master.cfg
    assert "Not reloaded" in caplog.text


def test_a_worker_is_handed_what_was_good_last(env, master, tmp_path, monkeypatch):
    file = tmp_path / "gateway.toml"
    file.write_text("threads = 20")
    env(CONFIG=str(file))
    config = load()
    file.write_text("threads = [")
    monkeypatch.setenv("VX11_HANDED", "")  # so that what is set here ends with us

    child = os.fork()
    if child == 0:
        config.post_fork(master, None)
        from app.settings import load as load_anew  # noqa: PLC0415

        os._exit(load_anew().threads)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 20


def test_a_new_worker_shares_the_modules_of_the_master(env):
    """As long as their files are the same; the other case is one of test_boot."""
    script = f"""
import json, sys, types
sys.path.insert(0, {str(HOUSE)!r})
names = {{}}
exec(open({str(CONFIG)!r}).read(), names)
before = [n for n in sys.modules if n.partition(".")[0] == "app"]
names["post_fork"](types.SimpleNamespace(tokens=None, head=None), None)
after = [n for n in sys.modules if n.partition(".")[0] == "app"]
print(json.dumps([before, after]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, timeout=60
    )

    before, after = json.loads(done.stdout)
    assert "app.settings" in before
    assert after == before
