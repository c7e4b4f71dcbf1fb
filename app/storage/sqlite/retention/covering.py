"""CoveringPruner: a pruner that also takes from a file what pages still hold."""

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic, time
from typing import Protocol

from app.storage.chain.links import LANE, Head
from app.storage.chain.retention import Keep
from app.storage.retention.erasing import progress, set_progress
from app.storage.retention.pruner import AGAIN, Change, Commit, Plan, Pruner
from app.storage.sqlite.retention.stale_bytes import StaleBytes
from app.storage.sqlite.retention.table_rows import rows_of

COVER = 500  # places around which stale bytes are covered at once
LONGEST_WAIT = 600.0  # seconds that the covering waits for a gateway without chats


class LogInUse(Exception):
    """A reader holds on to the log, so it can't be emptied just now."""


class FileCommit(Commit, Protocol):
    """Commits what a plan returns to a file; gives back the head, None: no change."""

    def __call__(self, plan: Plan, *, empties_log: bool = False) -> Head | None:
        """With `empties_log` all of the log goes into the database before.

        Raises StoreFailed, or LogInUse.
        """
        ...


class CoveringPruner(Pruner):
    """Covers what the batches have left, when chats leave time for it."""

    def __init__(
        self,
        keep: Keep,
        database: Path,
        worker: str,
        wall: Callable[[], float] = time,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(keep, worker, wall, clock)
        self._waits_since: float | None = None
        self._stale = StaleBytes(database)

    def _finish(self, commit: FileCommit, now: float, *, is_idle: bool) -> float:  # type: ignore[override]
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
        return super()._finish(commit, now, is_idle=is_idle)

    def _next_cover(self, connection: sqlite3.Connection, head: Head) -> Change | None:
        begin = progress(connection, "covered", LANE)
        end = max(progress(connection, "words", LANE), head.floor_seq)
        if begin >= end:
            return None
        end = min(end, begin + COVER)
        if (rows := rows_of(connection, begin, end)) is not None:
            self._stale.cover(connection, *rows)
        then = partial(set_progress, task="covered", lane=LANE, seq=end)
        return Change([], then=then)
