"""What stands around the choices of an answer or a chunk: model, usage and the rest."""

from collections.abc import Mapping
from typing import Any

from app.gateway.chat import NOTHING, Usage
from app.upstreams.replies import model_name, token_count

# What the gateway says itself, or has read already.
OURS = frozenset({"id", "object", "created", "model", "choices", "usage", "error"})
COUNTS = frozenset({"prompt_tokens", "completion_tokens"})


def model_of(value: Mapping[str, Any]) -> str:
    """The model that answered; "" if it is not told, or not in a usable way."""
    model = value.get("model")
    return model_name(model) if isinstance(model, str) else ""


def extra_of(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """All else that is told: a fingerprint, citations, timings; what is null is not."""
    if value.keys() <= OURS:
        return NOTHING
    return {k: v for k, v in value.items() if k not in OURS and v is not None}


def usage_of(value: Mapping[str, Any]) -> Usage | None:
    """The tokens that were counted; None if nothing usable is said."""
    usage = value.get("usage")
    if not isinstance(usage, Mapping):
        return None
    read = token_count(usage.get("prompt_tokens"))
    made = token_count(usage.get("completion_tokens"))
    return Usage(read, made, _details(usage, (read or 0) + (made or 0)))


def later_usage(before: Usage, value: Mapping[str, Any]) -> Usage:
    """The usage with what a later chunk says of it, which may be a part or nothing."""
    told = usage_of(value)
    if told is None or told == Usage():
        return before
    read, made = told.input_tokens, told.output_tokens
    return Usage(
        before.input_tokens if read is None else read,
        before.output_tokens if made is None else made,
        told.details or before.details,
    )


def _details(usage: Mapping[str, Any], total: int) -> Mapping[str, Any]:
    """All else that was counted, as it was told.

    Clients add the numbers of kinds of tokens up, so that there may be nothing else
    among these. A total is kept only where it is another one than the sum.
    """
    details = {
        name: _counts(value) if name.endswith("_tokens_details") else value
        for name, value in usage.items()
        if name not in COUNTS and value is not None
    }
    if token_count(details.get("total_tokens")) in (None, total):
        details.pop("total_tokens", None)
    return {name: value for name, value in details.items() if value != {}} or NOTHING


def _counts(kinds: object) -> Mapping[str, int]:
    """The counts of kinds of tokens, such as cached ones and those of thoughts."""
    if not isinstance(kinds, Mapping):
        return NOTHING
    return {name: n for name, n in kinds.items() if token_count(n) is not None}
