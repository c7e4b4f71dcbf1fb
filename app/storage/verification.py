"""Verifying the chain: was a record edited, removed, moved or cut off."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from app.storage.chain import Head, is_signed, link
from app.storage.records import content
from app.storage.schema import COLUMNS, chain, records

# Rows per transaction: short ones, so that the log can be cut back meanwhile.
PAGE = 1000

# What a chat that is under way has, and who has more has an ending.
_OF_AN_INTENT = {*COLUMNS[: COLUMNS.index("outcome")], "seq"}

# Is told how many records were read, and of how many.
OnProgress = Callable[[int, int], None]


def ignore(_done: int, _total: int) -> None:
    """The progress that nobody looks at."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of the chain found.

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

    Rows without an ending are not in the chain yet; every other one has to be.
    `noted` is a head that was seen earlier and must still be part of the chain.
    """
    found = _walk(engine, key, noted, on_progress)
    stray = _stray(engine) if found.ok else None
    if stray is None:
        return found
    why = "has no place in the chain" if stray.seq is None else "is not of the chain"
    return replace(
        found, ok=False, first_bad_seq=stray.seq, reason=f"record {stray.id} {why}"
    )


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
    signed = content(tuple(row)[:-3])
    if link(key, previous, seq, row.clock_step, signed) != row.digest:
        return "the record was changed or moved"
    if noted is not None and noted.seq == seq and noted.digest != row.digest:
        return "the record is not the one that was noted"
    return None


def _read_head(engine: sa.Engine) -> tuple[Head | None, bytes]:
    with engine.connect() as connection:
        row = connection.execute(sa.select(chain).where(chain.c.id == 1)).first()
    if row is None:
        return None, b""
    return Head(row.seq, row.digest, row.sealed_at), row.mac


def _stray(engine: sa.Engine) -> Any:
    """A record that looks like one of the chain and is none, if there is one.

    Asked in one statement, so that what workers append meanwhile is not taken for it.
    """
    end = sa.select(chain.c.seq).where(chain.c.id == 1).scalar_subquery()
    endings = (records.c[name] for name in COLUMNS if name not in _OF_AN_INTENT)
    query = (
        sa.select(records.c.id, records.c.seq)
        .where(
            sa.or_(
                records.c.seq > end,
                records.c.seq < 1,
                records.c.seq.is_(None) & sa.or_(*(c.is_not(None) for c in endings)),
            )
        )
        .limit(1)
    )
    with engine.connect() as connection:
        return connection.execute(query).first()


def _rows(
    engine: sa.Engine, last: int, on_progress: OnProgress
) -> Iterator[sa.Row[Any]]:
    seq = 0
    while seq < last:
        page = (
            sa.select(records)
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
