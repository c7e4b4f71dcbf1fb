"""The queries of a check: rows and heads as they are stored, of one moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from app.storage.audit.schema import chain, records
from app.storage.chain.links import Head

# Rows per transaction: short ones, so that the log can be cut back meanwhile.
PAGE = 1000

# How each kind of database begins a transaction that sees one moment.
SNAPSHOT = {
    "sqlite": "BEGIN",
    "postgresql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
}


def _as_stored(table: sa.Table) -> list[sa.ColumnElement[Any]]:
    """The columns without their types, which whoever forges a row need not keep."""
    return [sa.type_coerce(c, sa.types.NULLTYPE).label(c.name) for c in table.columns]


RECORDS = _as_stored(records)
_COLUMNS = [
    sa.type_coerce(chain.c["id" if name == "lane" else name], sa.types.NULLTYPE)
    for name in (*Head.__dataclass_fields__, "mac")
]

HEADS = sa.select(*_COLUMNS).order_by(chain.c.id)


@contextmanager
def one_moment(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection to which all is as it was at one moment."""
    with engine.connect() as connection:
        connection.exec_driver_sql(SNAPSHOT[engine.dialect.name])
        yield connection


def page_behind(head: Head, seq: int) -> sa.Select[Any]:
    """The next rows behind a place."""
    return (
        sa.select(*RECORDS)
        .where(records.c.lane == head.lane)
        .where(records.c.seq > seq, records.c.seq <= head.seq)
        .order_by(records.c.seq)
        .limit(PAGE)
    )
