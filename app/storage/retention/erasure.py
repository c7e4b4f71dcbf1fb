"""Erasure: takes the words of somebody's records out of a database on demand.

It runs beside the gateway, in batches with pauses in between.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from time import sleep, time
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.storage.audit.reader import AuditReader
from app.storage.chain.links import Head
from app.storage.chain.retention import Whose, in_ranges, retention_record
from app.storage.chain.verification import OnProgress
from app.storage.retention.erasing import Connection, erase, words_at
from app.storage.retention.pruner import BYTES, Change, Commit
from app.storage.retention.whose import Found, places_of, under_way

AT_ONCE = 100  # records in a batch
PAUSE = 0.02  # seconds between two batches, in which the gateway's records go


class Demand(NamedTuple):
    """What there is of somebody: records by lane, and chats that have not ended."""

    found: Mapping[int, Sequence[Found]]
    open: int

    @property
    def records(self) -> int:
        """How many of the records still have their words."""
        return sum(one.has_words for found in self.found.values() for one in found)


def demand(engine: sa.Engine, whose: Whose, on_progress: OnProgress) -> Demand:
    """Look for what there is of somebody. Raises as `places_of` does."""
    found: dict[int, list[Found]] = {}
    for head in AuditReader(engine).heads():
        for page in places_of(engine, whose, head, on_progress):
            found.setdefault(head.lane, []).extend(page)
    return Demand(found, under_way(engine, whose))


class Erasure:
    """Erases records that were found.

    `names` are what the record of it says of whose they were.
    """

    def __init__(
        self,
        commit: Commit,
        worker: str,
        names: dict[str, str],
        *,
        wall: Callable[[], float] = time,
    ) -> None:
        self._commit, self._worker = commit, worker
        self._names, self._wall = names, wall

    def of(self, lane: int, found: Sequence[Found]) -> int:
        """Erase these; return how many records lost words. Raises StoreFailed."""
        count = 0
        for batch in batches([one.seq for one in found if one.has_words]):
            left = batch
            while done := self._erased(lane, left):
                count += len(done)
                left = [seq for seq in left if seq > done[-1]]
                sleep(PAUSE)
        return count

    def _erased(self, lane: int, places: Sequence[int]) -> list[int]:
        done: list[int] = []

        def plan(connection: Connection, _: Head) -> Change | None:
            words = words_at(connection, lane, places, BYTES)
            done[:] = erase(connection, lane, words)
            if not done:
                return None
            said: dict[str, Any] = {"erased": in_ranges(lane, done), "count": len(done)}
            said["of"] = self._names
            now = self._wall()
            return Change([retention_record("words_erased", said, self._worker, now)])

        if places:
            self._commit(plan)
        return done


def batches(places: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield the places, so many at a time as one transaction takes."""
    for begin in range(0, len(places), AT_ONCE):
        yield places[begin : begin + AT_ONCE]
