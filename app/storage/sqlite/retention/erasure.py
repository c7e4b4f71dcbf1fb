"""Erasure: takes the words of somebody's records out of a SQLite file on demand.

It runs beside the gateway, under the writers' lock, in batches with pauses in between.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from time import monotonic, sleep, time
from typing import Any

from app.storage.chain.links import LANE, Head
from app.storage.chain.retention import in_ranges, retention_record
from app.storage.chain.whose import Found
from app.storage.sqlite.retention.erasing import NEAR, erase, rows_at, words_at
from app.storage.sqlite.retention.pruner import BYTES, Change, Commit, LogInUse, Plan
from app.storage.sqlite.retention.stale_bytes import StaleBytes

AT_ONCE = 100  # records in a batch
PAUSE = 0.02  # seconds between two batches, in which the gateway's records go
PATIENCE = 10.0


class Erasure:
    """Erases records that were found, and covers what is left of them in the file.

    `names` are what the record of it says of whose they were. `patience` is how many
    seconds readers may hold on to the log.
    """

    def __init__(
        self,
        commit: Commit,
        stale: StaleBytes,
        worker: str,
        names: dict[str, str],
        *,
        patience: float = PATIENCE,
        wall: Callable[[], float] = time,
    ) -> None:
        self._commit, self._stale = commit, stale
        self._worker, self._names, self._wall = worker, names, wall
        self._patience = patience

    def of(self, found: Sequence[Found]) -> int:
        """Erase these; return how many records lost words. Raises StoreFailed."""
        places = [one.seq for one in found if one.has_words]
        count = 0
        for batch in _batches(places):
            left = batch
            while done := self._erased(left):
                count += len(done)
                left = [seq for seq in left if seq > done[-1]]
                sleep(PAUSE)
        return count

    def cover(self, found: Sequence[Found]) -> bool:
        """Cover what pages still hold of these; return whether that was possible."""
        for batch in _batches([one.seq for one in found]):
            if not self._on_empty_log(partial(self._covered, batch)):
                return False
            sleep(PAUSE)
        return self._on_empty_log(lambda *_: None)

    def _erased(self, places: Sequence[int]) -> list[int]:
        done: list[int] = []

        def plan(connection: sqlite3.Connection, _: Head) -> Change | None:
            done.extend(erase(connection, words_at(connection, places, BYTES)))
            if not done:
                return None
            said: dict[str, Any] = {"erased": in_ranges(LANE, done), "count": len(done)}
            said["of"] = self._names
            now = self._wall()
            return Change([retention_record("words_erased", said, self._worker, now)])

        if places:
            self._commit(plan)
        return done

    def _covered(
        self, places: Sequence[int], connection: sqlite3.Connection, _: Head
    ) -> Change:
        for first, last in rows_at(connection, places):
            self._stale.cover(connection, first - NEAR, last + NEAR)
        return Change([])

    def _on_empty_log(self, plan: Plan) -> bool:
        """Do that on an empty log, as soon as no reader holds on to it."""
        deadline = monotonic() + self._patience
        while True:
            try:
                self._commit(plan, empties_log=True)
                return True
            except LogInUse:
                if monotonic() > deadline:
                    return False
                sleep(PAUSE)


def _batches(places: Sequence[int]) -> Iterator[Sequence[int]]:
    for begin in range(0, len(places), AT_ONCE):
        yield places[begin : begin + AT_ONCE]
