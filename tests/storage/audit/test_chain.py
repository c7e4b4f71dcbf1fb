"""The hash chain, and that each way of tampering with it shows."""

import hmac
import sqlite3
from dataclasses import replace
from threading import Event, Thread

import psycopg
import pytest

from app.gateway.records.audit import Query
from app.storage.audit.rows import closed_draft, interrupted, open_draft, opened
from app.storage.audit.schema import WRITTEN
from app.storage.chain.links import (
    GENESIS,
    ClockWatch,
    Head,
    head_mac,
    intent_mac,
    is_signed_intent,
    link,
    seal,
)
from app.storage.chain.verification import FORGED as FORGED_HEAD
from tests.storage.making import an_intent, place_of, record_one, until

UNGUARD = ("DROP TRIGGER records_stay", "DROP TRIGGER records_sealed")


@pytest.fixture
def five_records(backend):
    trail = backend.trail()
    intents = [record_one(trail, session_id=f"s{n}") for n in range(5)]
    trail.close()
    return intents


def test_an_untouched_trail_verifies(five_records, backend):
    check = backend.verify()

    assert (check.ok, check.rows, check.reason) == (True, 5, None)
    assert [head.seq for head in check.heads] == [5]


def test_how_far_the_check_is_can_be_told(five_records, backend):
    told = []

    backend.verify(on_progress=lambda *at: told.append(at))

    assert told == [(5, 5)]


@pytest.mark.parametrize(
    ("tampering", "first_bad"),
    [
        ("UPDATE records SET reply = '{}' WHERE seq = 3", 3),
        ("UPDATE records SET reply = x'7b7d' WHERE seq = 3", 3),
        ("UPDATE records SET reply = CAST(x'ff' AS TEXT) WHERE seq = 3", 3),
        ("UPDATE records SET digest = 'text' WHERE seq = 3", 3),
        ("UPDATE records SET opened_at = opened_at + 1 WHERE seq = 2", 2),
        ("UPDATE records SET code = '' WHERE seq = 1", 1),
        ("UPDATE records SET clock_step = 3.0 WHERE seq = 4", 4),
        ("UPDATE records SET outcome = 'failed' WHERE seq = 5", 5),
        ("DELETE FROM records WHERE seq = 1", 1),
        ("DELETE FROM records WHERE seq = 3", 3),
        ("DELETE FROM records WHERE seq = 5", 5),
        ("DELETE FROM records WHERE seq > 2", 3),
        ("DELETE FROM records", 1),
        ("DELETE FROM records WHERE seq = 3; "
         "UPDATE records SET seq = seq - 1 WHERE seq > 3", 3),
        ("UPDATE records SET seq = 10 - seq WHERE seq IN (4); "
         "UPDATE records SET seq = 4 WHERE seq = 5; "
         "UPDATE records SET seq = 5 WHERE seq = 6", 4),
    ],
)  # fmt: skip
def test_editing_removing_and_moving_records_show(
    tampering, first_bad, five_records, backend, sql
):
    sql(*UNGUARD, *tampering.split(";"))

    check = backend.verify()

    assert not check.ok
    assert check.first_bad_seq == first_bad
    assert check.rows == first_bad - 1


def test_cutting_off_the_end_shows_even_if_the_head_is_moved_back(
    five_records, backend, sql
):
    sql(
        *UNGUARD,
        "DELETE FROM records WHERE seq > 3",
        "UPDATE chain SET seq = 3, digest = (SELECT digest FROM records WHERE seq = 3)",
    )

    check = backend.verify()

    assert (check.ok, check.reason) == (False, FORGED_HEAD)


def test_emptying_the_whole_trail_shows(five_records, backend, sql):
    sql(*UNGUARD, "DELETE FROM records", "DELETE FROM chain")

    assert not backend.verify().ok


def test_a_noted_head_that_is_still_part_of_the_trail_verifies(five_records, backend):
    (head,) = backend.verify().heads
    trail = backend.trail()
    record_one(trail)
    trail.close()

    assert backend.verify(noted=[place_of(head)]).ok


def test_sealed_records_refuse_change_and_no_record_can_be_deleted(five_records, sql):
    refusals = sqlite3.IntegrityError, psycopg.errors.CheckViolation
    with pytest.raises(refusals, match="sealed"):
        sql("UPDATE records SET reply = '' WHERE seq = 2")
    with pytest.raises(refusals, match="not deleted"):
        sql("DELETE FROM records WHERE seq = 2")


NOT_SIGNED = "is open and not signed by us"
SIGNED_BY_OTHERS = "is open and holds what was not signed by us"
FORGED = (
    "INSERT INTO records (id, correlation_id, session_id, caller, route, opened_at,"
    " request, worker, {0}) VALUES ('forged', 'c', 's', 'operator', 'chat', 1.0,"
    " '{{}}', 'w', {1})"
)


@pytest.mark.parametrize(
    ("columns", "values", "number", "why"),
    [
        ("outcome, seq", "'completed', 1000000", 1000000, "is not of the chain"),
        ("outcome, seq", "'completed', 6", 6, "is not of the chain"),
        ("outcome, seq", "'completed', 0", 0, "is not of the chain"),
        ("outcome, seq", "'completed', -3", -3, "is not of the chain"),
        ("outcome, seq", "'completed', 'last'", None, "is not of the chain"),
        ("seq", "NULL", None, NOT_SIGNED),
        ("mac", "x'00'", None, SIGNED_BY_OTHERS),
        ("mac", "zeroblob(32)", None, SIGNED_BY_OTHERS),
        ("mac", "'text'", None, SIGNED_BY_OTHERS),
        ("mac", "1000000000000", None, SIGNED_BY_OTHERS),
        ("outcome", "'completed'", None, "has no place in the chain"),
        ("reply", "'{}'", None, "has no place in the chain"),
        ("digest", "x'00'", None, "has no place in the chain"),
    ],
)
def test_a_forged_record_outside_the_chain_shows(
    five_records, backend, sql, columns, values, number, why
):
    sql(FORGED.format(columns, values))

    check = backend.verify()

    assert (check.ok, check.rows) == (False, 5)
    assert (check.first_bad_seq, check.reason) == (number, f"record forged {why}")


def test_chats_under_way_and_new_records_are_no_forgery(five_records, backend):
    trail = backend.trail()
    trail.begin(an_intent())
    until(lambda: backend.verify() and backend.records().search(Query(outcome="open")))
    over = Event()

    def work():
        while not over.is_set():
            record_one(trail)

    worker = Thread(target=work)
    worker.start()
    checks = [backend.verify() for _ in range(30)]
    over.set()
    worker.join()
    trail.close()

    assert [check.reason for check in checks] == [None] * 30


def test_only_the_first_sealed_row_carries_a_clock_step():
    opening = opened(an_intent(), "worker")
    drafts = [
        open_draft(opening),
        closed_draft(opening, interrupted(0.0)),
        closed_draft(opening, interrupted(0.0)),
    ]

    rows, head = seal(drafts, GENESIS, b"key", now=9.0, clock_step=-5.0)

    rest = [dict(zip(WRITTEN, row, strict=True)) for row in rows]
    assert rest[0]["mac"] == intent_mac(b"key", drafts[0].content)
    assert [row["clock_step"] for row in rest] == [None, -5.0, None]
    assert [row["seq"] for row in rest] == [None, 1, 2]
    assert [row["mac"] for row in rest[1:]] == [None, None]
    last = link(rest[1]["digest"], 1, 2, None, drafts[2].content)
    assert (head.seq, head.digest, head.sealed_at) == (2, last, 9.0)


@pytest.mark.parametrize("person", ["p-1", None])
def test_an_intent_is_signed_with_all_it_says(person):
    opening = opened(an_intent(person=person), "worker")
    mac = intent_mac(b"key", open_draft(opening).content)
    assert is_signed_intent(b"key", opening, mac)

    for column, value in enumerate(opening):
        others = {"x", b"x", None, 2**70, str(value).encode()} - {value}
        for other in others:
            changed = (*opening[:column], other, *opening[column + 1 :])
            assert not is_signed_intent(b"key", changed, mac)
    assert not is_signed_intent(b"yek", opening, mac)


def test_no_other_signature_of_our_key_passes_for_that_of_an_intent():
    opening = opened(an_intent(), "worker")
    content = open_draft(opening).content
    draft = closed_draft(opening, interrupted(0.0))
    _, head = seal([draft], GENESIS, b"key", now=9.0)

    others = (
        head.digest,
        head_mac(b"key", head),
        hmac.digest(b"key", content, "sha256"),
    )

    assert not any(is_signed_intent(b"key", opening, other) for other in others)


def test_a_head_is_signed_with_all_it_says():
    head = Head(1, bytes(32), 5.0)

    changes = {
        "lane": 2,
        "seq": 2,
        "digest": b"x" * 32,
        "sealed_at": 6.0,
        "floor_seq": 1,
        "floor_digest": b"x" * 32,
        "knotted_at": 1.0,
    }
    assert changes.keys() == Head.__dataclass_fields__.keys()
    others = [replace(head, **{name: other}) for name, other in changes.items()]
    assert head_mac(b"key", head) not in {head_mac(b"key", other) for other in others}
    assert head_mac(b"key", head) != head_mac(b"yek", head)


class Clocks:
    """A wall clock and a monotonic one that can be set apart."""

    def __init__(self):
        self.wall, self.clock = 1_700_000_000.0, 50.0

    def advance(self, seconds):
        self.wall += seconds
        self.clock += seconds

    def watch(self):
        return ClockWatch(lambda: self.wall, lambda: self.clock)


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_a_wall_clock_that_is_set_leaves_a_mark_until_that_is_committed(step):
    clocks = Clocks()
    watch = clocks.watch()
    clocks.advance(60)
    sealed_at, mark = watch.read(clocks.wall - 1)
    assert mark is None

    clocks.wall += step

    assert watch.read(sealed_at)[1] == pytest.approx(step)
    assert watch.read(sealed_at)[1] == pytest.approx(step)  # that write had failed
    watch.marked()
    assert watch.read(clocks.wall)[1] is None


def test_a_clock_that_went_back_between_two_runs_leaves_a_mark():
    clocks = Clocks()

    _, mark = clocks.watch().read(sealed_at=clocks.wall + 100)

    assert mark == -100


def test_slow_corrections_of_the_clock_leave_no_mark():
    clocks = Clocks()
    watch = clocks.watch()
    for _ in range(100):
        clocks.advance(1)
        clocks.wall += 0.05
        assert watch.read(clocks.wall)[1] is None
