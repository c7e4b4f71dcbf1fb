"""ActivityReader: reads the recent past in short read-only transactions."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.gateway.records.activity import GAP, Kind, Moment, Usage, Window
from app.gateway.records.events import EVENT
from app.gateway.replay.origin import REPLAY
from app.storage.audit.bad_chats import DEGRADED, REFUSALS, REFUSED, UNANSWERED
from app.storage.audit.reader import fetch
from app.storage.audit.schema import records

MOMENTS_MAX = 2000


class Bad(NamedTuple):
    """A kind of bad chats: which records, for what cause, how many chats each is of.

    Those at most `gap` seconds apart are one window.
    """

    records: sa.ColumnElement[bool]
    cause: sa.ColumnElement[str]
    chats: sa.ColumnElement[int]
    gap: float


_ONE: sa.ColumnElement[int] = sa.literal_column("1", sa.Integer)
_CODE = sa.func.coalesce(records.c.code, records.c.outcome)
_NO_CORRECTION = records.c.corrects.is_(None)
KINDS: dict[Kind, Bad] = {
    "degraded": Bad(
        sa.and_(DEGRADED, _NO_CORRECTION), records.c.degraded_by, _ONE, GAP
    ),
    "unanswered": Bad(UNANSWERED, _CODE, _ONE, GAP),
    # Refusals of a kind that go on are on record once or twice a minute.
    "refused": Bad(REFUSED, _CODE, REFUSALS, 2 * GAP),
}


class Part(NamedTuple):
    """The share of one cause in one window."""

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
            .where(records.c.outcome.is_distinct_from(EVENT))
            .where(records.c.route != REPLAY)
            .order_by(records.c.opened_at.desc())
            .limit(max(1, min(limit, MOMENTS_MAX)))
        )
        return tuple(Moment(*row) for row in fetch(self._engine, query))

    def windows(self, since: float, limit: int) -> tuple[Window, ...]:
        """See Activity."""
        found = [
            window
            for kind, bad in KINDS.items()
            for window in _windows(kind, _read(self._engine, bad, since))
        ]
        found.sort(key=attrgetter("began"), reverse=True)
        return tuple(found[:limit])

    def usage(
        self, since: float, until: float, limit: int, *, by_person: bool
    ) -> tuple[Usage, ...]:
        """See Activity."""
        query = _usage(since, until, by_person=by_person)
        rows = fetch(self._engine, query.limit(limit))
        return tuple(Usage(row[0], row[1], *map(int, row[2:])) for row in rows)


def _narrow(since: float, until: float, *, by_person: bool) -> sa.CTE:
    """Pick what usage counts of each chat; a correction's outcome is `lost`.

    It is made before it is grouped: else SQLite would sort all words with it.
    """
    outcome = records.c.outcome
    return (
        sa.select(
            records.c.caller,
            (records.c.person if by_person else sa.null()).label("person"),
            sa.case((_NO_CORRECTION, outcome), else_="lost").label("outcome"),
            sa.case((outcome == "refused", REFUSALS), else_=1).label("chats"),
            sa.case((DEGRADED, 1), else_=0).label("degraded"),
            records.c.input_tokens,
            records.c.output_tokens,
        )
        .where(outcome.is_distinct_from(EVENT), records.c.route != REPLAY)
        .where(records.c.opened_at >= since, records.c.opened_at < until)
        .cte("chats")
        .prefix_with("MATERIALIZED")
    )


def _usage(since: float, until: float, *, by_person: bool) -> sa.Select[Any]:
    """Sum up chats by their caller; a correction takes an answer back."""
    chats = _narrow(since, until, by_person=by_person).c
    is_lost = chats.outcome.is_not_distinct_from("lost")

    def ended(*how: str) -> sa.ColumnElement[int]:
        return sa.func.sum(sa.case((chats.outcome.in_(how), chats.chats), else_=0))

    def unless_lost(count: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
        return sa.func.coalesce(sa.func.sum(sa.case((is_lost, 0), else_=count)), 0)

    is_degraded = sa.and_(chats.outcome == "completed", chats.degraded == 1)
    asked = unless_lost(chats.chats).label("asked")
    return (
        sa.select(
            chats.caller,
            chats.person,
            asked,
            ended("completed") - ended("lost"),
            sa.func.sum(sa.case((is_degraded, 1), else_=0)),
            ended("failed", "interrupted", "lost"),
            ended("refused"),
            ended("cancelled"),
            unless_lost(chats.input_tokens),
            unless_lost(chats.output_tokens),
        )
        .group_by(chats.caller, chats.person)
        .order_by(sa.desc("asked"), chats.caller, chats.person)
    )


def _read(engine: sa.Engine, bad: Bad, since: float) -> list[Part]:
    return [Part(*row) for row in fetch(engine, _parts(bad, since))]


def _parts(bad: Bad, since: float) -> sa.Select[Any]:
    """Number the windows and sum up each one's causes, all inside the database.

    A chat begins a window if the one before it is more than a gap older; its window's
    number is how many did so before.
    """
    at = records.c.opened_at
    before = sa.func.lag(at).over(order_by=at)
    chats = (
        sa.select(
            at,
            records.c.closed_at,
            bad.cause.label("cause"),
            bad.chats.label("chats"),
            sa.case((at - before > bad.gap, 1), else_=0).label("begins"),
        )
        .where(bad.records, at >= since)
        .subquery()
    )
    number = sa.func.sum(chats.c.begins).over(order_by=chats.c.opened_at)
    numbered = sa.select(chats, number.label("window")).subquery()
    began = sa.func.min(numbered.c.opened_at)
    return (
        sa.select(
            numbered.c.window,
            numbered.c.cause,
            sa.func.sum(numbered.c.chats),
            began,
            sa.func.max(numbered.c.closed_at),
        )
        .group_by(numbered.c.window, numbered.c.cause)
        .order_by(numbered.c.window, began)
    )


def _windows(kind: Kind, parts: Iterable[Part]) -> Iterator[Window]:
    """Put the parts of each window together; they come in its order."""
    for _, group in groupby(parts, key=attrgetter("window")):
        of_one = list(group)
        yield Window(
            began=of_one[0].began,
            ended=max(part.ended for part in of_one),
            chats=sum(part.chats for part in of_one),
            causes=tuple((part.cause, part.chats) for part in of_one),
            kind=kind,
        )
