"""Retention on PostgreSQL: what is over its time goes from each lane by itself.

What a lane loses is told in that very lane, so what explains it is never gone sooner.
A worker does its own lane. Lanes of nobody are done by whoever comes first, who takes
such a lane for the length of a transaction: a frozen owner finds it gone then.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import inf
from time import monotonic, time
from typing import Any

import psycopg

from app.storage.audit.errors import RowRefused
from app.storage.chain.links import Head, head_mac, is_signed, seal
from app.storage.chain.retention import FOR_EVER, ROUTE, Keep, read_retention
from app.storage.postgres import statements as sql
from app.storage.postgres.connections import Row, Session
from app.storage.postgres.lane import Lane
from app.storage.retention.pruner import Change, Plan, Pruner

log = logging.getLogger(__name__)

LOOK_EVERY = 60.0  # seconds between two looks for lanes of nobody

# Whoever else erases in this lane is not waited for: chats are behind us.
_HURRY = "SET LOCAL lock_timeout = '500ms'"
_FLOORS = "SELECT id, floor_seq FROM chain"
_TOLD = (
    "SELECT seq, request FROM records WHERE lane = ? AND seq > ? AND seq <= ?"
    " AND route = ? ORDER BY seq"
)


class QmarkSession:
    """A session that takes `?` for values, as the statements of all databases do."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def execute(self, query: str, values: Sequence[Any] = (), /) -> "_Found":
        """Run a statement; return its rows."""
        query = query.replace("%", "%%").replace("?", "%s")
        return _Found(self._session.run(query, values))


class _Found:
    def __init__(self, rows: list[Row]) -> None:
        self._rows = iter(rows)

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def fetchone(self) -> Any:
        return next(self._rows, None)


def commit_on(session: Session, lane: Lane, plan: Plan) -> Head | None:
    """Commit what a plan makes of the head of our lane; None: it wants nothing.

    Raises RowRefused if the lane is not ours any more, StoreFailed or psycopg.Error.
    """
    with _transaction(session):
        head = lane.head
        change = plan(QmarkSession(session), head)
        if change is None:
            return None
        rows, head = lane.sealed(change.drafts)
        head = replace(head, **change.head)
        if not lane.send(rows, head):
            raise RowRefused("the lane was taken over")
        change.then(QmarkSession(session))
    lane.committed(head)
    return head


class Retention:
    """Lets go what is over its time, a batch of one lane at a turn. One thread's."""

    def __init__(
        self,
        session: Session,
        lane: Lane,
        key: bytes,
        keep: Keep,
        worker: str,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._session, self._lane, self._key = session, lane, key
        self._keep, self._worker, self._clock = keep, worker, clock
        self._own = Pruner(keep, worker, hold_back=hold_back)
        self._others: dict[int, Pruner] = {}  # by lane
        self._at: dict[int, float] = {}  # when it is the turn of each
        self._look_at = 0.0

    def turn(self, *, is_idle: bool) -> float:
        """Do a batch if one is due; return after how many seconds to ask again."""
        if self._keep == FOR_EVER:
            return inf
        if self._clock() >= self._look_at:
            self._look_at = self._clock() + LOOK_EVERY
            self._look()
        own = self._lane.head.lane
        turns = {own: self._at.get(own, 0.0)}
        turns |= {lane: self._at.get(lane, 0.0) for lane in self._others}
        lane = min(turns, key=turns.__getitem__)
        turns[lane] = self._at[lane] = self._clock() + self._batch(lane, own, is_idle)
        return max(0.0, min(*turns.values(), self._look_at) - self._clock())

    def _batch(self, lane: int, own: int, is_idle: bool) -> float:
        if lane == own:
            return self._own.turn(
                lambda plan: commit_on(self._session, self._lane, plan),
                is_idle=is_idle,
            )
        return self._others[lane].turn(
            lambda plan: self._commit_on_other(lane, plan), is_idle=is_idle
        )

    def _look(self) -> None:
        """Find the lanes of nobody."""
        found = {lane for (lane,) in self._session.run(sql.ABANDONED)}
        self._others = {
            lane: self._others.get(lane)
            or Pruner(self._keep, self._worker, hold_back=hold_back)
            for lane in found - {self._lane.head.lane}
        }

    def _commit_on_other(self, number: int, plan: Plan) -> Head | None:
        """As `commit_on`, on a lane of nobody; None also if it is somebody's by now."""
        mine = {"lane": number, "owner": self._worker}
        with _transaction(self._session):
            found = self._session.run(sql.SEIZE, mine)
            if not found:
                return None
            until, *columns = found[0]
            head, mac = sql.head_of(columns)
            change = None
            if is_signed(self._key, head, mac):
                change = plan(QmarkSession(self._session), head)
            else:
                log.error("Audit corrupt: the head of lane %d is forged", number)
            if change is None:
                raise psycopg.Rollback
            head = self._written(mine, head, change)
            self._session.run(sql.LET_GO, {**mine, "until": until})
            return head
        return None

    def _written(self, mine: dict[str, Any], was: Head, change: Change) -> Head:
        rows, head = seal(change.drafts, was, self._key, now=time())
        head = replace(head, **change.head)
        values = sql.head_arguments(head, head_mac(self._key, head))
        guard = {**mine, "was": was.seq, "was_digest": was.digest}
        rows_text = sql.rows_argument(rows)
        self._session.run(sql.WRITE, {**guard, **values, "rows": rows_text})
        change.then(QmarkSession(self._session))
        return head


def hold_back(connection: QmarkSession, lane: int, after: int, floor: int) -> int:
    """Return the last place up to `floor` before which nothing is needed any more.

    A demand to erase is told in another lane than its records are. What tells it
    stays until these are gone.
    """
    told = list(connection.execute(_TOLD, (lane, after, floor, ROUTE)))
    if not told:
        return floor
    floors = dict(connection.execute(_FLOORS))
    for seq, request in told:
        with suppress(ValueError):
            erased = read_retention(request).erased
            elsewhere = [part for part in erased if part.lane != lane]
            if any(part.last > floors.get(part.lane, inf) for part in elsewhere):
                return int(seq) - 1
    return floor


@contextmanager
def _transaction(session: Session) -> Iterator[None]:
    with session.transaction():
        session.run(_HURRY)
        yield
