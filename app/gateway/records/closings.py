"""Closings: how a chat ended, as its record has it, without anything that was said."""

from app.gateway.errors import CallerGone, GatewayError, Overloaded, consequence
from app.gateway.handler import Outcome, ReplyStream
from app.gateway.records.audit import Closing


def of_reply(stream: ReplyStream, duration: float, closed_at: float) -> Closing:
    """The ending of a chat whose reply has begun and is over."""
    outcome, error = stream.outcome or Outcome.CANCELLED, stream.error
    return Closing(
        outcome=outcome.value,
        code=_code(error or _gone(stream)),
        status=200 if outcome is Outcome.COMPLETED else _status(error),
        duration=duration,
        closed_at=closed_at,
    )


def of_error(error: Exception, duration: float, closed_at: float) -> Closing:
    """The ending of a chat whose reply never began."""
    return Closing(
        outcome=_outcome(error),
        code=_code(error),
        status=_status(error),
        duration=duration,
        closed_at=closed_at,
    )


def _outcome(error: Exception) -> str:
    if isinstance(error, CallerGone):
        return Outcome.CANCELLED.value
    return "refused" if isinstance(error, Overloaded) else Outcome.FAILED.value


def _code(error: BaseException | None) -> str | None:
    if error is None:
        return None
    return error.code if isinstance(error, GatewayError) else GatewayError.code


def _gone(stream: ReplyStream) -> CallerGone | None:
    """Who closes a reply before its end, and gives no reason, does not want it."""
    is_gone = stream.outcome is Outcome.CANCELLED or stream.was_left
    return CallerGone() if is_gone else None


def _status(error: BaseException | None) -> int:
    if isinstance(error, GatewayError):
        return consequence(error).status
    return 499 if error is None else 500
