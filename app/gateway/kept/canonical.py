"""Canonical: a request as bytes that are the same for the same question only.

All of a request is in them but what a written list leaves out: a field that is
forgotten in a list of what counts gives one question the answer of another.
"""

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from app.gateway.chat import ChatRequest

# What is no part of the question: the ids of this very request, how the answer is to be
# handed over, and how soon. The session counts where the caller has named one.
LEFT_OUT = frozenset(
    {
        "cache_control",
        "correlation_id",
        "idempotency_key",
        "names_session",
        "priority",
        "session_id",
        "size",
        "stream",
        "stream_mode",
    }
)
# All else, with what each is where the caller has said nothing of it.
_ASKED = tuple(
    (name, ChatRequest._field_defaults.get(name))
    for name in ChatRequest._fields
    if name not in LEFT_OUT
)


def canonical(request: ChatRequest) -> bytes:
    """Return the question of a request. Raises TypeError for values that JSON lacks."""
    asked = {
        name: said
        for name, usual in _ASKED
        if (said := getattr(request, name)) is not usual and said != usual
    }
    if request.names_session:
        asked["session_id"] = request.session_id
    return _encode(asked).encode("ascii")


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} is no part of a question")


_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), check_circular=False, default=_plain
).encode
