"""Tampering while the gateway runs: it is noticed, and nothing is signed over it.

Who can write to the files can stop the gateway. What he can't do is have it go on as
if nothing had happened.
"""

import logging
import shutil
import sqlite3
from contextlib import closing
from threading import Event

import pytest

from app.gateway.errors import AuditUnavailable
from app.storage.audit.errors import UnusableDatabase
from app.storage.chain.verification import FORGED
from app.storage.trail import open_backend
from tests.storage.making import (
    a_closing,
    an_intent,
    is_refusing,
    record_one,
    run_python,
    until,
)

DETECTED = BACK = 5.0  # seconds, as docs/faults.md says
AGREED = 2.0  # a second, and a noisy machine
UNGUARD = ("DROP TRIGGER records_stay", "DROP TRIGGER records_sealed")
CUT_OFF = (
    "DELETE FROM records WHERE seq > 3",
    "UPDATE chain SET seq = 3, digest = (SELECT digest FROM records WHERE seq = 3)",
)
COPY_OF_3 = (
    "INSERT INTO records (id, correlation_id, session_id, caller, route, opened_at,"
    " request, person, worker, outcome, code, provider, model, degraded_by, status,"
    " reply, attempts, duration, input_tokens, output_tokens, closed_at, corrects,"
    " lane, salt, request_digest, reply_digest, clock_step, seq, digest, mac)"
    " SELECT 'forged', correlation_id, session_id, caller, route,"
    " opened_at, request, person, worker, outcome, code, provider, model,"
    " degraded_by, status,"
    " reply, attempts, duration, input_tokens, output_tokens, closed_at, corrects,"
    " lane, salt, request_digest, reply_digest, clock_step, {}, digest, mac"
    " FROM records WHERE seq = 3"
)


@pytest.fixture
def five(trail):
    return [record_one(trail) for _ in range(5)]


@pytest.fixture
def guards(sql):
    """The statements that make the triggers again."""
    return [
        text
        for (text,) in sql("SELECT sql FROM sqlite_master WHERE sql LIKE '%TRIGGER%'")
    ]


def assert_refuses_and_delivers_nothing(trail, reason):
    """Both at once: what chats meet, and what readiness says."""
    intent = an_intent()
    with pytest.raises(AuditUnavailable):
        trail.finish(intent, a_closing(), 5.0)
    assert until(lambda: is_refusing(trail), AGREED) == reason
    for _ in range(20):
        with pytest.raises(AuditUnavailable):
            trail.finish(an_intent(), a_closing(), 5.0)
        assert is_refusing(trail) == reason


# ---- the folder goes away


@pytest.mark.parametrize("key", [None, b"from the settings"])
@pytest.mark.parametrize("leaves", ["nothing", "an_empty_folder"])
def test_a_trail_whose_folder_vanishes_is_missed_and_never_begun_anew(
    key, leaves, open_a_trail, path, url, caplog
):
    trail = open_a_trail(key=key)
    record_one(trail)
    away = path.parent.with_name("away")

    path.parent.rename(away)
    if leaves == "an_empty_folder":
        path.parent.mkdir()

    assert until(lambda: is_refusing(trail) == "deleted", DETECTED)
    caplog.clear()
    assert_refuses_and_delivers_nothing(trail, "deleted")
    assert "available again" not in caplog.text
    if leaves == "an_empty_folder":
        assert not {path, path.with_name("audit.db.key")} & {*path.parent.iterdir()}
        shutil.rmtree(path.parent)
    assert not path.parent.exists()

    away.rename(path.parent)
    until(lambda: not is_refusing(trail), BACK)
    record_one(trail)
    assert open_backend(url, key).verify().ok


def test_a_trail_that_was_removed_with_all_its_files_stays_missed(trail, path):
    record_one(trail)

    shutil.rmtree(path.parent)

    assert until(lambda: is_refusing(trail) == "deleted", DETECTED)
    assert_refuses_and_delivers_nothing(trail, "deleted")
    assert not path.parent.exists()


def test_an_empty_database_in_its_place_is_no_trail(trail, path):
    record_one(trail)
    other = path.with_name("other.db")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (a)")
        connection.execute("DROP TABLE t")

    other.rename(path)

    assert until(lambda: is_refusing(trail), DETECTED) == "replaced"
    assert_refuses_and_delivers_nothing(trail, "replaced")


# ---- the chain is forged


def test_a_head_that_was_moved_back_is_never_signed(trail, five, sql, url):
    sql(*UNGUARD, *CUT_OFF)

    assert_refuses_and_delivers_nothing(trail, "corrupt")

    assert open_backend(url).verify().reason == FORGED


def test_a_head_that_was_moved_back_is_never_signed_though_the_guards_are_there(
    trail, five, sql, guards, url
):
    sql(*UNGUARD, *CUT_OFF, *guards)

    assert_refuses_and_delivers_nothing(trail, "corrupt")

    assert not open_backend(url).verify().ok


def test_an_old_head_that_is_rightly_signed_is_missed_by_who_saw_a_newer_one(
    trail, sql, guards
):
    for _ in range(3):
        record_one(trail)
    old = sql("SELECT seq, hex(digest), sealed_at, hex(mac) FROM chain")[0]
    record_one(trail)

    put_back = "UPDATE chain SET seq={}, digest=x'{}', sealed_at={!r}, mac=x'{}'"
    sql(*UNGUARD, CUT_OFF[0], put_back.format(*old), *guards)

    assert_refuses_and_delivers_nothing(trail, "replaced")


@pytest.mark.parametrize(
    "tampering",
    [
        UNGUARD[:1],
        UNGUARD[1:],
        (
            UNGUARD[1],
            "CREATE TRIGGER records_sealed BEFORE UPDATE ON records"
            " BEGIN SELECT 1; END",
        ),
        (
            "CREATE TRIGGER swallow BEFORE INSERT ON records"
            " BEGIN SELECT RAISE(IGNORE); END",
        ),
    ],
    ids=["dropped", "the_other", "made_idle", "one_too_many"],
)
def test_guards_that_are_not_ours_stop_new_chats(trail, five, sql, guards, tampering):
    sql(*tampering)

    assert until(lambda: is_refusing(trail), DETECTED) == "corrupt"

    names = [
        name for (name,) in sql("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    ]
    sql(*(f"DROP TRIGGER {name}" for name in names), *guards)
    until(lambda: not is_refusing(trail), BACK)
    record_one(trail)


def test_a_record_that_squats_on_the_next_place_stops_new_chats(
    trail, five, sql, guards, url
):
    sql(COPY_OF_3.format(6))

    assert until(lambda: is_refusing(trail), DETECTED) == "corrupt"
    assert_refuses_and_delivers_nothing(trail, "corrupt")

    sql(*UNGUARD, "DELETE FROM records WHERE id = 'forged'", *guards)
    until(lambda: not is_refusing(trail), BACK)
    record_one(trail)
    assert open_backend(url).verify().ok


def test_a_chat_that_meets_a_taken_place_first_stops_the_others(trail, five, sql):
    sql(COPY_OF_3.format(6))

    with pytest.raises(AuditUnavailable):
        trail.finish(an_intent(), a_closing(), 5.0)

    assert is_refusing(trail) == "corrupt"


def test_a_trouble_is_over_only_when_records_can_be_written(trail, five, sql, caplog):
    sql("ALTER TABLE records RENAME TO hidden")
    until(lambda: is_refusing(trail), DETECTED)

    with caplog.at_level(logging.WARNING):
        assert_refuses_and_delivers_nothing(trail, "corrupt")
        said = [is_refusing(trail) for _ in range(30) if not Event().wait(0.05)]
    assert set(said) == {"corrupt"}
    assert "available again" not in caplog.text

    sql("ALTER TABLE hidden RENAME TO records")
    until(lambda: not is_refusing(trail), BACK)
    record_one(trail)


def test_a_header_that_was_overwritten_stops_chats_until_it_is_mended(
    trail, five, path, url
):
    until(lambda: path.stat().st_size > 8192)  # the log was brought into it
    with path.open("r+b") as file:
        header = file.read(100)
        file.seek(0)
        file.write(b"This is a letter. " * 5)

    assert until(lambda: is_refusing(trail), DETECTED) == "corrupt"
    assert_refuses_and_delivers_nothing(trail, "corrupt")

    with path.open("r+b") as file:
        file.write(header)
    until(lambda: not is_refusing(trail), BACK)
    record_one(trail)
    assert open_backend(url).verify().ok


# ---- an older copy is put back


@pytest.fixture
def older_copy(trail, path, tmp_path):
    """A copy of the trail at its third record; return how to write it back in place."""
    for _ in range(3):
        record_one(trail)
    copy = tmp_path / "copy.db"
    _backup(path, copy)
    return lambda: _backup(copy, path)


def _backup(source, target):
    with (
        closing(sqlite3.connect(source)) as one,
        closing(sqlite3.connect(target)) as other,
    ):
        one.backup(other)


def test_an_older_copy_that_is_put_back_in_place_stops_chats_until_a_restart(
    trail, older_copy, open_a_trail, url
):
    record_one(trail)

    older_copy()

    assert until(lambda: is_refusing(trail), DETECTED) == "replaced"
    assert_refuses_and_delivers_nothing(trail, "replaced")
    trail.close()
    again = open_a_trail()
    record_one(again)
    assert open_backend(url).verify().ok


def test_the_newest_copy_that_is_put_back_in_place_is_taken_back(
    trail, older_copy, path, tmp_path, url
):
    record_one(trail)
    newest = tmp_path / "newest.db"
    _backup(path, newest)
    older_copy()
    until(lambda: is_refusing(trail), DETECTED)

    _backup(newest, path)

    until(lambda: not is_refusing(trail), BACK)
    record_one(trail)
    assert open_backend(url).verify().ok


IDLE_WORKER = """
import sys
from app.storage.trail import open_backend
from tests.storage.making import is_refusing, record_one, until
trail = open_backend(sys.argv[1]).trail()
trail.check()
for line in sys.stdin:
    if line == "record\\n":
        record_one(trail)
        print("recorded", flush=True)
    else:
        print(until(lambda: is_refusing(trail), 10), flush=True)
"""


def test_what_one_worker_has_delivered_is_missed_by_all_of_them(trail, older_copy, url):
    with run_python(IDLE_WORKER, url, stdin=-1) as other:

        def tell(line):
            other.stdin.write(line + "\n")
            other.stdin.flush()
            return other.stdout.readline()

        assert tell("record") == "recorded\n"
        record_one(trail)

        older_copy()

        assert tell("refusing") == "replaced\n"
        assert until(lambda: is_refusing(trail), DETECTED) == "replaced"
        other.kill()
    assert_refuses_and_delivers_nothing(trail, "replaced")


def test_a_worker_that_saw_less_learns_from_the_others_what_is_gone(
    open_a_trail, path, tmp_path
):
    one, other = open_a_trail(), open_a_trail()
    record_one(one)
    other.check()
    copy = tmp_path / "copy.db"
    _backup(path, copy)
    record_one(one)
    _backup(copy, path)

    assert until(lambda: is_refusing(one), DETECTED) == "replaced"
    assert until(lambda: is_refusing(other), DETECTED) == "replaced"
    one.close()
    assert_refuses_and_delivers_nothing(other, "replaced")


# ---- a restart


def test_a_reload_does_not_begin_what_workers_write_to(trail, path, url):
    record_one(trail)
    path.parent.rename(path.parent.with_name("away"))
    path.parent.mkdir()

    with pytest.raises(UnusableDatabase, match="is gone"):
        open_backend(url).trail(may_begin=False)

    assert list(path.parent.iterdir()) == []


def test_a_trail_that_is_opened_for_a_worker_is_never_begun(url, path):
    trail = open_backend(url).trail(is_known=True)

    assert is_refusing(trail) == "deleted"
    assert not path.parent.exists()
    trail.close()
