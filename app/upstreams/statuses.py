"""Statuses: what an upstream's HTTP status means to us."""

import re
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


def require_ok(
    status: int, retry_after: str | None, now: datetime | None = None
) -> None:
    """Return if the status is 200; else raise what it means.

    `retry_after` is the header of that name. `now` is an argument for tests.
    """
    if status != 200:
        raise _meaning(status, retry_after, now or datetime.now(UTC))


def _meaning(status: int, retry_after: str | None, now: datetime) -> UpstreamError:
    if status == 429 or status >= 500:
        fault = "rate_limited" if status == 429 else "http_5xx"
        rest = parse_retry_after(retry_after, now)
        return Refused(fault, status=status, retry_after=rest)
    if status in (401, 403):
        return Refused("upstream_auth", status=status)
    if status == 400:
        return CallerFault("upstream_rejected", status=status)
    if status in (413, 422):  # its own limits, or about what we add to the request
        return Rejected("upstream_rejected", status=status)
    if 300 <= status < 400:
        return BadReply("redirect", status=status)
    return BadReply("bad_status", status=status)


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
