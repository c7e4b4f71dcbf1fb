"""Rows of the chain: whether one is what the gateway has written in its place."""

from typing import Any

import sqlalchemy as sa

from app.storage.audit.rows import Values, row_digest, word_digests
from app.storage.audit.schema import CONTENT, OPENING
from app.storage.chain.links import is_signed_intent, link

LAST_MOMENT = 2.0**37  # Unix time that a date can still be made of


def follows(previous: bytes, row: sa.Row[Any]) -> bool:
    """Whether a row is what was sealed in its place, with its words or without."""
    values = tuple(row)[: len(CONTENT)]
    digests = row.request_digest, row.reply_digest
    has_words = row.salt is not None
    try:
        if has_words == (digests != (None, None)) or row.mac is not None:
            return False
        if has_words:
            digests = word_digests(values, row.salt)
        elif (
            row.request is not None
            or row.reply is not None
            or {*map(len, digests)} != {32}
        ):
            return False
        own = row_digest(values, *digests)
        found = link(previous, row.lane, row.seq, row.clock_step, own)
    except (TypeError, ValueError):  # a value of a type that we never write
        return False
    return bool(found == row.digest)


def flaw_of_an_open_one(row: Values, key: bytes) -> str | None:
    """Return what is wrong with a row without an ending; None if we wrote it."""
    opening, mac = row[: len(OPENING)], row[-1]
    rest = row[len(OPENING) : len(CONTENT)] + row[len(CONTENT) + 1 : -1]
    if any(value is not None for value in rest):
        return "has no place in the chain"
    if mac is None:
        return "is open and not signed by us"
    if not is_signed_intent(key, opening, mac):
        return "is open and holds what was not signed by us"
    return None


def moment_of(row: Any) -> float | None:
    """When a row says that its chat began, if that is a time of this age."""
    value = None if row is None else row.opened_at
    is_time = isinstance(value, int | float) and 0 <= value < LAST_MOMENT
    return value if is_time else None
