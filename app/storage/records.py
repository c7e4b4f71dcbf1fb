"""A record as a row: plain values in the order of the table's columns.

Rows are tuples, not objects, because they are made twice per chat on the hot
path and go to the driver as they are.
"""

import json
from dataclasses import dataclass, replace

from app.gateway.audit import Closing, Intent

Values = tuple[object, ...]

_UNCLOSED: Values = (None,) * 13
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Draft:
    """A row that still lacks its seal.

    `content` is what the chain signs; None for an intent, which is not sealed.
    """

    values: Values
    content: bytes | None


def opened(intent: Intent, worker: str) -> Values:
    """Return the columns that are known when a chat begins."""
    return (
        intent.id,
        intent.correlation_id,
        intent.session_id,
        intent.caller,
        intent.route,
        float(intent.opened_at),
        intent.request,
        worker,
    )


def closed(closing: Closing, corrects: str | None = None) -> Values:
    """Return the columns that are known when it has ended."""
    return (
        closing.outcome,
        closing.code,
        closing.provider,
        closing.model,
        closing.degraded_by,
        closing.status,
        closing.reply,
        closing.attempts,
        float(closing.duration),
        closing.input_tokens,
        closing.output_tokens,
        float(closing.closed_at),
        corrects,
    )


def interrupted(now: float) -> Values:
    """Return the ending of a chat whose worker died; `now` is Unix time."""
    outcome: Values = ("interrupted", "worker_died", None, None, None, None)
    return (*outcome, None, "[]", None, None, None, now, None)


def open_draft(columns: Values) -> Draft:
    """Make the row of an intent."""
    return Draft(_storable(columns) + _UNCLOSED, None)


def closed_draft(opening: Values, ending: Values) -> Draft:
    """Make the row of a chat that has ended, ready to be sealed."""
    values = opening + ending
    try:
        return Draft(values, content(values))
    except UnicodeEncodeError:
        values = _storable(values)
        return Draft(values, content(values))


def content(values: Values) -> bytes:
    """Return what the chain signs: the columns as one JSON array in UTF-8."""
    return _to_json(values).encode()


def undelivered(closing: Closing) -> Closing:
    """Return the ending of a reply that was made but could not be delivered."""
    if closing.outcome != "completed":
        return closing
    return replace(closing, outcome="failed", code="audit_unavailable", status=503)


def _storable(values: Values) -> Values:
    return tuple(_escaped(v) if isinstance(v, str) else v for v in values)


def _escaped(text: str) -> str:
    # A lone surrogate has no UTF-8; it must not take the whole batch down.
    return text.encode("utf-8", "backslashreplace").decode()
