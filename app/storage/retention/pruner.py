"""Pruner: erases words and prunes records whose time is over, a small batch at a time.

It has no thread: the writer's lets it do a batch when nobody waits for a record. What a
batch does is on record in the same transaction, so it is done or not begun.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from time import monotonic, time
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from app.storage.audit.rows import Draft
from app.storage.chain.links import Head
from app.storage.chain.retention import FOR_EVER, Keep, in_ranges, retention_record
from app.storage.retention.erasing import (
    Connection,
    digest_at,
    erase,
    last_due,
    progress,
    prune,
    set_progress,
    words_behind,
)

DAY = 86400.0
PASS_EVERY = 3600.0  # seconds from the end of a pass to the next one
AGAIN = 1.0  # seconds until something else may have become possible
# A batch grows and shrinks so as to take so long, in seconds: a commit may have to wait
# for one. While chats are under way there is a pause of so many times its length.
TAKES, PAUSE = 0.01, 10.0
ROWS, LEAST, MOST = 100, 50, 500
BYTES = 1024 * 1024  # of words in a batch, but for the last record's


class Change(NamedTuple):
    """What one transaction adds to the chain and its head, and does besides."""

    drafts: list[Draft]
    head: Mapping[str, Any] = MappingProxyType({})
    then: Callable[[Any], None] = lambda _: None


Plan = Callable[[Any, Head], Change | None]


class Commit(Protocol):
    """Commits what a plan returns; gives back the head then, None for no change."""

    def __call__(self, plan: Plan) -> Head | None:
        """Raises StoreFailed."""
        ...


# May hold back a floor: given the lane, its floor and the next one, returns which of
# the places between them it may be.
HoldBack = Callable[[Any, int, int, int], int]


class Pruner:
    """Knows what is due and how far it has come. One thread's."""

    def __init__(
        self,
        keep: Keep,
        worker: str,
        wall: Callable[[], float] = time,
        clock: Callable[[], float] = monotonic,
        hold_back: HoldBack = lambda _connection, _lane, _after, floor: floor,
    ) -> None:
        self._keep, self._worker = keep, worker
        self._wall, self._clock = wall, clock
        self._hold_back = hold_back
        self._rows = ROWS
        self._next_pass = 0.0
        self._head = 0  # where the chain ended after our last batch
        self._pause = AGAIN

    @property
    def ask_again(self) -> float:
        """After how many seconds to ask again where another worker does it."""
        return inf if self._keep == FOR_EVER else AGAIN

    def turn(self, commit: Commit, *, is_idle: bool) -> float:
        """Do a batch if one is due; return after how many seconds to ask again."""
        now = self._clock()
        if self._keep == FOR_EVER:
            return inf
        if now < self._next_pass:
            return self._next_pass - now
        with self._timed():
            head = commit(self._next_batch)
        if head is not None:
            is_idle = is_idle and head.seq - self._head <= 1
            self._head = head.seq
            return self._pause if is_idle else self._pause * PAUSE
        return self._finish(commit, now, is_idle=is_idle)

    def _finish(self, _commit: Commit, _now: float, *, is_idle: bool) -> float:  # noqa: ARG002
        """End a pass; there is a place for what is left to be done then."""
        self._next_pass = self._clock() + PASS_EVERY
        return PASS_EVERY

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Let the next batch take as long as one should."""
        began = self._clock()
        yield
        took = max(self._clock() - began, 1e-4)
        self._rows = max(LEAST, min(MOST, int(self._rows * min(2.0, TAKES / took))))
        self._pause = max(0.01, took)

    # ---- the batches

    def _next_batch(self, connection: Connection, head: Head) -> Change | None:
        now = self._wall()
        return self._expired_records(connection, head, now) or self._expired_words(
            connection, head, now
        )

    def _expired_records(
        self, connection: Connection, head: Head, now: float
    ) -> Change | None:
        lane, after = head.lane, head.floor_seq
        due = self._last_due(connection, lane, after, self._keep.records, now)
        floor = min(due, after + self._rows)
        if floor > after:
            floor = self._hold_back(connection, lane, after, floor)
        digest = digest_at(connection, lane, floor)
        if floor <= after or digest is None:
            return None
        said = {"floor": [lane, floor, digest.hex()], "count": floor - after}
        return self._change(
            "records_expired",
            said | {"days": self._keep.records / DAY},
            lambda connection: prune(connection, lane, floor),
            floor_seq=floor,
            floor_digest=digest,
        )

    def _expired_words(
        self, connection: Connection, head: Head, now: float
    ) -> Change | None:
        lane = head.lane
        after = max(progress(connection, "words", lane), head.floor_seq)
        due = self._last_due(connection, lane, after, self._keep.words, now)
        if due == after:
            return None
        words, last = words_behind(connection, lane, after, due, self._rows, BYTES)

        def then(connection: Connection) -> None:
            set_progress(connection, "words", lane, last)

        if not words:
            return Change([], then=then)
        done = erase(connection, lane, words)
        said = {"erased": in_ranges(lane, done), "count": len(done)}
        return self._change(
            "words_expired", said | {"days": self._keep.words / DAY}, then
        )

    def _last_due(
        self, connection: Connection, lane: int, after: int, keep: float, now: float
    ) -> int:
        if keep == inf:
            return after
        return last_due(connection, lane, after, now - keep, now, self._rows)

    def _change(
        self,
        code: str,
        said: dict[str, Any],
        then: Callable[[Any], None],
        **head: Any,
    ) -> Change:
        draft = retention_record(code, said, self._worker, self._wall())
        return Change([draft], head, then)
