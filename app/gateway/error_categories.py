"""Error categories: the closed list of words that metrics and traces have for errors.

What metrics, alerts and traces call a failure. `caller_*` is the caller's doing,
`policy_*` a rule of ours that held, `upstream_*` an upstream's failure, `gateway_*`
ours. `_OTHER` is a failure that nobody has thought of: an alarm.
"""

from collections.abc import Mapping

from app.gateway.errors import (
    AnswerNotKept,
    AuditUnavailable,
    CallerFault,
    CallerGone,
    ContentFiltered,
    GatewayError,
    KeyInFlight,
    KeyMalformed,
    KeyReused,
    NobodyAnswered,
    NotCached,
    Overloaded,
    Rejected,
    ShuttingDown,
    StreamLimit,
    Unfit,
    Unsupported,
    UpstreamError,
)

OTHER = "_OTHER"
NEVER_SENT = "upstream_passed_over"
AUDIT_UNAVAILABLE = "gateway_audit_unavailable"
INVALID, INTERNAL = "caller_invalid", "gateway_internal"

# Every fault that an UpstreamError may carry; tests/gateway/test_error_categories.py
# finds one that is missing here.
FAULTS: Mapping[str, str] = {
    "unhealthy": NEVER_SENT,
    "resting": NEVER_SENT,
    "circuit_open": NEVER_SENT,
    "no_slot": NEVER_SENT,
    "no_socket": "gateway_no_socket",
    "connect_refused": "upstream_connect",
    "connect_timeout": "upstream_connect",
    "dns": "upstream_connect",
    "reset": "upstream_connect",
    "tls_expired": "upstream_connect",
    "tls_timeout": "upstream_connect",
    "tls_verify": "upstream_connect",
    "deadline": "upstream_timeout",
    "first_token": "upstream_timeout",
    "late_beginning": "upstream_timeout",
    "over": "upstream_timeout",
    "read_timeout": "upstream_timeout",
    "silent": "upstream_timeout",
    "stream_idle": "upstream_timeout",
    "write_timeout": "upstream_timeout",
    "bad_content_type": "upstream_bad_reply",
    "bad_encoding": "upstream_bad_reply",
    "bad_json": "upstream_bad_reply",
    "bad_status": "upstream_bad_reply",
    "bad_tool_call": "upstream_bad_reply",
    "diverged": "upstream_bad_reply",
    "empty": "upstream_bad_reply",
    "empty_body": "upstream_bad_reply",
    "protocol": "upstream_bad_reply",
    "redirect": "upstream_bad_reply",
    "schema": "upstream_bad_reply",
    "too_large": "upstream_bad_reply",
    "truncated": "upstream_bad_reply",
    "upstream_error": "upstream_bad_reply",
    "internal": "gateway_internal",
    "stream_limit": "policy_stream_limit",
    "http_5xx": "upstream_refused",
    "rate_limited": "upstream_rate_limited",
    "quota": "upstream_quota",
    "upstream_auth": "upstream_auth",
    "upstream_rejected": "upstream_rejected",
    "content_filter": "policy_content_filter",
    "context_length": "caller_unsupported",
    "unknown_model": "caller_unsupported",
    "unsupported": "caller_unsupported",
}

# Of what is not one upstream's failure, by the most specific class; faults say more
# than the class UpstreamError, but not more than these below it.
CLASSES: Mapping[type[BaseException], str] = {
    ContentFiltered: "policy_content_filter",
    CallerFault: "upstream_rejected",
    Rejected: "upstream_rejected",
    Unfit: "caller_unsupported",
    Unsupported: "caller_unsupported",
    CallerGone: "caller_gone",
    NobodyAnswered: "upstream_nobody_answered",
    Overloaded: "policy_overloaded",
    ShuttingDown: "gateway_shutting_down",
    StreamLimit: "policy_stream_limit",
    NotCached: "caller_not_cached",
    KeyMalformed: INVALID,
    KeyInFlight: "caller_key",
    KeyReused: "caller_key",
    AnswerNotKept: "caller_key",
    AuditUnavailable: AUDIT_UNAVAILABLE,
}

# What a door says when it turns a known caller away; who shows no valid token is
# counted apart, as a failed login. Other codes go by their status.
CODES: Mapping[str, str] = {
    "forbidden": "caller_forbidden",
    "rate_limited": "policy_rate_limited",
    "too_many_failed_auth": "policy_rate_limited",
    "shutting_down": "gateway_shutting_down",
    "audit_unavailable": AUDIT_UNAVAILABLE,
}
ERROR_TYPES = frozenset(
    {*FAULTS.values(), *CLASSES.values(), *CODES.values(), INVALID, INTERNAL, OTHER}
)


def of_error(error: BaseException) -> str:
    """The type of whatever ended a request."""
    for kind in type(error).__mro__:
        if kind in CLASSES:
            return CLASSES[kind]
    if isinstance(error, UpstreamError):
        return of_fault(error.fault)
    return OTHER if isinstance(error, GatewayError) else INTERNAL


def of_fault(fault: str) -> str:
    """The type of an attempt's fault, which may also be the code of an error."""
    return FAULTS.get(fault) or _BY_CODE.get(fault, OTHER)


def is_known(fault: str) -> bool:
    """Whether a fault is on the list, so that it may be a label."""
    return fault in FAULTS or fault in _BY_CODE


def of_refusal(code: str, status: int) -> str:
    """The type of a refusal at a door."""
    return CODES.get(code) or (INVALID if status < 500 else INTERNAL)


# An attempt that was ended by something else than its upstream has that one's code.
_BY_CODE = {
    **{getattr(kind, "code", ""): word for kind, word in CLASSES.items()},
    GatewayError.code: INTERNAL,
}
