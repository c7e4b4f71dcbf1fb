"""The writer with a store that fails on command."""

import threading
from math import inf
from threading import Event

import pytest

from app.gateway.errors import AuditUnavailable
from app.storage.audit.backlog import Backlog
from app.storage.audit.entry import Entry
from app.storage.audit.errors import RowRefused, StoreFailed
from app.storage.audit.queued_trail import QueuedTrail
from app.storage.audit.schema import COLUMNS
from app.storage.chain.links import GENESIS
from tests.storage.making import a_closing, an_intent, is_refusing, run_python, until


class FakeStore:
    """Keeps rows in memory; `trouble` is raised by every write while it is set."""

    instance = "fake"

    def __init__(self):
        self.rows = []
        self.trouble = None
        self.shortage = self.knot = None
        self.batches = []
        self.enter = Event()  # a write waits for it once it holds the lock
        self.commit = Event()  # a write waits for it once its rows are made
        self.composed = Event()
        self.enter.set()
        self.commit.set()

    def open(self):
        if isinstance(self.trouble, StoreFailed):
            raise self.trouble

    def write(self, compose):
        self.enter.wait(10)
        rows = [dict(zip(COLUMNS, draft.values, strict=False)) for draft in compose()]
        self.composed.set()
        self.commit.wait(10)
        if self.trouble is not None:
            raise self.trouble
        self.batches.append(len(rows))
        self.rows += rows

    def probe(self):
        return self.shortage

    def sweep(self):
        return 0

    def tie(self):
        head, self.knot = self.knot, None
        return head

    def prune(self, *, is_idle):
        return inf

    def maintain(self):
        pass

    def close(self):
        pass

    def leave_to_parent(self):
        pass

    def of(self, intent):
        return [row for row in self.rows if row["id"] == intent.id]


@pytest.fixture
def store():
    return FakeStore()


@pytest.fixture
def trail(store):
    trail = QueuedTrail(lambda: store)
    yield trail
    store.enter.set()
    store.commit.set()
    store.trouble = None
    trail.close()


def test_a_waiter_that_gives_up_before_the_rows_are_made_is_recorded_so(trail, store):
    trail.check()
    intent = an_intent()
    store.enter.clear()

    with pytest.raises(AuditUnavailable, match="too_slow"):
        trail.finish(intent, a_closing(), 0.05)
    store.enter.set()

    (row,) = until(lambda: store.of(intent))
    assert (row["outcome"], row["code"], row["status"]) == (
        "failed",
        "audit_unavailable",
        503,
    )


def test_a_waiter_that_gives_up_during_the_commit_gets_a_correction(trail, store):
    trail.check()
    intent = an_intent()
    store.commit.clear()

    with pytest.raises(AuditUnavailable, match="too_slow"):
        trail.finish(intent, a_closing(), 0.2)
    store.commit.set()

    (correction,) = until(lambda: [r for r in store.rows if r["corrects"]])
    assert store.of(intent)[0]["outcome"] == "completed"
    assert correction["corrects"] == intent.id
    assert correction["correlation_id"] == intent.correlation_id
    assert (correction["route"], correction["outcome"], correction["code"]) == (
        "correction",
        "failed",
        "audit_unavailable",
    )


def test_a_commit_that_failed_but_had_worked_is_corrected_on_the_next_try(trail, store):
    trail.check()
    intent = an_intent()
    store.trouble = StoreFailed("io_error")
    with pytest.raises(AuditUnavailable, match="io_error"):
        trail.finish(intent, a_closing(), 5.0)

    refused = []

    def write(compose):
        rows = [dict(zip(COLUMNS, d.values, strict=False)) for d in compose()]
        if any(row["id"] == intent.id for row in rows):
            refused.append(rows)
            raise RowRefused("sealed already")
        store.rows += rows

    store.write = write
    store.trouble = None

    until(lambda: [r for r in store.rows if r["corrects"] == intent.id])
    assert refused


def test_what_failed_before_the_disk_did_stays_what_it_was(trail, store):
    trail.check()
    intent = an_intent()
    store.trouble = StoreFailed("disk_full")
    closing = a_closing(outcome="failed", code="upstream_unavailable", status=503)

    with pytest.raises(AuditUnavailable):
        trail.finish(intent, closing, 5.0)
    store.trouble = None

    (row,) = until(lambda: store.of(intent))
    assert row["code"] == "upstream_unavailable"


def test_a_refusal_noted_during_an_outage_is_written_after_it(trail, store):
    trail.check()
    store.trouble = StoreFailed("disk_full")
    intent = an_intent()

    trail.note(intent, a_closing(outcome="refused", code="audit_unavailable"))
    until(lambda: is_refusing(trail))
    store.trouble = None

    (row,) = until(lambda: store.of(intent))
    assert row["outcome"] == "refused"


def test_no_fault_ends_before_a_write_has_worked(trail, store):
    trail.check()
    store.trouble = StoreFailed("disk_full")
    store.open = lambda: None  # reading works all the time
    trail.note(an_intent(), a_closing())
    until(lambda: is_refusing(trail))

    assert not Event().wait(1.2)
    assert is_refusing(trail) == "disk_full"
    store.trouble = None

    until(lambda: not is_refusing(trail), timeout=5)


def test_during_an_outage_memory_is_bounded_and_what_is_lost_is_counted(store):
    trail = QueuedTrail(lambda: store, backlog_rows=50)
    trail.check()
    store.trouble = StoreFailed("disk_full")
    trail.note(an_intent(), a_closing())
    until(lambda: is_refusing(trail))

    for _ in range(200):
        trail.note(an_intent(), a_closing())

    until(lambda: trail.lost >= 150)
    store.trouble = None
    until(lambda: len(store.rows) == 50)
    trail.close()


def test_large_texts_do_not_fill_the_memory_either():
    backlog = Backlog(size=1_000_000)
    for _ in range(20):
        entry = Entry(an_intent(), "worker")
        entry.close(a_closing(reply="x" * 90_000))
        backlog.add(entry)

    assert (len(backlog), backlog.lost) == (11, 9)
    assert len(backlog.take()) == 11
    assert len(backlog) == 0


def test_the_head_behind_a_knot_is_told_outside(store):
    told = []
    trail = QueuedTrail(lambda: store, on_anchor=told.append)
    store.knot = GENESIS

    trail.check()
    trail.close()

    assert told == [GENESIS]


class Clock:
    """A clock that is set; between two settings it stands still."""

    now = 1000.0

    def __call__(self):
        return self.now


def test_a_write_that_hangs_is_told_first_and_then_new_chats_are_refused(store):
    clock = Clock()
    trail = QueuedTrail(lambda: store, clock=clock)
    trail.check()
    store.enter.clear()
    store.composed.clear()
    trail.note(an_intent(), a_closing())
    writer = trail.start()
    until(lambda: not len(writer._inbox))

    told = []
    for clock.now in (1002.0, 1004.0, 1004.1):
        told.append((trail.signs().writing_for, is_refusing(trail)))
    store.enter.set()

    assert told == [(2.0, None), (4.0, None), (pytest.approx(4.1), "stuck")]
    until(lambda: not is_refusing(trail) and trail.signs().writing_for == 0.0)
    trail.close()


def test_space_that_runs_short_refuses_new_chats_but_not_those_under_way(trail, store):
    intent = an_intent()
    trail.begin(intent)
    store.shortage = "disk_full"

    assert until(lambda: is_refusing(trail)) == "disk_full"
    trail.finish(intent, a_closing(), 5.0)

    assert store.of(intent)[-1]["outcome"] == "completed"


def test_a_defect_in_the_store_is_a_fault_and_not_a_dead_thread(trail, store):
    trail.check()
    store.trouble = ZeroDivisionError()

    with pytest.raises(AuditUnavailable, match="internal_error"):
        trail.finish(an_intent(), a_closing(), 5.0)
    store.trouble = None

    until(lambda: not is_refusing(trail))


def test_what_comes_in_during_a_commit_shares_the_next_one(trail, store):
    trail.check()
    store.commit.clear()
    chats = [
        threading.Thread(target=lambda: trail.finish(an_intent(), a_closing(), 10.0))
        for _ in range(20)
    ]
    chats[0].start()
    assert store.composed.wait(10)
    for chat in chats[1:]:
        chat.start()
    until(lambda: len(trail._writer._inbox) == 19)

    store.commit.set()
    for chat in chats:
        chat.join()

    assert store.batches == [1, 19]


def test_an_ending_that_comes_soon_costs_one_row_only(trail, store):
    intent = an_intent()
    trail.begin(intent)

    trail.finish(intent, a_closing(), 10.0)
    trail.close()

    assert len(store.of(intent)) == 1


def test_chats_without_an_ending_are_left_open_at_the_close(trail, store):
    intent = an_intent()
    trail.begin(intent)

    trail.close()

    (row,) = store.of(intent)
    assert row["outcome"] is None


def test_a_thread_that_can_not_be_had_is_a_refusal(url):
    code = """
import resource, sys, threading
from app.gateway.errors import AuditUnavailable
from app.storage.trail import open_backend
trail = open_backend(sys.argv[1]).trail()
threading.stack_size(1 << 33)
resource.setrlimit(resource.RLIMIT_AS, (1 << 32, resource.RLIM_INFINITY))
try:
    trail.check()
except AuditUnavailable as refusal:
    print(refusal)
threading.stack_size(0)
trail.check()
print("back")
"""
    said, _ = run_python(code, url).communicate(timeout=60)

    assert said.split() == ["no_thread", "back"]


def test_a_fault_that_is_over_is_told_as_a_gap(store):
    told = []

    class Events:
        def audit_gap(self, gap):
            told.append(gap)

        def clock_jumped(self, seconds):
            told.append(seconds)

    trail = QueuedTrail(lambda: store)
    trail.events = Events()
    trail.check()
    store.trouble = StoreFailed("disk_full")
    with pytest.raises(AuditUnavailable):
        trail.finish(an_intent(), a_closing(), 5.0)
    with pytest.raises(AuditUnavailable):
        trail.begin(an_intent())
    store.trouble = None
    until(lambda: is_refusing(trail) is None)
    trail.close()

    (gap,) = told
    assert (gap["reason"], gap["refused"], gap["undelivered"]) == ("disk_full", 1, 1)
    assert gap["from"] <= gap["until"]


def test_what_breaks_while_words_are_erased_holds_up_no_chat(trail, store, caplog):
    asked = []

    def prune(*, is_idle):
        asked.append(is_idle)
        raise StoreFailed("io_error")

    store.prune = prune
    trail.start()
    until(lambda: asked)

    trail.finish(an_intent(), a_closing(), 5.0)

    assert is_refusing(trail) is None
    assert len(asked) == 1
    assert "Nothing is erased" in caplog.text


def test_the_store_is_told_of_chats_under_way_before_it_erases(trail, store):
    asked = []

    def prune(*, is_idle):
        asked.append(is_idle)
        return 0.0

    store.prune = prune
    trail.start()
    until(lambda: asked)
    intent = an_intent()
    trail.begin(intent)
    before = len(asked)
    until(lambda: len(asked) > before + 1)
    trail.finish(intent, a_closing(), 5.0)

    assert asked[0]
    assert not asked[before + 1]
