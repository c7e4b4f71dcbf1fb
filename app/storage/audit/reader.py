"""AuditReader: reads one record, or searches, without blocking the writers."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple
from threading import Timer
from time import monotonic
from typing import Any

import sqlalchemy as sa

from app.gateway.errors import AuditUnavailable, SearchTookTooLong
from app.gateway.records.audit import KNOT, RETENTION, Ends, Listed, Query, Record
from app.gateway.records.content import MANNER, TIMELINE
from app.gateway.records.events import EVENT
from app.storage.audit.bad_chats import DEGRADED, FAILED
from app.storage.audit.schema import RECORD, chain, records
from app.storage.chain.links import Head
from app.storage.dialects.excerpt import ExcerptOf

LIMIT_MAX = 500
EQUAL = ("correlation_id", "session_id", "person", "caller", "provider", "reuse")
_RECORDS = sa.select(*(records.c[name] for name in RECORD))
_HEADS = sa.select(
    *(chain.c["id" if name == "lane" else name] for name in Head.__dataclass_fields__)
).order_by(chain.c.id)
# Seconds that one query may take: words are looked for in every record there is, and
# a reader that stays keeps the log from shrinking.
TIME_LIMIT = 5.0


class AuditReader:
    """Fulfils the port `Records` in short transactions; threads may share it."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = self._engine = engine

    def get(self, any_id: str) -> Record | None:
        """See Records."""
        if "\0" in any_id:
            return None  # as in a search
        is_no_chat = sa.or_(
            records.c.route == "correction",
            records.c.outcome.is_not_distinct_from(EVENT),
        )
        owner = (
            sa.select(records.c.caller)
            .where(records.c.correlation_id == any_id, ~is_no_chat)
            .order_by(records.c.opened_at)
            .limit(1)
            .scalar_subquery()
        )
        query = (
            _RECORDS.where(
                sa.or_(records.c.id == any_id, records.c.correlation_id == any_id)
            )
            .order_by(records.c.id != any_id)
            .order_by(is_no_chat)  # chats first
            .order_by(records.c.caller.is_distinct_from(owner))
            .order_by(records.c.opened_at.desc())
            .limit(1)
        )
        return next(iter(self._read(query)), None)

    def search(self, query: Query) -> tuple[Record, ...]:
        """Return matching records, newest first, at most 500 at once."""
        return self._read(_newest_first(_RECORDS, query))

    def listed(self, query: Query) -> tuple[Listed, ...]:
        """See Records."""
        rows = fetch(self._engine, _newest_first(_LISTED, query))
        return tuple(Listed(*row) for row in rows)

    def ends(self) -> Ends:
        """See Records."""
        return {head.lane: head.seq for head in self.heads()}

    def sealed_after(self, ends: Ends) -> tuple[tuple[Record, ...], Ends]:
        """See Records."""
        found: list[Record] = []
        after = dict(ends)
        for head in self.heads():
            # A lane that is new since then began after it.
            seq, left = ends.get(head.lane, head.floor_seq), LIMIT_MAX - len(found)
            if left and head.seq > seq:
                page = self.chained(head, seq)[:left]
                found += (one for one in page if one.route not in (KNOT, RETENTION))
                after[head.lane] = page[-1].seq or seq if page else head.seq
        return tuple(found), after

    def heads(self) -> tuple[Head, ...]:
        """Return the head of each lane, as they are at one moment.

        Raises AuditUnavailable.
        """
        return tuple(Head(*row) for row in fetch(self._engine, _HEADS))

    def chained(self, head: Head, seq: int) -> tuple[Record, ...]:
        """Return what follows that place in the chain of a head, 500 records at most.

        Events and knots are among them. Raises AuditUnavailable.
        """
        statement = (
            _RECORDS.where(records.c.lane == head.lane)
            .where(records.c.seq > seq, records.c.seq <= head.seq)
            .order_by(records.c.seq)
            .limit(LIMIT_MAX)
        )
        return self._read(statement)

    def span(self) -> tuple[float, float]:
        """When the oldest and the newest chat began; twice 0 if there is none."""
        # One each: SQLite reads all rows to answer both in one.
        ends = (sa.func.min(records.c.opened_at), sa.func.max(records.c.opened_at))
        query = sa.select(*(sa.select(end).scalar_subquery() for end in ends))
        ((oldest, newest),) = fetch(self._engine, query)
        return oldest or 0.0, newest or 0.0

    def _read(self, query: sa.Select[Any]) -> tuple[Record, ...]:
        return tuple(Record(*row) for row in fetch(self._engine, query))


def fetch(
    engine: sa.Engine, query: sa.Executable, limit: float = TIME_LIMIT
) -> Sequence[Any]:
    """Run a query on a connection of its own, for at most `limit` seconds.

    Raises AuditUnavailable or SearchTookTooLong.
    """
    deadline = monotonic() + limit
    try:
        with engine.connect() as connection, _interrupted_after(limit, connection):
            return connection.execute(query).all()
    except (sa.exc.SQLAlchemyError, RuntimeError) as error:  # or no thread to be had
        if monotonic() > deadline:
            raise SearchTookTooLong from error
        raise AuditUnavailable("unreadable") from error


@contextmanager
def _interrupted_after(seconds: float, connection: sa.Connection) -> Iterator[None]:
    """End what a connection does by then, from another thread.

    SQLite's own progress handler counts steps, and one step over long words may take
    as long as ten thousand others.
    """
    driver: Any = connection.connection.driver_connection

    def interrupt() -> None:
        with suppress(sqlite3.ProgrammingError):  # closed just now
            driver.interrupt()

    timer = Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _newest_first(columns: sa.Select[Any], query: Query) -> sa.Select[Any]:
    return (
        columns.where(*_conditions(query), *_impossible(query))
        .order_by(records.c.opened_at.desc(), records.c.id.desc())
        .limit(max(1, min(query.limit, LIMIT_MAX)))
    )


def _conditions(query: Query) -> list[sa.ColumnElement[bool]]:
    conditions = [
        records.c[name] == value
        for name in EQUAL
        if (value := getattr(query, name)) is not None
    ]
    conditions.append(records.c.route != KNOT)
    if query.outcome != EVENT:
        conditions.append(records.c.route != RETENTION)
    if query.outcome is not None:
        wanted = None if query.outcome == "open" else query.outcome
        conditions.append(records.c.outcome.is_not_distinct_from(wanted))
    if query.degraded or query.failed:
        wanted_ones = ((query.degraded, DEGRADED), (query.failed, FAILED))
        conditions.append(sa.or_(*(bad for wanted, bad in wanted_ones if wanted)))
    if query.since is not None:
        conditions.append(records.c.opened_at >= query.since)
    if query.until is not None:
        conditions.append(records.c.opened_at < query.until)
    if query.before is not None:
        place = sa.tuple_(records.c.opened_at, records.c.id)
        conditions.append(place < sa.tuple_(*query.before))
    if query.text:
        conditions.append(_contains(query.text))
    return conditions


def _impossible(query: Query) -> Iterator[sa.ColumnElement[bool]]:
    """No record holds a NUL, and PostgreSQL takes none."""
    values = (*astuple(query), *(query.before or ()))
    if any(isinstance(value, str) and "\0" in value for value in values):
        yield sa.false()


def _contains(text: str) -> sa.ColumnElement[bool]:
    """Look for words without regard to the case of ASCII letters, as LIKE does.

    LIKE takes time by the length of the words times that of the text.
    """
    wanted = "".join(map(_lower, text))
    return sa.or_(
        *(
            sa.func.instr(sa.func.lower(words), wanted) > 0
            for words in (
                _behind(records.c.request, MANNER, '"messages":'),
                _behind(records.c.reply, TIMELINE, "]]"),
            )
        )
    )


def _behind(
    words: sa.ColumnElement[Any], member: str, end: str
) -> sa.ColumnElement[Any]:
    """The words without their first member, if it is that one; it ends there first.

    Whoever looks for a number means none of the milliseconds of a timeline.
    """
    is_there = words.startswith(f'{{"{member}":', autoescape=True)
    rest = sa.func.substr(words, sa.func.instr(words, end) + len(end))
    return sa.case((is_there, rest), else_=words)


def _lower(letter: str) -> str:
    return letter.lower() if letter.isascii() else letter


_LISTED = sa.select(
    *(records.c[name] for name in Listed.__dataclass_fields__ if name != "excerpt"),
    ExcerptOf(records.c.request).label("excerpt"),
)
