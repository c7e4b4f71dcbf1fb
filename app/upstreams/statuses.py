"""Statuses: what an upstream's HTTP status means to us (design, section 4)."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from app.gateway.errors import BadReply, CallerFault, Refused, UpstreamError

# Seconds. An upstream that asks for more is asked again all the same (design, 4).
LONGEST_REST = 60.0


def require_ok(
    status: int, retry_after: str | None, now: datetime | None = None
) -> None:
    """Return if the status is 200; else raise what it means.

    `retry_after` is the header of that name. `now` is an argument for tests.
    """
    if status != 200:
        raise _meaning(status, retry_after, now or datetime.now(UTC))


def _meaning(status: int, retry_after: str | None, now: datetime) -> UpstreamError:
    if status == 429:
        rest = parse_retry_after(retry_after, now)
        return Refused("rate_limited", status=status, retry_after=rest)
    if status >= 500:
        return Refused("http_5xx", status=status)
    if status in (401, 403):
        return Refused("upstream_auth", status=status)
    if status in (400, 413, 422):
        return CallerFault("upstream_rejected", status=status)
    if 300 <= status < 400:
        return BadReply("redirect", status=status)
    return BadReply("bad_status", status=status)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to rest, at most LONGEST_REST; None if nothing usable is said.

    Both forms of RFC 9110, section 10.2.3 are read: seconds and a date.
    """
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_REST)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:  # "-0000": UTC, says RFC 5322
        until = until.replace(tzinfo=UTC)
    return min(max(0.0, (until - now).total_seconds()), LONGEST_REST)
