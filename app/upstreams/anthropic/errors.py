"""What a server of Anthropic's wire means by its errors.

Each has a type, which tells what it is wherever it stands: in the answer of a status,
in the midst of a stream, or in a 200. Wordings are read as those of OpenAI's servers
are, since the servers that speak both wires are the same.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from app.gateway.errors import CallerFault, ContentFiltered, Rejected, UpstreamError
from app.upstreams.http.statuses import LONGEST_REST
from app.upstreams.openai.errors import meanings
from app.upstreams.openai.errors.reading import Echo, parsed

# The status that goes with each type.
STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
# What the limits of a rate are told for, each with its own headers.
LIMITED = ("requests", "tokens", "input-tokens", "output-tokens")
MAX_DATE = 40  # characters


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, echo: Echo
) -> UpstreamError:
    """What an answer of status 400 or above means. `body` may be cut.

    What is rejected for another reason than its content may be the doing of our
    translation, so another upstream may take it.
    """
    named = _status_of(parsed(body))
    # A proxy's status may be its own; of a 429 and below the type knows better.
    meant = named if named is not None and status >= 500 else status
    error = meanings.refusal(meant, headers, body, echo)
    if isinstance(error, CallerFault) and not isinstance(error, ContentFiltered):
        rejected = Rejected(error.fault)
        rejected.may_repeat = error.may_repeat
        error = rejected
    error.status = status
    if meant == 429 and error.retry_after is None:
        error.retry_after = _rest(headers)
    return error


def is_failure(value: object) -> bool:
    """Whether what came in place of an answer, or in a stream, is an error."""
    if not isinstance(value, Mapping):
        return False
    return value.get("type") == "error" or bool(value.get("error"))


def failure(value: object, status: int, echo: Echo) -> UpstreamError:
    """What an error means that came in a 200; `value` is a JSON value or a text."""
    meant = _status_of(value)
    if meant is None:
        return meanings.failure(value, status, echo)
    error = refusal(meant, {}, json.dumps(value).encode(), echo)
    error.status = status
    return error


def _status_of(value: Any) -> int | None:
    """The status that the type of an error stands for; None for none."""
    error = value.get("error") if isinstance(value, Mapping) else None
    kind = error.get("type") if isinstance(error, Mapping) else None
    return STATUSES.get(kind) if isinstance(kind, str) else None


def _rest(headers: Mapping[str, str]) -> float | None:
    """Seconds until every limit that is used up is full again."""
    return max(_rests(headers, datetime.now(UTC)), default=None)


def _rests(headers: Mapping[str, str], now: datetime) -> Iterator[float]:
    for limited in LIMITED:
        name = f"anthropic-ratelimit-{limited}"
        at = headers.get(f"{name}-reset", "").strip()
        if headers.get(f"{name}-remaining", "").strip() != "0" or len(at) > MAX_DATE:
            continue
        try:
            until = datetime.fromisoformat(at)
            seconds = (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds()
        except (ValueError, OverflowError):
            continue
        yield min(max(0.0, seconds), LONGEST_REST)
