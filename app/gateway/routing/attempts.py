"""Attempts: one upstream's part in a request, as the record tells it."""

from app.gateway.chat import Attempt
from app.gateway.errors import GatewayError, UpstreamError
from app.gateway.tracing import ended_attempt


def fault_of(error: BaseException) -> str:
    """The fault class of whatever ended an attempt."""
    if isinstance(error, UpstreamError):
        return error.fault
    return error.code if isinstance(error, GatewayError) else "internal_error"


def failed_attempt(upstream: str, error: BaseException, took: float) -> Attempt:
    """Make the entry of an attempt that failed after `took` seconds."""
    span = ended_attempt()
    if isinstance(error, UpstreamError):
        return Attempt(upstream, error.fault, took, error.received, error.status, span)
    return Attempt(upstream, fault_of(error), took, span=span)
