"""Words: how faults and codes are put for people who read a report."""

from collections.abc import Mapping

# What an upstream did, for each fault that an attempt may have.
FAULTS: Mapping[str, str] = {
    "unhealthy": "is known to be down",
    "resting": "asked for a rest",
    "circuit_open": "is left alone for a while",
    "no_slot": "has all its places taken",
    "dns": "has a name that nobody knows",
    "connect_refused": "refused the connection",
    "connect_timeout": "could not be connected to in time",
    "tls_verify": "could not prove who it is",
    "tls_expired": "shows a certificate that has expired",
    "tls_timeout": "did not finish its TLS handshake in time",
    "no_socket": "could not be asked: no socket was free",
    "read_timeout": "did not answer in time",
    "write_timeout": "did not take the request in time",
    "first_token": "did not begin to answer in time",
    "silent": "fell silent, and so did its health check",
    "late_beginning": "began too late",
    "stream_idle": "paused too long in the middle",
    "over": "went on after its end",
    "deadline": "did not finish in time",
    "reset": "broke the connection",
    "truncated": "broke off in the middle",
    "http_5xx": "answered with an error",
    "rate_limited": "is asked too often",
    "upstream_auth": "rejects our credentials",
    "quota": "says that our quota is used up",
    "upstream_rejected": "rejects the request",
    "content_filter": "forbids it by a content policy",
    "context_length": "cannot read a conversation that long",
    "unsupported": "cannot do what was asked",
    "unknown_model": "does not know that model",
    "upstream_error": "said itself that it failed",
    "redirect": "wanted to send us elsewhere",
    "bad_status": "answered with an odd status",
    "bad_json": "sent no proper JSON",
    "bad_content_type": "sent something else than JSON",
    "bad_tool_call": "asked for a tool with half of a call",
    "bad_encoding": "sent an encoding that was not asked for",
    "empty": "answered without a word",
    "empty_body": "sent nothing",
    "schema": "sent an answer of the wrong shape",
    "protocol": "did not speak HTTP",
    "too_large": "sent too much",
    "internal": "sent what we could not handle",
    "diverged": "went on differently than it had begun",
    "stream_limit": "spoke for longer than a stream may last",
}
# Why an attempt, or a chat without one, ended by no fault of an upstream.
CODES: Mapping[str, str] = {
    "client_gone": "the caller left before the end",
    "shutting_down": "the gateway was shutting down",
    "stream_limit": "the stream lasted as long as one may",
    "internal_error": "the gateway made a mistake",
    "worker_died": "the worker that had the chat died",
    "overloaded": "the gateway had no place left",
    "audit_unavailable": "no record could be written",
    "reply_interrupted": "the answer broke off",
    "upstream_unavailable": "its time was over, which was no upstream's doing",
}


def fault_words(fault: str) -> str:
    """What an upstream did, to be put behind its name."""
    return FAULTS.get(fault, f"failed ({fault})")
