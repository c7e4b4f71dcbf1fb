"""Verification: whether a record was edited, removed, moved or cut off."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from app.storage.audit.chain import Head, is_signed, is_signed_intent, link
from app.storage.audit.rows import Values, content, shown_id
from app.storage.audit.schema import CONTENT, OPENING, chain, records

# Rows per transaction: short ones, so that the log can be cut back meanwhile.
PAGE = 1000


def _as_stored(table: sa.Table) -> list[sa.ColumnElement[Any]]:
    """The columns without their types, which whoever forges a row need not keep."""
    return [sa.type_coerce(c, sa.types.NULLTYPE).label(c.name) for c in table.columns]


_RECORDS, _CHAIN = _as_stored(records), _as_stored(chain)

# Is told how many records were read, and of how many.
OnProgress = Callable[[int, int], None]


def ignore(_done: int, _total: int) -> None:
    """Ignore the progress."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a check of the chain.

    `rows` were found sound, up to the first bad one. `reason` is None if all is
    well. `head` is worth noting elsewhere: only it can show, later, that the whole
    database was put back to an earlier state.
    """

    rows: int
    ok: bool
    first_bad_seq: int | None
    reason: str | None
    head: Head | None


def verify(
    engine: sa.Engine,
    key: bytes,
    noted: Head | None = None,
    on_progress: OnProgress = ignore,
) -> Verification:
    """Walk the chain up to the head that it has now, in short transactions.

    Rows without an ending are not in the chain yet and have to be signed by
    themselves; every other one has to be in it. `noted` is a head that was seen
    earlier and must still be part of the chain.
    """
    found = _walk(engine, key, noted, on_progress)
    if not found.ok:
        return found
    if (stray := _stray(engine)) is not None:
        reason = f"record {shown_id(stray.id)} is not of the chain"
        return replace(found, ok=False, first_bad_seq=stray.seq, reason=reason)
    flaw = _flaw_of_the_open(engine, key)
    return replace(found, ok=flaw is None, reason=flaw)


def _walk(
    engine: sa.Engine, key: bytes, noted: Head | None, on_progress: OnProgress
) -> Verification:
    head, mac = _read_head(engine)
    if head is None or not is_signed(key, head, mac):
        return Verification(0, False, None, "the head is missing or forged", head)
    digest, seq = bytes(32), 0
    for row in _rows(engine, head.seq, on_progress):
        reason = _flaw(row, seq + 1, digest, key, noted)
        if reason:
            return Verification(seq, False, seq + 1, reason, head)
        seq, digest = row.seq, row.digest
    if seq < head.seq:
        return Verification(seq, False, seq + 1, "records are missing at the end", head)
    if digest != head.digest:
        return Verification(seq, False, seq, "the head is of another chain", head)
    if noted is not None and noted.seq > seq:
        reason = "the trail was put back to an earlier state"
        return Verification(seq, False, seq + 1, reason, head)
    return Verification(seq, True, None, None, head)


def _flaw(
    row: sa.Row[Any],
    seq: int,
    previous: bytes,
    key: bytes,
    noted: Head | None,
) -> str | None:
    if row.seq != seq:
        return "a record is missing"
    if not _follows(previous, row, key):
        return "the record was changed or moved"
    if noted is not None and noted.seq == seq and noted.digest != row.digest:
        return "the record is not the one that was noted"
    return None


def _follows(previous: bytes, row: sa.Row[Any], key: bytes) -> bool:
    try:
        signed = content(tuple(row)[: len(CONTENT)])
    except (TypeError, ValueError):  # a value of a type that we never write
        return False
    return bool(link(key, previous, row.seq, row.clock_step, signed) == row.digest)


def _read_head(engine: sa.Engine) -> tuple[Head | None, bytes]:
    with engine.connect() as connection:
        row = connection.execute(sa.select(*_CHAIN).where(chain.c.id == 1)).first()
    if row is None:
        return None, b""
    return Head(row.seq, row.digest, row.sealed_at), row.mac


def _stray(engine: sa.Engine) -> Any:
    """A record that looks like one of the chain and is none, if there is one.

    Asked in one statement, so that what workers append meanwhile is not taken for it.
    """
    end = sa.select(chain.c.seq).where(chain.c.id == 1).scalar_subquery()
    query = (
        sa.select(*_RECORDS)
        .where(sa.or_(records.c.seq > end, records.c.seq < 1))
        .limit(1)
    )
    with engine.connect() as connection:
        return connection.execute(query).first()


def _flaw_of_the_open(engine: sa.Engine, key: bytes) -> str | None:
    """What is wrong with the first open record that is not as we wrote it, if any."""
    query = sa.select(*_RECORDS).where(records.c.seq.is_(None))
    with engine.connect() as connection:
        for row in connection.execute(query):
            if why := _flaw_of_an_open_one(tuple(row), key):
                return f"record {shown_id(row.id)} {why}"
    return None


def _flaw_of_an_open_one(row: Values, key: bytes) -> str | None:
    opening, rest, mac = row[: len(OPENING)], row[len(OPENING) : -1], row[-1]
    if any(value is not None for value in rest):
        return "has no place in the chain"
    if mac is None:
        return "is open and not signed: forged, or of before an upgrade"
    if not is_signed_intent(key, opening, mac):
        return "is open and holds what was not signed by us"
    return None


def _rows(
    engine: sa.Engine, last: int, on_progress: OnProgress
) -> Iterator[sa.Row[Any]]:
    seq = 0
    while seq < last:
        page = (
            sa.select(*_RECORDS)
            .where(records.c.seq > seq, records.c.seq <= last)
            .order_by(records.c.seq)
            .limit(PAGE)
        )
        with engine.connect() as connection:
            rows = connection.execute(page).all()
        if not rows:
            return
        yield from rows
        seq = rows[-1].seq
        on_progress(seq, last)
