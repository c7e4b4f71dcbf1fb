"""Disk, lock and file faults: rows 72 to 77 of docs/faults.md.

In each the trail refuses before anything is asked, says why, loses no record, and
comes back by itself when the cause is gone.
"""

import logging
import os
import sqlite3
import subprocess
from contextlib import closing
from threading import Thread
from time import monotonic

import pytest

from app.gateway.errors import AuditUnavailable
from app.storage.audit.errors import StoreFailed, UnusableDatabase
from app.storage.sqlite.backend import SqliteBackend
from app.storage.trail import open_backend
from tests.storage.making import (
    a_closing,
    an_intent,
    is_refusing,
    record_one,
    until,
)

DETECTED = BACK = 5.0  # seconds, as docs/faults.md says


def fill(folder, leave=0):
    """Fill a file system but for so many bytes; return the file that does it."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        while (free := os.statvfs(folder).f_bavail * 4096 - leave) > 0:
            try:
                file.write(bytes(min(free, 65536)))
            except OSError:
                break
    return path


def _foreign_database(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE holidays (day)")


@pytest.fixture
def on_small_disk(small_disk):
    """Open a trail on a disk of 3 MB of which 1 MB is the reserve."""
    with small_disk("3m") as folder:
        url = f"sqlite:///{folder}/audit.db"
        trail = SqliteBackend(url, reserve=1024 * 1024).trail()
        record_one(trail)
        yield folder, url, trail
        trail.close()


def test_a_disk_that_gets_full_refuses_new_chats_until_there_is_space(on_small_disk):
    folder, url, trail = on_small_disk

    filler = fill(folder)

    assert until(lambda: is_refusing(trail), DETECTED) == "disk_full"
    with pytest.raises(AuditUnavailable, match="disk_full"):
        trail.begin(an_intent())

    filler.unlink()

    until(lambda: not is_refusing(trail), BACK)
    record_one(trail)
    assert open_backend(url).verify().ok


def test_a_chat_under_way_when_space_runs_short_has_the_reserve_for_its_record(
    on_small_disk,
):
    folder, url, trail = on_small_disk
    under_way = an_intent()
    trail.begin(under_way)

    fill(folder, leave=512 * 1024)
    until(lambda: is_refusing(trail), DETECTED)

    trail.finish(under_way, a_closing(), 5.0)
    assert open_backend(url).records().get(under_way.id).outcome == "completed"


def test_a_reply_that_can_not_be_committed_is_not_delivered_and_says_so_later(
    on_small_disk,
):
    folder, url, trail = on_small_disk
    under_way = [an_intent() for _ in range(20)]
    for intent in under_way:
        trail.begin(intent)
    filler = fill(folder)

    large = a_closing(reply='{"text":"' + "x" * 50_000 + '"}')
    for intent in under_way:
        with pytest.raises(AuditUnavailable, match="disk_full"):
            trail.finish(intent, large, 5.0)
    filler.unlink()
    until(lambda: not is_refusing(trail), BACK)

    reader = open_backend(url).records()
    for intent in under_way:
        record = until(lambda i=intent: (r := reader.get(i.id)) and r.seq and r)
        assert (record.outcome, record.code) == ("failed", "audit_unavailable")
    assert open_backend(url).verify().ok


def test_a_database_that_another_process_keeps_locked_is_seen_within_2_s(trail, path):
    record_one(trail)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        until(lambda: is_refusing(trail), timeout=2.5)  # 2 s and a noisy machine
        began = monotonic()
        with pytest.raises(AuditUnavailable):
            trail.finish(an_intent(), a_closing(), 2.0)
        assert monotonic() - began < 2.0

        other.execute("ROLLBACK")

    until(lambda: not is_refusing(trail), BACK)
    record_one(trail)


def test_a_lock_of_others_is_waited_for_by_one_worker_and_not_by_each_in_turn(
    path, url
):
    trails = [open_backend(url).trail() for _ in range(4)]
    for trail in trails:
        record_one(trail)
    told = []

    def chat(trail):
        with pytest.raises(AuditUnavailable) as refused:
            trail.finish(an_intent(), a_closing(), 30.0)
        told.append((str(refused.value), monotonic() - began))

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = monotonic()
        callers = [Thread(target=chat, args=(trail,)) for trail in trails]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(60)
        other.execute("ROLLBACK")

    assert [reason for reason, _ in told] == ["locked"] * 4
    assert max(took for _, took in told) < 2.5  # 2 s and a noisy machine
    for trail in trails:
        trail.close()


def test_a_failed_commit_is_reported_promptly_and_its_record_follows(
    trail, path, reader, url
):
    record_one(trail)
    intent = an_intent()
    trail.begin(intent)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = monotonic()
        with pytest.raises(AuditUnavailable, match=r"locked|stuck"):
            trail.finish(intent, a_closing(), 30.0)
        assert monotonic() - began < 5

    record = until(lambda: (r := reader.get(intent.id)) and r.seq and r)
    assert (record.outcome, record.code) == ("failed", "audit_unavailable")
    assert open_backend(url).verify().ok


def test_a_database_that_was_made_read_only_is_refused_and_taken_back(trail, path):
    record_one(trail)

    path.chmod(0o400)
    assert until(lambda: is_refusing(trail), timeout=2.5) == "read_only"

    path.chmod(0o600)
    until(lambda: not is_refusing(trail), BACK)
    record_one(trail)


def test_starting_on_a_full_disk_says_so_until_there_is_space(small_disk):
    with small_disk("8m") as folder:
        url = f"sqlite:///{folder}/audit.db"
        trail = open_backend(url).trail()
        record_one(trail)
        trail.close()
        filler = fill(folder)

        with pytest.raises(StoreFailed) as never_begun:
            open_backend(f"sqlite:///{folder}/other.db").trail()
        again = open_backend(url).trail()

        assert never_begun.value.reason == "disk_full"
        assert is_refusing(again) == "disk_full"
        filler.unlink()
        until(lambda: not is_refusing(again), BACK)
        record_one(again)
        again.close()


def test_starting_on_a_read_only_disk_refuses_chats_until_it_is_writable(small_disk):
    with small_disk("8m") as folder:
        url = f"sqlite:///{folder}/audit.db"
        first = SqliteBackend(url, reserve=0).trail()
        record_one(first)
        first.close()
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)

        trail = SqliteBackend(url, reserve=0).trail()
        with pytest.raises(AuditUnavailable):
            trail.begin(an_intent())

        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        until(lambda: not is_refusing(trail), BACK)
        record_one(trail)
        assert trail.close()


def test_a_trail_that_never_was_and_can_not_be_made_is_no_trail(tmp_path):
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(StoreFailed):
        open_backend(f"sqlite:///{tmp_path}/file/audit.db").trail()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"This is a letter, not a database.\n" * 400),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(path.read_bytes()[:8192] + b"\x55" * 40960),
        _foreign_database,
    ],
    ids=["not_a_database", "cut_short", "overwritten", "of_something_else"],
)
def test_a_file_that_is_no_trail_is_refused_and_kept_as_it_is(damage, url, path):
    first = open_backend(url).trail()
    for _ in range(50):
        record_one(first)
    first.close()
    damage(path)
    before = path.read_bytes()

    with pytest.raises(UnusableDatabase, match=r"audit\.db") as refusal:
        open_backend(url).trail()

    assert refusal.value.reason == "corrupt"
    assert path.read_bytes() == before


def test_a_trail_that_vanished_while_nothing_ran_is_not_made_anew(url, path):
    first = open_backend(url).trail()
    record_one(first)
    first.close()
    path.unlink()

    with pytest.raises(UnusableDatabase, match="is gone"):
        open_backend(url).trail()

    assert not path.exists()
    path.with_name("audit.db.lock").unlink()
    path.with_name("audit.db.key").unlink()
    open_backend(url).trail().close()


def test_another_key_than_the_one_it_was_begun_with_is_refused(url):
    first = open_backend(url).trail()
    record_one(first)
    first.close()

    with pytest.raises(UnusableDatabase, match="another key"):
        open_backend(url, b"another").trail()


def test_a_lost_key_is_missed_instead_of_being_made_anew(url, path):
    open_backend(url).trail().close()
    path.with_name("audit.db.key").unlink()

    with pytest.raises(UnusableDatabase, match="Restore it"):
        open_backend(url).trail()


@pytest.fixture
def backup(trail, path, tmp_path):
    """Take a copy of a living trail; return how to put it back."""
    record_one(trail)
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as to:
        source.backup(to)

    def restore():
        path.with_name("audit.db-wal").unlink(missing_ok=True)
        path.with_name("audit.db-shm").unlink(missing_ok=True)
        copy.rename(path)

    return restore


@pytest.mark.parametrize("how", ["deleted", "replaced", "log_deleted"])
def test_a_database_that_is_taken_away_is_missed_until_it_is_restored(
    how, trail, path, url, backup
):
    under_way = an_intent()
    trail.begin(under_way)

    if how == "log_deleted":
        path.with_name("audit.db-wal").unlink()
    elif how == "deleted":
        path.unlink()
    else:
        _foreign_database(path)

    assert until(lambda: is_refusing(trail), DETECTED)
    with pytest.raises(AuditUnavailable):
        trail.finish(under_way, a_closing(), 5.0)
    if how == "log_deleted":
        return  # the database itself is still there, so it may be back by itself

    backup()

    until(lambda: not is_refusing(trail), BACK)
    record_one(trail)
    assert open_backend(url).verify().ok


def test_no_reply_is_delivered_on_a_record_that_went_into_a_deleted_file(trail, path):
    record_one(trail)

    path.unlink()

    with pytest.raises(AuditUnavailable, match="deleted"):
        trail.finish(an_intent(), a_closing(), 5.0)


def test_a_log_that_grows_behind_a_reader_raises_an_alarm_and_shrinks_after_it(
    trail, path, caplog
):
    record_one(trail)
    log = path.with_name("audit.db-wal")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM records").fetchone()

        with caplog.at_level(logging.ERROR):
            for _ in range(70):
                record_one(trail, request='"' + "x" * 1_000_000 + '"')
            until(lambda: "over 64 MB" in caplog.text)
        reader.execute("COMMIT")

    record_one(trail)
    until(lambda: log.stat().st_size < 8 * 1024 * 1024)


def test_the_log_stays_small_while_nobody_reads_for_long(trail, path):
    for _ in range(60):
        record_one(trail, request='"' + "x" * 500_000 + '"')

    assert path.with_name("audit.db-wal").stat().st_size < 12 * 1024 * 1024
