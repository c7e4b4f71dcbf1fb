"""Pursuit: one request on its way through its upstreams, in their order."""

import logging
from collections.abc import Sequence
from time import monotonic, sleep
from typing import Any, Protocol

from app.gateway.attempts import failed_attempt, fault_of
from app.gateway.budget import Budget, Clock
from app.gateway.chat import Attempt, ChatReply, ChatRequest
from app.gateway.errors import (
    CallerGone,
    ConnectFailed,
    GatewayError,
    NeverSent,
    NoAnswer,
    NobodyAnswered,
    Unfit,
    may_fail_over,
)
from app.gateway.handler import ChatHandler, Outcome, ReplyStream
from app.gateway.retries import (
    MOST_TRIES,
    TIME_TO_ANSWER,
    Wait,
    pause_before_next,
)
from app.gateway.tracing import ended_attempt

log = logging.getLogger(__name__)

RETRY_AFTER = 1.0  # seconds; a dead upstream is asked for its health that often

# Of the upstreams behind, so many have time kept for them: were it all of a hundred,
# the first would have none.
KEPT_FOR = 2


def share(timeout: float, behind: Sequence[float], remaining: float) -> float:
    """Seconds for an upstream, less what is kept for the timeouts of those behind."""
    fair = remaining * len(behind) / (len(behind) + 1)
    return min(timeout, remaining - min(sum(behind), fair))


def least_shares(timeouts: Sequence[float], deadline: float) -> list[float]:
    """What each upstream gets if all before it use theirs up."""
    shares: list[float] = []
    for number, timeout in enumerate(timeouts, 1):
        behind = timeouts[number:][:KEPT_FOR]
        shares.append(share(timeout, behind, deadline - sum(shares)))
    return shares


class Upstream(ChatHandler, Protocol):
    """A handler with a name and a limit of its own, in seconds."""

    @property
    def name(self) -> str: ...
    @property
    def timeout(self) -> float: ...


class Pursuit:
    """Asks one upstream after the other and keeps the list of attempts.

    Each attempt gets its own limit, or what remains less the share that is kept for
    the upstreams behind it, so that no upstream can starve the next. With
    `lets_go`, an upstream whose reply has begun may use up that share as well:
    nobody behind it is likely to be needed. At most MOST_TRIES upstreams get to see
    the request; where MOST_AT_ONCE have seen it within AT_ONCE seconds, the next one
    is asked once that time is over, if that leaves it time to answer. Those passed
    over do not count. It belongs to one thread.
    """

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        request: ChatRequest,
        budget: Budget,
        *,
        lets_go: bool = False,
        clock: Clock = monotonic,
        wait: Wait = sleep,
    ) -> None:
        self._upstreams = upstreams
        self._request = request
        self._budget = budget
        self._lets_go = lets_go
        self._clock = clock
        self._wait = wait
        self._asked = 0  # upstreams, those passed over included
        self._started = 0.0
        self._errors: list[GatewayError] = []
        self.attempts: list[Attempt] = []
        self.degraded_by: str | None = None

    def next(self) -> ReplyStream:
        """Return the next reply that begins.

        Raises NobodyAnswered when all failed, and an upstream's own error when it
        forbids asking another. Either carries the attempts made.
        """
        while self._may_try() and self._has_waited():
            upstream = self._upstreams[self._asked]
            try:
                return self._ask(upstream)
            except GatewayError as error:
                self._failed(upstream.name, error)
        raise self._telling(self._nobody())

    def renew(self) -> None:
        """Give those who come next the whole time again: a stream has broken."""
        self._budget = self._budget.renewed()

    def over(self, stream: ReplyStream, fault: str | None = None) -> None:
        """Note how the reply that began last has ended.

        `fault` says it where the stream itself does not know what was wrong.
        """
        took = self._clock() - self._started
        name = self._upstreams[self._asked - 1].name
        if stream.error is not None:
            fault = fault_of(stream.error)
        elif stream.outcome is Outcome.CANCELLED:
            fault = fault or CallerGone.code
        span = ended_attempt()
        last = Attempt(name, fault, took, stream.received, stream.status, span)
        self.attempts.extend(stream.reply.attempts or (last,))
        self.degraded_by = self.degraded_by or fault

    def facts(self, reply: ChatReply) -> dict[str, Any]:
        """What there is to say of the answer: its own facts and the way to it."""
        return {
            "upstream": reply.upstream,
            "model": reply.model,
            "usage": reply.usage,
            "finish_reason": reply.finish_reason,
            "choices": reply.choices,
            "degraded_by": self.degraded_by or reply.degraded_by,
            "attempts": tuple(self.attempts),
        }

    def _may_try(self) -> bool:
        is_left = self._asked < len(self._upstreams)
        return is_left and len(self._budget.tries.at) < MOST_TRIES

    def _has_waited(self) -> bool:
        """Wait until another may be asked; False if there is no time for that."""
        pause = pause_before_next(self._budget.tries, self._clock())
        if pause <= 0:
            return True
        if pause + TIME_TO_ANSWER > self._budget.remaining():
            return False
        try:
            self._budget.rest(pause, self._wait)
        except GatewayError as error:
            raise self._telling(error) from None
        return True

    def _ask(self, upstream: Upstream) -> ReplyStream:
        behind = self._upstreams[self._asked + 1 :][:KEPT_FOR]
        share = self._share(upstream, behind)
        self._asked += 1
        self._started = self._clock()
        tries = self._budget.tries
        tries.has_next = bool(behind)
        tries.at.append(self._started)
        if not (self._lets_go and behind):
            return upstream.open(self._request, self._budget.within(share))
        beginning = _Beginning(self._started + share, self._clock)
        limit = self._budget.within(upstream.timeout, beginning)
        stream = upstream.open(self._request, limit)
        beginning.is_here = True
        return stream

    def _share(self, upstream: Upstream, behind: Sequence[Upstream]) -> float:
        """Seconds until the next upstream's turn."""
        timeouts = [one.timeout for one in behind]
        return share(upstream.timeout, timeouts, self._budget.remaining())

    def _failed(self, name: str, error: GatewayError) -> None:
        """Note a failure to begin; raise it if nobody else may be asked."""
        took = self._clock() - self._started
        self.attempts.extend(error.attempts or (failed_attempt(name, error, took),))
        if isinstance(error, NeverSent | ConnectFailed):
            self._budget.tries.at.pop()
        if not may_fail_over(error):
            raise self._telling(error)
        self.degraded_by = self.degraded_by or fault_of(error)
        self._errors.append(error)
        self._log(name, error)

    def _nobody(self) -> GatewayError:
        """What to raise when nobody answered: their own word, if all say the same."""
        errors = self._errors
        if errors and all(isinstance(error, Unfit) for error in errors):
            return errors[-1]
        waits = [error.retry_after or RETRY_AFTER for error in errors]
        return NobodyAnswered(retry_after=min(waits, default=RETRY_AFTER))

    def _telling(self, error: GatewayError) -> GatewayError:
        error.attempts = tuple(self.attempts)
        return error

    def _log(self, name: str, error: GatewayError) -> None:
        """The two lines that the seed promises to operators."""
        if not self._may_try():
            return
        name, spare = name.capitalize(), self._upstreams[self._asked].name
        if isinstance(error, NeverSent):
            log.warning("%s unavailable, using %s fallback", name, spare)
        else:
            log.warning("%s failed, fallback to %s: %s", name, spare, error)


class _Beginning:
    """A check that ends an attempt which has not begun when it should have."""

    def __init__(self, due: float, clock: Clock) -> None:
        self._due = due
        self._clock = clock
        self.is_here = False

    def __call__(self) -> None:
        if not self.is_here and self._clock() >= self._due:
            raise NoAnswer("late_beginning")
