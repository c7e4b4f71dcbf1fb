"""Blame: whether a failed call says that its upstream is unwell.

A circuit keeps everybody away, so it may count nothing that follows from what one
caller asked: a request that cannot be served, an answer that is empty because the
request wanted it so, a limit of ours. One table says it for every fault.
"""

from collections.abc import Mapping
from enum import Enum

from app.gateway.errors import UpstreamError
from app.gateway.guard.circuit import SURE, UNSURE


class Blame(Enum):
    """What a fault says of the upstream."""

    SERVER = "server"  # the server is unwell, whatever was asked
    UNSURE = "unsure"  # a time limit was met: a frozen server, or a long request
    REQUEST = "request"  # it follows from the request, or from a limit of ours
    NOBODY = "nobody"  # the upstream was not asked, or shows that it is alive


_BY_BLAME: Mapping[Blame, tuple[str, ...]] = {
    Blame.SERVER: (
        "bad_content_type",
        "bad_encoding",
        "bad_json",
        "connect_refused",
        "connect_timeout",
        "dns",
        "empty_body",
        "http_5xx",
        "internal",
        "protocol",
        "redirect",
        "reset",
        "schema",
        "silent",
        "tls_expired",
        "tls_timeout",
        "tls_verify",
        "truncated",
        "upstream_error",
    ),
    Blame.UNSURE: (
        "deadline",
        "first_token",
        "late_beginning",
        "over",
        "read_timeout",
        "stream_idle",
        "write_timeout",
    ),
    Blame.REQUEST: (
        "bad_status",
        "bad_tool_call",
        "content_filter",
        "context_length",
        "diverged",
        "empty",
        "stream_limit",
        "too_large",
        "unknown_model",
        "unsupported",
        "upstream_rejected",
    ),
    Blame.NOBODY: (
        "circuit_open",
        "no_slot",
        "no_socket",
        "quota",
        "rate_limited",
        "resting",
        "unhealthy",
        "upstream_auth",
    ),
}

BLAME: Mapping[str, Blame] = {
    fault: blame for blame, faults in _BY_BLAME.items() for fault in faults
}

# A time limit that the upstream has of its own; the others are the caller's share of
# time, which may be short.
OWN_LIMITS = frozenset({"first_token", "stream_idle"})
# Being too slow for a caller in a hurry is not held against an upstream that had
# less than this share of its own time: or one caller could switch it off for all.
FAIR_SHARE = 0.5


def blame(error: BaseException | None) -> Blame:
    """Say what an error tells of the upstream that it came from."""
    if not isinstance(error, UpstreamError):
        return Blame.NOBODY
    return BLAME.get(error.fault, Blame.REQUEST)


def weight_of(error: BaseException | None, took: float, timeout: float) -> int | None:
    """How much a failure counts after so many seconds; None: it teaches nothing.

    `timeout` is the upstream's own, in seconds.
    """
    found = blame(error)
    if found is Blame.SERVER:
        return SURE
    if found is not Blame.UNSURE or not isinstance(error, UpstreamError):
        return None
    is_fair = error.fault in OWN_LIMITS or took >= FAIR_SHARE * timeout
    return UNSURE if is_fair else None
