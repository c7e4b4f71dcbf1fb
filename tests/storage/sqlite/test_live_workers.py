"""Several processes on one trail, and what is left when they are killed."""

import fcntl
import os
import signal
import subprocess
from time import monotonic

import pytest

from app.gateway.errors import AuditUnavailable
from app.storage.sqlite.files import AuditFiles
from app.storage.sqlite.store import SqliteStore
from app.storage.trail import open_backend
from tests.storage.making import (
    a_closing,
    an_intent,
    is_refusing,
    record_one,
    run_python,
    until,
)

# Says the id of each record only when `finish` has returned, as a worker says an
# answer; what was said before the kill must be there.
BUSY_WORKER = """
import os, sys, threading
from app.storage.trail import open_backend
from tests.storage.making import record_one
trail = open_backend(sys.argv[1]).trail()
count = int(sys.argv[2])
def chat():
    for _ in range(count):
        done = record_one(trail, session_id=f"p{os.getpid()}").id
        os.write(1, done.encode() + b"\\n")
chats = [threading.Thread(target=chat) for _ in range(8)]
[c.start() for c in chats]
[c.join() for c in chats]
sys.exit(not trail.close())
"""
# Begins a chat and then waits for an upstream that never answers.
WAITING_WORKER = """
import sys, threading
from app.storage.trail import open_backend
from tests.storage.making import an_intent, until
trail = open_backend(sys.argv[1]).trail()
intent = an_intent()
trail.begin(intent)
until(lambda: open_backend(sys.argv[1]).records().get(intent.id))
print(intent.id, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def waiting_worker(url):
    worker = run_python(WAITING_WORKER, url, stdin=subprocess.PIPE)
    intent_id = worker.stdout.readline().strip()
    yield worker, intent_id
    worker.kill()
    worker.wait()
    worker.stdin.close()
    worker.stdout.close()


def test_the_chain_is_one_over_four_processes(url):
    workers = [run_python(BUSY_WORKER, url, 50) for _ in range(4)]
    said = [worker.communicate(timeout=120)[0].split() for worker in workers]

    check = open_backend(url).verify()

    assert [worker.returncode for worker in workers] == [0] * 4
    assert (check.ok, check.rows) == (True, 1600)
    assert len({one for ids in said for one in ids}) == 1600


def kill_two_workers_after(lines, code, url):
    """Return what they had said."""
    workers = [run_python(code, url, 100_000) for _ in range(2)]
    said = []
    for worker in workers:
        said += [worker.stdout.readline().strip() for _ in range(lines)]
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
    for worker in workers:
        said += worker.communicate()[0].split()
    return set(said)


def completed(sql):
    rows = sql("SELECT id FROM records WHERE outcome = 'completed'")
    return {record_id for (record_id,) in rows}


def test_killed_workers_lose_nothing_they_have_said(url, sql):
    said = set()
    for lines in (1, 50, 200, 400):
        said |= kill_two_workers_after(lines, BUSY_WORKER, url)

    check = open_backend(url).verify()

    assert check.ok
    assert check.rows >= len(said) > 1000
    assert said <= completed(sql)


def test_workers_that_speak_before_the_commit_do_lose_what_they_said(url, sql):
    """Shows that the test above can fail."""
    hasty = "from app.storage.audit.entry import CommitResult\n"
    hasty += "CommitResult.wait = lambda self, timeout: None\n" + BUSY_WORKER

    said = kill_two_workers_after(400, hasty, url)

    assert said - completed(sql)
    assert open_backend(url).verify().ok


def test_a_killed_workers_open_chats_are_interrupted_at_the_next_start(
    waiting_worker, open_a_trail, reader, url
):
    worker, intent_id = waiting_worker
    worker.kill()
    worker.wait()

    open_a_trail().check()

    record = until(lambda: (r := reader.get(intent_id)).outcome and r, timeout=5)
    assert (record.outcome, record.code) == ("interrupted", "worker_died")
    assert open_backend(url).verify().ok


def test_a_running_worker_notices_within_5_s_that_another_one_died(
    waiting_worker, trail, reader
):
    worker, intent_id = waiting_worker
    trail.check()
    record_one(trail)
    assert reader.get(intent_id).outcome is None

    worker.kill()
    worker.wait()

    until(lambda: reader.get(intent_id).outcome == "interrupted", timeout=5)


def test_a_living_workers_open_chats_are_left_alone(waiting_worker, reader, path):
    _, intent_id = waiting_worker
    store = SqliteStore(AuditFiles(path))
    store.open()

    assert store.sweep() == 0
    store.close()

    assert reader.get(intent_id).outcome is None


def test_open_chats_of_a_worker_without_a_lock_file_are_interrupted(
    waiting_worker, open_a_trail, reader, path
):
    worker, intent_id = waiting_worker
    worker.kill()
    worker.wait()
    for lock in path.with_name("audit.db.workers").iterdir():
        lock.unlink()

    open_a_trail().check()

    until(lambda: reader.get(intent_id).outcome == "interrupted", timeout=5)


def test_the_dead_leave_no_files_and_neither_do_those_who_close(
    waiting_worker, open_a_trail, path
):
    worker, _ = waiting_worker
    folder = path.with_name("audit.db.workers")
    worker.kill()
    worker.wait()

    trail = open_a_trail()
    trail.check()
    until(lambda: len(list(folder.iterdir())) == 1, timeout=5)
    trail.close()

    assert list(folder.iterdir()) == []


def test_a_stopped_process_that_holds_the_lock_makes_chats_refused_not_hang(
    url, open_a_trail, path
):
    code = """
import sys, fcntl
lock = open(sys.argv[1], "r+")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
    trail = open_a_trail()
    record_one(trail)
    holder = run_python(code, path.with_name("audit.db.lock"), stdin=subprocess.PIPE)
    assert holder.stdout.readline() == "held\n"
    under_way = an_intent()
    began = monotonic()

    with pytest.raises(AuditUnavailable):
        trail.finish(under_way, a_closing(), 0.5)
    assert monotonic() - began < 2
    until(lambda: is_refusing(trail), timeout=5)
    holder.communicate("")

    until(lambda: not is_refusing(trail), timeout=5)
    record_one(trail)
    assert open_backend(url).verify().ok


def test_a_reply_given_up_while_the_lock_was_waited_for_is_on_record_as_undelivered(
    open_a_trail, path, reader
):
    trail = open_a_trail()
    record_one(trail)
    intent = an_intent()
    with open(path.with_name("audit.db.lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(AuditUnavailable, match="too_slow"):
            trail.finish(intent, a_closing(), 0.1)

    record = until(lambda: reader.get(intent.id))
    assert (record.outcome, record.code) == ("failed", "audit_unavailable")
