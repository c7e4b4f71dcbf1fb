"""Metered: a handler that reports each chat to an observer once, when it is over.

The outermost handler behind admission, around the audit, so that what is counted is
what the caller got: a reply whose record could not be committed is not an answer
(docs/decisions/0009).
"""

import logging
from collections.abc import Callable, Iterable
from time import monotonic
from typing import NamedTuple, Protocol

from app.gateway import error_categories as error_types
from app.gateway import tracing
from app.gateway.budget import Budget, Clock
from app.gateway.chain.admission import RecordedChat
from app.gateway.chat import ChatReply, ChatRequest
from app.gateway.errors import CallerGone, GatewayError, Overloaded
from app.gateway.handler import Outcome, ReplyStream

log = logging.getLogger(__name__)

REFUSED = "refused"  # never worked on; the other outcomes are those of `Outcome`


class Ending(NamedTuple):
    """All that is measured of a chat that is over; times are in seconds.

    `outcome` is what the caller got. `error_type` is "" for an answer, `refusal` why
    admission refused. `duration` counts from when the front door took the request,
    `first_delta` too; that is None where no reply began. `overhead` is the gateway's
    own part behind admission, without the upstreams'. `overshoot` is how far the
    deadline was missed; negative if it was kept. A stream must begin by it, and end by
    its own.
    """

    request: ChatRequest
    reply: ChatReply
    outcome: str
    error_type: str
    duration: float
    queued: float
    overhead: float
    overshoot: float
    first_delta: float | None = None
    refusal: str = ""
    trace: tracing.Trace | None = None


class Observer(Protocol):
    """The port that measures chats. Threads call it at once; it must be quick."""

    def ended(self, ending: Ending) -> None:
        """A chat that was taken on is over."""
        ...

    def refused(self, request: ChatRequest, error_type: str) -> None:
        """A door turned a known caller's request away."""
        ...


class Metered:
    """A handler that reports each chat to its observer. Threads may share it.

    An observer that breaks is logged and harms no answer (docs/faults.md, row 71).
    """

    def __init__(
        self,
        inner: RecordedChat,
        observers: Iterable[Observer],
        clock: Clock = monotonic,
    ) -> None:
        self._inner = inner
        self._observers = tuple(observers)
        self._clock = clock

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Ask, and tell the observers when the reply is over."""
        opened = self._clock()
        try:
            stream = self._inner.open(request, budget)
        except Exception as error:
            self._failed(request, budget, opened, error)
            raise
        begun = self._clock()
        stream.on_end(lambda s: self._ended(request, budget, (opened, begun), s))
        return stream

    def refuse(self, request: ChatRequest, code: str, status: int) -> None:
        """See RecordedChat."""
        self._inner.refuse(request, code, status)
        error_type = error_types.of_refusal(code, status)
        self._tell(lambda observer: observer.refused(request, error_type))

    def turn_away(self, request: ChatRequest, budget: Budget, error: Exception) -> None:
        """See RecordedChat."""
        self._inner.turn_away(request, budget, error)
        self._failed(request, budget, self._clock(), error)

    def _failed(
        self, request: ChatRequest, budget: Budget, opened: float, error: Exception
    ) -> None:
        attempts = error.attempts if isinstance(error, GatewayError) else ()
        reply = ChatReply(text="", upstream="", model="", attempts=attempts)
        now = self._clock()
        is_refusal = isinstance(error, Overloaded)
        ending = Ending(
            request,
            reply,
            outcome=REFUSED if is_refusal else _outcome(error).value,
            error_type=error_types.of_error(error),
            duration=now - budget.since,
            queued=now - budget.since if is_refusal else 0.0,
            overhead=0.0 if is_refusal else _overhead(reply, now - opened),
            overshoot=now - budget.deadline,
            refusal=str(error) if is_refusal else "",
            trace=tracing.current.get(),
        )
        self._tell(lambda observer: observer.ended(ending))

    def _ended(
        self,
        request: ChatRequest,
        budget: Budget,
        times: tuple[float, float],
        stream: ReplyStream,
    ) -> None:
        (opened, begun), now = times, self._clock()
        reply, error = stream.reply, stream.veto or stream.error
        outcome = stream.outcome or Outcome.CANCELLED
        if stream.veto is not None:
            outcome = Outcome.FAILED
        ending = Ending(
            request,
            reply,
            outcome=outcome.value,
            error_type=_error_type(outcome, error),
            duration=now - budget.since,
            queued=opened - budget.since,
            overhead=_overhead(reply, now - opened),
            overshoot=max(begun - budget.deadline, now - budget.stream_deadline),
            first_delta=begun - budget.since,
            trace=tracing.current.get(),
        )
        self._tell(lambda observer: observer.ended(ending))

    def _tell(self, tell: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            try:
                tell(observer)
            except Exception:
                log.exception("An observer of chats broke")


def _outcome(error: Exception) -> Outcome:
    return Outcome.CANCELLED if isinstance(error, CallerGone) else Outcome.FAILED


def _error_type(outcome: Outcome, error: BaseException | None) -> str:
    if error is not None:
        return error_types.of_error(error)
    return "" if outcome is Outcome.COMPLETED else error_types.of_error(CallerGone())


def _overhead(reply: ChatReply, seconds: float) -> float:
    asked = 0.0
    for attempt in reply.attempts:
        asked += attempt.duration
    return max(0.0, seconds - asked)
