"""Admission: a chat is worked on only while it holds a slot.

What a gateway takes on beyond what it can finish is finished for nobody, so the
rest is refused at once. Health, metrics and status do not pass through here: they
are never shed.
"""

from collections.abc import Callable
from time import monotonic

from app.gateway.budget import SLICE, Budget, Clock
from app.gateway.chat import ChatRequest
from app.gateway.gate import Gate, Shed, State, Ticket
from app.gateway.handler import ChatHandler, ReplyStream


class Admitted:
    """A handler that asks the one inside it only while it holds a slot.

    The slot covers all attempts and is given back at the reply's ending. Waiting
    ends with the longest wait, which counts from when the front door took the
    request, with the deadline, and with what the budget's checks raise. `is_short`
    tells of a process that is short of memory: it takes on nothing more. Threads
    may share it.
    """

    def __init__(
        self,
        inner: ChatHandler,
        gate: Gate,
        *,
        is_short: Callable[[], bool] = lambda: False,
        clock: Clock = monotonic,
    ) -> None:
        self._inner = inner
        self._gate = gate
        self._is_short = is_short
        self._clock = clock

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Ask once there is a slot; raises Overloaded if there is none in time."""
        if budget.remaining() <= 0:
            raise self._gate.refusal(Shed.LATE)
        if self._is_short():
            raise self._gate.refusal(Shed.MEMORY)
        ticket = self._gate.enter(request.priority, request.stream)
        try:
            queued = self._wait(ticket, budget)
            stream = self._inner.open(request, budget)
        except BaseException:
            self._gate.leave(ticket)
            raise
        if queued:
            stream.annotate(queue_seconds=queued)
        stream.on_end(lambda _: self._gate.leave(ticket))
        return stream

    def _wait(self, ticket: Ticket, budget: Budget) -> float:
        """Return the seconds waited once the ticket is served."""
        if ticket.called is None:
            return 0.0
        limit = min(budget.since + self._gate.limits.wait, budget.deadline)
        while not ticket.called.wait(self._slice(limit)) and self._clock() < limit:
            budget.check()
        # A call that came in the very last moment is taken all the same.
        if ticket.state is not State.SERVED:
            is_evicted = ticket.state is State.EVICTED
            raise self._gate.refusal(Shed.EVICTED if is_evicted else Shed.WAITED)
        return self._clock() - ticket.arrived

    def _slice(self, limit: float) -> float:
        return max(0.0, min(SLICE, limit - self._clock()))
