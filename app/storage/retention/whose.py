"""Whose: finds the records of a caller, a session or a person, a page at a time."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import sqlalchemy as sa

from app.storage.audit.bad_chats import REPEATS
from app.storage.audit.reader import fetch
from app.storage.audit.schema import records
from app.storage.chain.links import Head
from app.storage.chain.retention import Whose
from app.storage.chain.verification import OnProgress

SPAN = 20_000  # places of a lane that one query goes through


class Found(NamedTuple):
    """A record of theirs: its place in a lane, and whether it still has its words."""

    seq: int
    has_words: bool


_HAS_WORDS = sa.and_(
    records.c.salt.is_not(None),
    ~sa.func.coalesce(records.c.request, "").startswith(REPEATS, autoescape=True),
)


def places_of(
    engine: sa.Engine, whose: Whose, head: Head, on_progress: OnProgress
) -> Iterator[list[Found]]:
    """Yield, in pages, what a lane has of theirs up to that head.

    What the gateway wrote for itself is left out. Raises AuditUnavailable or
    SearchTookTooLong.
    """
    for begin in range(head.floor_seq, head.seq, SPAN):
        end = min(begin + SPAN, head.seq)
        query = (
            sa.select(records.c.seq, _HAS_WORDS)
            .where(records.c.lane == head.lane, records.c.outcome != "event")
            .where(records.c.seq > begin, records.c.seq <= end, *_conditions(whose))
            .order_by(records.c.seq)
        )
        if found := [Found(seq, bool(has)) for seq, has in fetch(engine, query)]:
            yield found
        on_progress(end, head.seq)


def under_way(engine: sa.Engine, whose: Whose) -> int:
    """Count their chats that have not ended. Raises as `places_of` does."""
    query = (
        sa.select(sa.func.count())
        .select_from(records)
        .where(records.c.seq.is_(None), *_conditions(whose))
    )
    ((count,),) = fetch(engine, query)
    return int(count)


def _conditions(whose: Whose) -> Iterable[sa.ColumnElement[bool]]:
    return [
        records.c[name] == value
        for name, value in whose._asdict().items()
        if value is not None
    ]
