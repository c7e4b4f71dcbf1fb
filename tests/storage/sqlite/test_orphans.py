"""Open records that somebody else wrote: never sealed, and in nobody's way."""

import re
import sqlite3
from contextlib import closing

import pytest

from app.storage.audit.orphans import AT_ONCE, TOLD, Orphans
from app.storage.sqlite.statements import connect_writer
from app.storage.trail import open_backend
from tests.storage.making import (
    ROOT,
    a_closing,
    an_intent,
    is_refusing,
    record_one,
    run_python,
    until,
)

DETECTED = 5.0  # seconds
NOBODY = "1-00000000"  # a worker that does not live
FORGED = (
    "INSERT INTO records (id, correlation_id, session_id, caller, route, opened_at,"
    " request, worker, mac) VALUES ('{id}', 'c', 's', 'alice', 'chat', 1.0,"
    " {request}, '{worker}', {mac})"
)


def forged(record_id="forged", request="'{}'", worker=NOBODY, mac="NULL"):
    return FORGED.format(id=record_id, request=request, worker=worker, mac=mac)


OPEN_CHAT = """
import sys
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
def five(trail):
    return [record_one(trail) for _ in range(5)]


@pytest.fixture
def dead_chat(url, reader):
    """The id of a chat whose worker was killed and is not yet put on record."""
    with run_python(OPEN_CHAT, url, stdin=-1) as worker:
        intent_id = worker.stdout.readline().strip()
        worker.kill()
    return intent_id


def assert_goes_on_beside(trail, reader, url, record_id, count=1):
    """The record is told of and stays as it is; chats have theirs."""
    until(lambda: trail.unsigned == count, DETECTED)
    record_one(trail)
    assert is_refusing(trail) is None
    assert reader.get(record_id).seq is None
    check = open_backend(url).verify()
    assert not check.ok
    assert record_id in check.reason


@pytest.mark.parametrize(
    "forgery",
    [
        {},
        {"mac": "zeroblob(32)"},
        {"mac": "'text'"},
        {"mac": "1000000000000"},
        {"request": "x'7b7d'"},
        {"request": "CAST(x'ff' AS TEXT)"},
        {"request": "5"},
        {"mac": "(SELECT digest FROM records WHERE seq = 5)"},
        {"mac": "(SELECT mac FROM chain)"},
    ],
)
def test_a_forged_open_record_is_told_of_once_and_never_sealed(
    forgery, trail, five, sql, reader, url, caplog
):
    sql(forged(**forgery))

    assert_goes_on_beside(trail, reader, url, "forged")

    sealed = sql("SELECT count(*) FROM records WHERE outcome = 'interrupted'")
    assert sealed == [(0,)]
    assert caplog.text.count("Audit corrupt: open record forged") == 1


def test_the_signature_of_another_record_makes_no_forged_one_good(
    dead_chat, sql, open_a_trail, reader, url
):
    sql(forged(mac=f"(SELECT mac FROM records WHERE id = '{dead_chat}')"))
    trail = open_a_trail()
    trail.check()

    assert_goes_on_beside(trail, reader, url, "forged")
    assert reader.get(dead_chat).outcome == "interrupted"


@pytest.mark.parametrize(
    "change",
    [
        "request = '{}'",
        "caller = 'alice'",
        "opened_at = opened_at - 1",
        "worker = '1-00000001'",
        "mac = NULL",
    ],
)
def test_an_open_record_that_was_changed_is_not_sealed(
    change, dead_chat, sql, open_a_trail, reader, url
):
    sql(f"UPDATE records SET {change} WHERE id = '{dead_chat}'")
    trail = open_a_trail()
    trail.check()

    assert_goes_on_beside(trail, reader, url, dead_chat)


def test_the_true_ending_of_a_dead_chat_is_ours_whatever_its_row_says(
    dead_chat, sql, open_a_trail, reader, url
):
    sql(f"UPDATE records SET outcome = 'completed', reply = '\"Yes\"'"
        f" WHERE id = '{dead_chat}'")  # fmt: skip
    open_a_trail().check()

    until(lambda: reader.get(dead_chat).seq, DETECTED)
    assert reader.get(dead_chat).outcome == "interrupted"
    assert reader.get(dead_chat).reply is None
    assert open_backend(url).verify().ok


def test_a_signature_that_was_seen_before_opens_no_sealed_record_again(
    dead_chat, sql, open_a_trail, reader, url
):
    ((mac,),) = sql(f"SELECT hex(mac) FROM records WHERE id = '{dead_chat}'")
    trail = open_a_trail()
    trail.check()
    until(lambda: reader.get(dead_chat).seq, DETECTED)

    with pytest.raises(sqlite3.IntegrityError):
        sql(forged(record_id=dead_chat, mac=f"x'{mac}'"))
    sql(forged(mac=f"x'{mac}'"))

    assert_goes_on_beside(trail, reader, url, "forged")


def test_a_chat_under_way_is_sealed_as_it_was_and_not_as_its_row_says(
    trail, sql, reader, url
):
    intent = an_intent()
    trail.begin(intent)
    until(lambda: reader.get(intent.id))
    sql(f"UPDATE records SET request = 'forged', caller = 'alice', worker = '{NOBODY}'"
        f" WHERE id = '{intent.id}'")  # fmt: skip
    assert_goes_on_beside(trail, reader, url, intent.id)

    trail.finish(intent, a_closing(), 5.0)

    record = reader.get(intent.id)
    assert (record.request, record.caller) == (intent.request, intent.caller)
    assert open_backend(url).verify().ok
    until(lambda: trail.unsigned == 0, DETECTED)


def test_a_forged_record_of_a_worker_that_lives_shows_and_is_told_of_at_its_death(
    trail, five, sql, reader, url, open_a_trail
):
    ((worker,),) = sql("SELECT worker FROM records WHERE seq = 5")
    sql(forged(worker=worker))
    assert "record forged" in open_backend(url).verify().reason
    trail.close()

    again = open_a_trail()
    again.check()

    assert_goes_on_beside(again, reader, url, "forged")


def test_many_forged_records_keep_no_dead_chat_from_being_sealed(
    dead_chat, sql, open_a_trail, reader, caplog
):
    sql(*(forged(record_id=f"forged{n}") for n in range(AT_ONCE + 3)))
    sql("UPDATE records SET rowid = 9000 WHERE rowid = 1")  # behind all of them

    trail = open_a_trail()
    trail.check()

    until(lambda: reader.get(dead_chat).outcome == "interrupted", 2 * DETECTED)
    until(lambda: trail.unsigned == AT_ONCE + 3, 2 * DETECTED)
    assert caplog.text.count("Audit corrupt") == AT_ONCE + 3


def test_how_many_forged_records_are_named_is_bounded(trail, sql, path, caplog):
    record_one(trail)
    trail.close()
    sql(*(forged(record_id=f"forged{n}") for n in range(TOLD + 5)))
    orphans = Orphans()

    with closing(connect_writer(path)) as connection:
        for _ in range(6):  # two rounds
            assert orphans.next_page(connection, b"k", [], 0.0, tells=True) == []

    assert orphans.unsigned == TOLD + 5
    assert caplog.text.count("Audit corrupt") == TOLD + 1


def test_only_one_of_the_workers_tells(open_a_trail, sql, caplog):
    trails = [open_a_trail() for _ in range(3)]
    for trail in trails:
        record_one(trail)

    sql(forged())

    for trail in trails:
        until(lambda trail=trail: trail.unsigned, DETECTED)
    assert caplog.text.count("Audit corrupt") == 1


def test_the_guide_says_how_a_forged_record_is_taken_out(trail, five, sql, url):
    guide = (ROOT / "docs" / "operating.md").read_text()
    (statements,) = re.findall(r'sqlite3 var/audit.db "(BEGIN .*?)"', guide, re.DOTALL)
    sql(forged())
    until(lambda: trail.unsigned, DETECTED)

    with closing(sqlite3.connect(sql("PRAGMA database_list")[0][2])) as connection:
        connection.executescript(statements.replace("THE-ID", "forged"))

    until(lambda: not trail.unsigned, DETECTED)
    record_one(trail)
    assert is_refusing(trail) is None
    assert open_backend(url).verify().ok
