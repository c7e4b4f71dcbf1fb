"""Pruner: erases words and prunes records whose time is over, a small batch at a time.

It has no thread: the writer's lets it do a batch when nobody waits for a record. What a
batch does is on record in the same transaction, so it is done or not begun.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from pathlib import Path
from time import monotonic, time
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from app.storage.audit.rows import Draft
from app.storage.chain.links import LANE, Head
from app.storage.chain.retention import FOR_EVER, Keep, in_ranges, retention_record
from app.storage.sqlite.retention.erasing import (
    erase,
    last_due,
    progress,
    prune,
    rows_of,
    set_progress,
    words_behind,
)
from app.storage.sqlite.retention.stale_bytes import StaleBytes
from app.storage.sqlite.statements import digest_at

DAY = 86400.0
PASS_EVERY = 3600.0  # seconds from the end of a pass to the next one
AGAIN = 1.0  # seconds until something else may have become possible
# A batch grows and shrinks so as to take so long, in seconds: a commit may have to wait
# for one. While chats are under way there is a pause of so many times its length.
TAKES, PAUSE = 0.01, 10.0
ROWS, LEAST, MOST = 100, 50, 500
BYTES = 1024 * 1024  # of words in a batch, but for the last record's
COVER = 500  # places around which stale bytes are covered at once
LONGEST_WAIT = 600.0  # seconds that the covering waits for a gateway without chats


class Change(NamedTuple):
    """What one transaction adds to the chain and its head, and does besides."""

    drafts: list[Draft]
    head: Mapping[str, Any] = MappingProxyType({})
    then: Callable[[sqlite3.Connection], None] = lambda _: None


Plan = Callable[[sqlite3.Connection, Head], Change | None]


class LogInUse(Exception):
    """A reader holds on to the log, so it can't be emptied just now."""


class Commit(Protocol):
    """Commits what a plan returns; gives back the head then, None for no change."""

    def __call__(self, plan: Plan, *, empties_log: bool = False) -> Head | None:
        """With `empties_log` all of the log goes into the database before.

        Raises StoreFailed, or LogInUse.
        """
        ...


class Pruner:
    """Knows what is due and how far it has come. One thread's."""

    def __init__(
        self,
        keep: Keep,
        database: Path,
        worker: str,
        wall: Callable[[], float] = time,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._keep, self._worker = keep, worker
        self._wall, self._clock = wall, clock
        self._rows = ROWS
        self._next_pass = 0.0
        self._waits_since: float | None = None
        self._head = 0  # where the chain ended after our last batch
        self._pause = AGAIN
        self._stale = StaleBytes(database)

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

    def _finish(self, commit: Commit, now: float, *, is_idle: bool) -> float:
        """Cover what the batches have left, when chats leave time for it."""
        self._waits_since = self._waits_since or now
        if not is_idle and now - self._waits_since < LONGEST_WAIT:
            return AGAIN
        try:
            with self._timed():
                head = commit(self._next_cover, empties_log=True)
        except LogInUse:
            return AGAIN
        if head is not None:
            return self._pause
        self._waits_since = None
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

    def _next_cover(self, connection: sqlite3.Connection, head: Head) -> Change | None:
        begin = progress(connection, "covered")
        end = max(progress(connection, "words"), head.floor_seq)
        if begin >= end:
            return None
        end = min(end, begin + COVER)
        if (rows := rows_of(connection, begin, end)) is not None:
            self._stale.cover(connection, *rows)
        return Change(
            [], then=lambda connection: set_progress(connection, "covered", end)
        )

    # ---- the batches

    def _next_batch(self, connection: sqlite3.Connection, head: Head) -> Change | None:
        now = self._wall()
        return self._expired_records(connection, head, now) or self._expired_words(
            connection, head, now
        )

    def _expired_records(
        self, connection: sqlite3.Connection, head: Head, now: float
    ) -> Change | None:
        after = head.floor_seq
        due = self._last_due(connection, after, self._keep.records, now)
        floor = min(due, after + self._rows)
        digest = digest_at(connection, floor)
        if due == after or digest is None:
            return None
        said = {"floor": [LANE, floor, digest.hex()], "count": floor - after}
        return self._change(
            "records_expired",
            said | {"days": self._keep.records / DAY},
            lambda connection: prune(connection, floor),
            floor_seq=floor,
            floor_digest=digest,
        )

    def _expired_words(
        self, connection: sqlite3.Connection, head: Head, now: float
    ) -> Change | None:
        after = max(progress(connection, "words"), head.floor_seq)
        due = self._last_due(connection, after, self._keep.words, now)
        if due == after:
            return None
        words, last = words_behind(connection, after, due, self._rows, BYTES)

        def then(connection: sqlite3.Connection) -> None:
            set_progress(connection, "words", last)

        if not words:
            return Change([], then=then)
        done = erase(connection, words)
        said = {"erased": in_ranges(LANE, done), "count": len(done)}
        return self._change(
            "words_expired", said | {"days": self._keep.words / DAY}, then
        )

    def _last_due(
        self, connection: sqlite3.Connection, after: int, keep: float, now: float
    ) -> int:
        if keep == inf:
            return after
        return last_due(connection, after, now - keep, now, self._rows)

    def _change(
        self,
        code: str,
        said: dict[str, Any],
        then: Callable[[sqlite3.Connection], None],
        **head: Any,
    ) -> Change:
        draft = retention_record(code, said, self._worker, self._wall())
        return Change([draft], head, then)
