"""Admission: a chat needs a slot before its body is read, and keeps it to its end.

What a gateway takes on beyond what it can finish is finished for nobody, so the
rest is refused at once, before anything of it is parsed: a megabyte may hold half a
million values. Health, metrics and status do not pass through here: they are never
shed.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from types import TracebackType
from typing import Protocol, Self

from app.gateway.budget import SLICE, Budget, Clock
from app.gateway.chain.admission_queue import (
    AdmissionQueue,
    RefusalReason,
    State,
    Ticket,
)
from app.gateway.chain.big_work import AT_ONCE, BigWork, TooLate
from app.gateway.chat import ChatRequest, ReplyFacts
from app.gateway.handler import ChatHandler, ReplyStream


class RecordedChat(ChatHandler, Protocol):
    """A handler that also records chats which admission refused."""

    def refuse(self, request: ChatRequest, code: str, status: int) -> None:
        """A door turned a known caller's request away."""
        ...

    def turn_away(self, request: ChatRequest, budget: Budget, error: Exception) -> None:
        """A request got no slot; `error` is what its caller is told."""
        ...


class Admission:
    """A handler in front of another: each chat holds a slot while it is worked on.

    A slot covers the reading of the request and all attempts, and is given back at the
    reply's ending. Waiting for one ends with the longest wait, which counts from when
    the front door took the request, with the deadline, and with what the budget's
    checks raise. `is_short` tells of a process that is short of memory: it takes on
    nothing more. `big_work` is for reading what is big. `is_disk_slow` tells that
    records are waited for longer than they should be: a slot is then kept until the
    record is committed, so that no more threads wait for the disk than there are
    slots. Threads may share it.
    """

    def __init__(
        self,
        inner: RecordedChat,
        gate: AdmissionQueue,
        *,
        is_short: Callable[[], bool] = lambda: False,
        big_work: BigWork | None = None,
        is_disk_slow: Callable[[], bool] = lambda: False,
        clock: Clock = monotonic,
    ) -> None:
        self._inner = inner
        self._gate = gate
        self._is_short = is_short
        self._big_work = big_work or BigWork()
        self._is_disk_slow = is_disk_slow
        self._clock = clock

    def enter(self, known: ChatRequest, budget: Budget) -> "Place":
        """Return a slot to read a request in; raises Overloaded if there is none.

        `known` is what its headers tell of the request. The caller of this must close
        the place, or leave that to the reply that is opened in it.
        """
        try:
            if budget.remaining() <= 0:
                raise self._gate.refusal(RefusalReason.LATE)
            if self._is_short():
                raise self._gate.refusal(RefusalReason.MEMORY)
            ticket = self._gate.enter(known.priority, known.caller)
            queued = 0.0 if ticket.called is None else self._wait(ticket, budget)
        except Exception as error:
            self._inner.turn_away(known, budget, error)
            raise
        return Place(self, ticket, queued)

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Ask for what was read already; raises Overloaded if there is no slot."""
        with self.enter(request, budget) as place:
            return place.open(request, budget)

    def open_in(
        self, ticket: Ticket, request: ChatRequest, budget: Budget
    ) -> ReplyStream:
        """Ask with a slot in hand. For a Place only."""
        if request.stream:
            try:
                self._gate.make_stream(ticket)
            except Exception as error:
                self._inner.turn_away(request, budget, error)
                raise
        return self._inner.open(request, budget)

    def turn(self, size: int, budget: Budget) -> AbstractContextManager[None]:
        """See Place. For that only."""
        turn = self._big_work.take(size, budget.remaining())
        return turn if turn is AT_ONCE else self._in_time(turn)

    @contextmanager
    def _in_time(self, turn: AbstractContextManager[None]) -> Iterator[None]:
        try:
            with turn:
                yield
        except TooLate:
            raise self._gate.refusal(RefusalReason.LATE) from None

    def leave(self, ticket: Ticket) -> None:
        """Give a slot back. For a Place only."""
        self._gate.leave(ticket)

    def leave_at_end(self, ticket: Ticket, stream: ReplyStream) -> None:
        """Give back the slot of a reply that is over. For a Place only.

        The commit of the record is the disk's work and needs no slot, unless so many
        wait for the disk that there would be no thread left for anything else.
        """
        if self._is_disk_slow():
            stream.on_settled(lambda _: self._gate.leave(ticket))
        else:
            self._gate.leave(ticket)

    def refuse(self, request: ChatRequest, code: str, status: int) -> None:
        """See RecordedChat."""
        self._inner.refuse(request, code, status)

    def _wait(self, ticket: Ticket, budget: Budget) -> float:
        """Return the seconds waited once the ticket is served; else give it back."""
        try:
            return self._waited(ticket, budget)
        except BaseException:
            self._gate.leave(ticket)
            raise

    def _waited(self, ticket: Ticket, budget: Budget) -> float:
        if ticket.called is None:
            return 0.0
        limit = min(budget.since + self._gate.limits.wait, budget.deadline)
        while not ticket.called.wait(self._slice(limit)) and self._clock() < limit:
            budget.check()
        # A call that came in the very last moment is taken all the same.
        if ticket.state is not State.SERVED:
            is_evicted = ticket.state is State.EVICTED
            raise self._gate.refusal(
                RefusalReason.EVICTED if is_evicted else RefusalReason.WAITED
            )
        return self._clock() - ticket.arrived

    def _slice(self, limit: float) -> float:
        return max(0.0, min(SLICE, limit - self._clock()))


class Place:
    """A slot that one request holds. A context manager that belongs to one thread.

    A reply that is opened in it takes the slot over and gives it back at its ending.
    """

    def __init__(self, admission: Admission, ticket: Ticket, queued: float) -> None:
        self._admission = admission
        self._ticket = ticket
        self._queued = queued
        self._is_taken_over = False

    def reading(self, size: int, budget: Budget) -> AbstractContextManager[None]:
        """A turn for reading so many bytes; Overloaded if there is none in time."""
        return self._admission.turn(size, budget)

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Ask, once; raises Overloaded for a stream too many."""
        stream = self._admission.open_in(self._ticket, request, budget)
        if self._queued:
            stream.learn(ReplyFacts(queue_seconds=self._queued))
        if stream.is_repeated:
            return stream  # nobody works on it, so the slot goes back at once
        admission, ticket = self._admission, self._ticket
        stream.on_end(lambda over: admission.leave_at_end(ticket, over), first=True)
        self._is_taken_over = True
        return stream

    def close(self) -> None:
        """Give the slot back, unless a reply has taken it over."""
        if not self._is_taken_over:
            self._admission.leave(self._ticket)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
