"""Moving a trail: its rows as they are, as a closed lane, and checked on both sides.

Digests stay untouched, so what was noted of the trail elsewhere still proves it. Only
heads and open rows are signed anew, with the key of the hosts.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from app.storage.audit.errors import StoreFailed, UnusableDatabase
from app.storage.audit.rows import open_content, to_json
from app.storage.audit.schema import COLUMNS, OPENING, chain, records
from app.storage.backend import Moved
from app.storage.chain.links import Head, head_mac, intent_mac
from app.storage.postgres import statements as sql
from app.storage.postgres.connections import Session

PAGE = 500

_COPY = f"""
INSERT INTO records ({", ".join(COLUMNS)})
SELECT {sql.values_of(COLUMNS)} FROM jsonb_array_elements(%s::jsonb) AS row
"""  # noqa: S608  # made of the schema
_CLOSE = f"""
INSERT INTO chain ({sql.HEAD}, owner, name, about, alive_until)
VALUES ({", ".join(["%s"] * (len(sql.FIELDS) + 1))}, '', %s, '{{}}', 'infinity')
"""  # noqa: S608
_OPEN_COLUMNS = len(OPENING)


def copy_trail(
    source: sa.Engine,
    session: Session,
    key: bytes,
    name: str,
    on_progress: Callable[[int, int], None],
) -> Moved:
    """Copy all rows and heads into an empty trail, in one transaction.

    `name` says of the lanes where they are from. Raises StoreFailed, RowRefused,
    SQLAlchemyError or psycopg.Error; then nothing was moved.
    """
    with source.connect() as reading, session.transaction():
        session.run("SET LOCAL idle_in_transaction_session_timeout = 0")
        session.run("LOCK TABLE chain IN EXCLUSIVE MODE")
        if session.run(sql.HEADS) or session.run(sql.HAS_RECORDS)[0][0]:
            raise UnusableDatabase(
                "unsuitable", "the records can be moved into an empty database only"
            )
        heads = [Head(*row) for row in reading.execute(_heads())]
        count = sa.select(sa.func.count()).select_from(records)
        total = reading.execute(count).scalar() or 0
        done = 0
        for page in _pages(reading):
            rows = [_signed(key, row) for row in page]
            session.run(_COPY, (_as_json(rows),))
            done += len(rows)
            on_progress(done, total)
        for head in heads:
            values = map(head.__getattribute__, sql.FIELDS)
            session.run(_CLOSE, (*values, head_mac(key, head), name))
    if done != total:
        raise StoreFailed("io_error", "the records changed meanwhile")
    return Moved(done, tuple(heads))


def _pages(reading: sa.Connection) -> Iterator[Sequence[sa.Row[Any]]]:
    query = sa.select(*(records.c[name] for name in COLUMNS))
    result = reading.execution_options(yield_per=PAGE).execute(query)
    yield from result.partitions()


def _heads() -> sa.Select[Any]:
    return sa.select(
        *(chain.c["id" if name == "lane" else name] for name in sql.FIELDS)
    )


def _signed(key: bytes, row: sa.Row[Any]) -> tuple[Any, ...]:
    """A row as it is, or, if it is open, signed with the key of the hosts."""
    values = tuple(row)
    if row.seq is not None:
        return values
    mac = intent_mac(key, open_content(values[:_OPEN_COLUMNS]))
    at = COLUMNS.index("mac")
    return (*values[:at], mac, *values[at + 1 :])


def _as_json(rows: list[tuple[Any, ...]]) -> str:
    return to_json([[v.hex() if type(v) is bytes else v for v in row] for row in rows])
