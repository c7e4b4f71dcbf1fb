"""Statuses: what an upstream's HTTP status means to us."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from app.gateway.errors import (
    BadReply,
    CallerFault,
    Refused,
    Rejected,
    UpstreamError,
)

# Seconds. An upstream that asks for more is asked again all the same.
LONGEST_REST = 60.0
LONGEST_DATE = 60  # characters; twice what any form of a date has

# RFC 9110 has whole seconds only, but servers send decimals.
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?")

_REFUSED = {
    401: "upstream_auth",
    402: "quota",
    403: "upstream_auth",
    429: "rate_limited",
}


def require_ok(
    status: int, headers: Mapping[str, str], now: datetime | None = None
) -> None:
    """Return if the status is 200; else raise what it means.

    The names of `headers` are in lower case. `now` is an argument for tests.
    """
    if status != 200:
        raise meaning(status, headers, now)


def meaning(
    status: int, headers: Mapping[str, str], now: datetime | None = None
) -> UpstreamError:
    """What a status other than 200 means by itself; the arguments as above."""
    error = _kind(status)
    wish = headers.get("x-should-retry", "").strip().lower()
    error.status, error.may_repeat = status, wish != "false"
    if type(error) is Refused:
        error.retry_after = _rest(headers, now or datetime.now(UTC))
    return error


def _kind(status: int) -> UpstreamError:
    if status in _REFUSED or status >= 500:
        return Refused(_REFUSED.get(status, "http_5xx"))
    if status == 400:
        return CallerFault("upstream_rejected")
    if status in (413, 422):  # its own limits, or about what we add to the request
        return Rejected("upstream_rejected")
    return BadReply("redirect" if 300 <= status < 400 else "bad_status")


def _rest(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to rest; clients of OpenAI read the header in milliseconds first."""
    if _SECONDS.fullmatch(exact := headers.get("retry-after-ms", "").strip()):
        return min(float(exact) / 1000, LONGEST_REST)
    return parse_retry_after(headers.get("retry-after"), now)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to rest, at most LONGEST_REST; None if nothing usable is said.

    Both forms of RFC 9110, section 10.2.3 are read: seconds and a date. Raises
    nothing, whatever an upstream may have written there.
    """
    if value is None:
        return None
    if _SECONDS.fullmatch(value):
        return min(float(value), LONGEST_REST)
    until = _date(value)
    if until is None:
        return None
    return min(max(0.0, (until - now).total_seconds()), LONGEST_REST)


def _date(value: str) -> datetime | None:
    if len(value) > LONGEST_DATE:
        return None
    try:
        until = parsedate_to_datetime(value)
        # "-0000" is UTC, says RFC 5322. Zones take some dates out of all years.
        return until.replace(tzinfo=until.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError, TypeError, LookupError):
        return None
