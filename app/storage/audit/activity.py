"""ActivityReader: reads the recent past in short read-only transactions."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.gateway.guard.breaker_records import ROUTE as BREAKER
from app.gateway.records.activity import GAP, Moment, Window
from app.gateway.records.audit import KNOT
from app.storage.audit.reader import fetch
from app.storage.audit.schema import records

MOMENTS_MAX = 2000


class Part(NamedTuple):
    """The share of one fallback reason in one window."""

    window: int
    cause: str
    chats: int
    began: float
    ended: float


class ActivityReader:
    """Fulfils the port `Activity` (see there); threads may share it."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def recent(self, since: float, limit: int) -> tuple[Moment, ...]:
        """See Activity."""
        columns = [records.c[name] for name in Moment.__dataclass_fields__]
        query = (
            sa.select(*columns)
            .where(records.c.opened_at >= since, records.c.corrects.is_(None))
            .where(records.c.route.not_in((BREAKER, KNOT)))
            .order_by(records.c.opened_at.desc())
            .limit(max(1, min(limit, MOMENTS_MAX)))
        )
        return tuple(Moment(*row) for row in fetch(self._engine, query))

    def windows(self, since: float, limit: int) -> tuple[Window, ...]:
        """See Activity."""
        parts = [Part(*row) for row in fetch(self._engine, _parts(since))]
        return tuple(_windows(parts))[::-1][:limit]


def _parts(since: float) -> sa.Select[Any]:
    """Number the windows and sum up each one's reasons, all inside the database.

    An answer begins a window if the one before it is more than a GAP older; its
    window's number is how many did so before.
    """
    at, until = records.c.opened_at, records.c.closed_at
    before = sa.func.lag(at).over(order_by=at)
    answers = (
        sa.select(
            at,
            until,
            records.c.degraded_by,
            sa.case((at - before > GAP, 1), else_=0).label("begins"),
        )
        .where(records.c.degraded_by.is_not(None), records.c.corrects.is_(None))
        .where(at >= since)
        .subquery()
    )
    number = sa.func.sum(answers.c.begins).over(order_by=answers.c.opened_at)
    numbered = sa.select(answers, number.label("window")).subquery()
    began = sa.func.min(numbered.c.opened_at)
    return (
        sa.select(
            numbered.c.window,
            numbered.c.degraded_by,
            sa.func.count(),
            began,
            sa.func.max(numbered.c.closed_at),
        )
        .group_by(numbered.c.window, numbered.c.degraded_by)
        .order_by(numbered.c.window, began)
    )


def _windows(parts: Iterable[Part]) -> Iterator[Window]:
    """Put the parts of each window together; they come in its order."""
    for _, group in groupby(parts, key=attrgetter("window")):
        of_one = list(group)
        yield Window(
            began=of_one[0].began,
            ended=max(part.ended for part in of_one),
            chats=sum(part.chats for part in of_one),
            causes=tuple((part.cause, part.chats) for part in of_one),
        )
