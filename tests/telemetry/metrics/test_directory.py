import multiprocessing
import os
import resource
import subprocess
import sys
import threading

import pytest

from app.telemetry.metrics import instruments as its
from app.telemetry.metrics.directory import (
    MetricDirectory,
    folder_of,
    remove_left_behind,
)
from app.telemetry.metrics.metric_memory import CELLS, MetricMemory, snapshot
from app.telemetry.metrics.recorder import MetricRecorder


@pytest.fixture
def path(tmp_path):
    return folder_of("an instance", tmp_path)


@pytest.fixture
def folder(path):
    folder = MetricDirectory(path)
    yield folder
    folder.leave()


def slots_of(folder):
    return sorted(path.name for path in folder.path.glob("slot-*"))


def test_each_worker_counts_in_a_slot_of_its_own(folder):
    first, second = folder.take_slot(), folder.take_slot()

    assert slots_of(folder) == ["slot-0", "slot-1"]
    assert [lives for _, lives in folder.read_slots()] == [True, True]
    del first, second


def test_the_slot_of_a_dead_worker_is_the_next_ones_and_its_counts_go_on(folder):
    tally = MetricRecorder(folder.take_slot())
    for _ in range(3):
        tally.count(its.AUTH_FAILURES, "wrong")
    tally.set(its.QUEUE_LENGTH, 7)
    del tally

    ((_, lives),) = folder.read_slots()
    assert not lives

    tally = MetricRecorder(folder.take_slot())
    tally.count(its.AUTH_FAILURES, "wrong")

    ((memory, lives),) = folder.read_slots()
    assert lives
    assert slots_of(folder) == ["slot-0"]
    place = MetricMemory(bytearray(memory))
    assert place.numbers[0] == 4


def test_looking_at_slots_takes_none_away(folder):
    slot = folder.take_slot()
    del slot
    list(folder.read_slots())

    assert folder.take_slot()
    assert slots_of(folder) == ["slot-0"]


def test_who_comes_later_joins_and_the_last_one_to_leave_removes_all(path):
    first = MetricDirectory(path)
    MetricRecorder(first.take_slot()).count(its.AUDIT_FAILURES)

    second = MetricDirectory(path)
    assert slots_of(second) == ["slot-0"]

    first.leave()
    assert path.exists(), "somebody is still there"
    second.leave()
    assert not path.exists()


def test_what_a_killed_instance_left_is_begun_anew(path):
    command = (
        "import os, sys; from pathlib import Path;"
        "from app.telemetry.metrics.directory import MetricDirectory;"
        "slot = MetricDirectory(Path(sys.argv[1])).take_slot(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", command, path], check=False)
    assert (path / "slot-0").exists()

    folder = MetricDirectory(path)

    assert slots_of(folder) == []
    folder.leave()


def test_folders_that_killed_instances_left_are_removed_and_no_others(tmp_path):
    left, used = folder_of("left", tmp_path), folder_of("used", tmp_path)
    left.mkdir(mode=0o700)
    (left / "instance").touch(mode=0o600)
    folder = MetricDirectory(used)

    remove_left_behind(tmp_path)

    assert not left.exists()
    assert used.exists()
    folder.leave()


def test_a_forked_child_holds_the_lock_of_its_parent_for_it(path):
    """As gunicorn's workers do: counts outlive a moment without any other user."""
    folder = MetricDirectory(path)
    context = multiprocessing.get_context("fork")
    done = context.Event()
    child = context.Process(target=done.wait)
    child.start()
    folder._users._end.detach()
    os.close(folder._users._fd)  # the parent is killed

    with_child = MetricDirectory(path)
    (path / "slot-0").touch()
    with_child.leave()
    assert path.exists()

    done.set()
    child.join()
    MetricDirectory(path).leave()
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o755, 0o707])
def test_a_folder_that_is_open_to_others_is_not_used(path, mode):
    path.mkdir()
    path.chmod(mode)

    with pytest.raises(PermissionError):
        MetricDirectory(path)


def test_a_link_in_the_place_of_the_folder_is_not_followed(path, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(PermissionError):
        MetricDirectory(path)


def test_a_full_file_system_is_an_error_and_not_the_end_of_the_worker(folder):
    """docs/faults.md, row 78: a hole in a mapped file would be a SIGBUS much later."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            folder.take_slot()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert list(folder.read_slots()) == []


def test_a_file_has_no_holes(folder):
    slot = folder.take_slot()

    found = (folder.path / "slot-0").stat()
    assert found.st_blocks * 512 >= found.st_size
    del slot


def test_no_room_for_a_series_costs_its_counts_only():
    tally = MetricRecorder()
    for number in range(CELLS):
        tally.count(its.AUTH_FAILURES, f"a reason of many, number {number}")

    tally.count(its.AUTH_FAILURES, "a reason of many, number 1")

    assert tally.lost > 0
    cells = MetricMemory(bytearray(tally.copy()))
    assert cells.add("more", (), CELLS) is None
    assert set(cells.numbers[cells.SCRAP + 1 :]) == {0.0}


def test_a_line_that_a_killed_writer_did_not_finish_is_written_over():
    memory = bytearray(len(MetricRecorder().copy()))
    cells = MetricMemory(memory)
    cells.add("first", (), 2)
    used = cells._used[0]
    end = 8 + 8 * CELLS + used
    memory[end : end + 7] = b'["secon'

    again = MetricMemory(memory)
    again.add("third", ("a",), 1)

    assert [(s.name, s.first) for s in again.series()] == [("first", 0), ("third", 2)]


class Label(str):
    """A label that says when a series is looked up by it."""

    __slots__ = ("looked_up",)

    def __hash__(self):
        self.looked_up.release()
        return super().__hash__()


def test_a_series_that_two_threads_begin_at_once_is_one_series():
    recorder, looked_up = MetricRecorder(), threading.Semaphore(0)

    def count():
        label = Label("a")
        label.looked_up = looked_up
        recorder.count(its.ERRORS, label)

    threads = [threading.Thread(target=count) for _ in range(2)]
    with recorder._lock:  # both look for the series before either can begin it
        for thread in threads:
            thread.start()
        for _ in threads:
            looked_up.acquire()
    for thread in threads:
        thread.join()

    [(series, numbers)] = snapshot(recorder.copy())
    assert (series.labels, numbers) == (("a",), [2.0])
