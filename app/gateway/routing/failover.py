"""Failover: asks the upstreams of one request in their order until one answers."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

from app.gateway.abilities import TOOLS
from app.gateway.budget import Budget, Clock
from app.gateway.chat import Attempt, ChatReply, ChatRequest, ReplyFacts
from app.gateway.errors import (
    CallerFault,
    CallerGone,
    ConnectFailed,
    ContextTooLong,
    GatewayError,
    NeverSent,
    NoAnswer,
    NobodyAnswered,
    Rejected,
    Unfit,
    UnknownModel,
    may_fail_over,
)
from app.gateway.handler import Outcome, ReplyStream
from app.gateway.routing.attempts import failed_attempt, fault_of
from app.gateway.routing.without_tools import WithoutTools
from app.gateway.tracing import ended_attempt
from app.gateway.turns import RETRY_AFTER, Candidate, Turn

log = logging.getLogger(__name__)

# Faults of an upstream that a circuit or a verdict kept us from asking. A rest that
# the upstream asked for is not among them, nor that it is full.
PASSED_OVER = frozenset({"unhealthy", "circuit_open"})

# What will not be over by a retry; and what a caller can act on, best first.
NOT_SOON = PASSED_OVER | {"upstream_auth", "quota", "redirect"}
MOST_USEFUL = {
    kind: place
    for place, kind in enumerate((ContextTooLong, Unfit, Rejected, UnknownModel))
}

# Time is reserved for at most this many of the upstreams that follow. Reserving for
# every one of a long list would leave the first no time.
KEPT_FOR = 2


def nobody(_: Candidate) -> bool:
    """Whether an upstream can go on with an answer, where none may."""
    return False


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


class Failover:
    """Asks one upstream after the other and keeps the list of attempts.

    Each attempt gets its own limit, or what remains less the share that is kept for
    the upstreams behind it, so that no upstream can starve the next. With
    `may_use_reserve`, an upstream that has started to answer may also use the reserved
    time, since the next one will hardly be needed.

    Nobody is refused while an upstream is left untried: circuits and verdicts choose
    among upstreams, so those that they have passed over are asked after all, in their
    order, once nobody else has answered. `can_go_on` tells who can be given the
    beginning of an answer. It belongs to one thread.
    """

    def __init__(
        self,
        upstreams: Sequence[Candidate],
        request: ChatRequest,
        budget: Budget,
        *,
        may_use_reserve: bool = False,
        can_go_on: Callable[[Candidate], bool] = nobody,
        clock: Clock = monotonic,
    ) -> None:
        self._first = upstreams[0]
        self._left = deque(upstreams)
        self._passed_over: deque[Candidate] = deque()
        self._is_extra = False  # whether those left were passed over before
        self._request = self._asks = request
        self._can_go_on = can_go_on
        self._speaks_from: int | None = None  # a character, once there are several
        self._budget = budget
        self._lets_go = may_use_reserve
        self._clock = clock
        self._asked = upstreams[0]  # the last one
        self._started = 0.0
        self._errors: dict[str, GatewayError] = {}  # the last one of each upstream
        self.attempts: list[Attempt] = []
        self.degraded_by: str | None = None

    def next(self) -> ReplyStream:
        """Return the next reply that begins.

        Raises NobodyAnswered when all failed, and an upstream's own error when it
        forbids asking another. Either carries the attempts made.
        """
        while upstream := self._take_next():
            try:
                return self._ask(upstream)
            except GatewayError as error:
                self._failed(upstream, error)
        raise self._telling(self._nobody())

    def renew(self) -> None:
        """Give those who come next the whole time again: a stream has broken."""
        self._budget = self._budget.renewed()

    def go_on(self, said: str, prefill: str) -> bool:
        """Have those who come next go on with what was said; False if nobody can.

        They are given the prefill, if there is any; who cannot go on is not asked.
        """
        left = [upstream for upstream in self._left if self._can_go_on(upstream)]
        passed_over = [
            upstream for upstream in self._passed_over if self._can_go_on(upstream)
        ]
        if not (left or passed_over):
            return False
        self._left, self._passed_over = deque(left), deque(passed_over)
        self._request = self._asks.begun_with(prefill) if prefill else self._asks
        if self._speaks_from is None:
            self.attempts[-1] = self.attempts[-1]._replace(from_character=0)
        self._speaks_from = len(said)
        return True

    def over(self, stream: ReplyStream, fault: str | None = None) -> None:
        """Note how the reply that began last has ended.

        `fault` says it where the stream itself does not know what was wrong.
        """
        took, name = self._clock() - self._started, self._asked.name
        if stream.error is not None:
            fault = fault_of(stream.error)
        elif stream.outcome is Outcome.CANCELLED:
            fault = fault or CallerGone.code
        span = ended_attempt()
        last = Attempt(name, fault, took, stream.received, stream.status, span)
        self.attempts.extend(stream.reply.attempts or (last,))
        if self._speaks_from is not None:
            spoke = self.attempts[-1]._replace(from_character=self._speaks_from)
            self.attempts[-1] = spoke
        self.degraded_by = self.degraded_by or fault

    def facts(self, reply: ChatReply) -> ReplyFacts:
        """The facts about the answer: its own, and the way to it."""
        told = self.told(reply)
        facts = ReplyFacts(
            upstream=told.upstream,
            model=told.model,
            usage=told.usage,
            finish_reason=told.finish_reason,
            choices=told.choices,
            extra=told.extra,
            left_out=told.left_out,
            body=told.body,
            attempts=told.attempts,
        )
        if told.degraded_by:
            facts["degraded_by"] = told.degraded_by
        return facts

    def told(self, reply: ChatReply) -> ChatReply:
        """The answer with the way to it."""
        is_first_choice = self._asked is self._first
        degraded_by = None if is_first_choice else self.degraded_by
        return reply._replace(
            degraded_by=degraded_by or reply.degraded_by,
            attempts=tuple(self.attempts),
        )

    def _take_next(self) -> Candidate | None:
        if not self._left and not self._is_extra:
            self._left, self._is_extra = self._passed_over, True
        return self._left.popleft() if self._left else None

    def _ask(self, upstream: Candidate) -> ReplyStream:
        behind = [later.timeout for later in self._left][:KEPT_FOR]
        own = share(upstream.timeout, behind, self._budget.remaining())
        turn = Turn(
            is_first=upstream is self._first,
            is_last=not self._left,
            is_extra=self._is_extra,
        )
        self._asked, self._started = upstream, self._clock()
        tries = self._budget.tries
        tries.has_next = bool(behind)
        tries.at.append(self._started)
        if not (self._lets_go and behind):
            return upstream.open(self._request, self._budget.within(own), turn)
        beginning = _Beginning(self._started + own, self._clock)
        limit = self._budget.within(upstream.timeout, beginning)
        stream = upstream.open(self._request, limit, turn)
        beginning.is_here = True
        return stream

    def _failed(self, upstream: Candidate, error: GatewayError) -> None:
        """Note a failure to begin; raise it if nobody else may be asked."""
        took = self._clock() - self._started
        failed = failed_attempt(upstream.name, error, took)
        self.attempts.extend(error.attempts or (failed,))
        if isinstance(error, NeverSent | ConnectFailed):
            self._budget.tries.at.pop()
        is_passed_over = isinstance(error, NeverSent) and error.fault in PASSED_OVER
        if is_passed_over and not (self._is_extra or self._request.replay):
            self._passed_over.append(upstream)
        is_rejected = self._request.is_begun and isinstance(error, CallerFault)
        if not (may_fail_over(error) or is_rejected):
            raise self._telling(error)
        self.degraded_by = self.degraded_by or fault_of(error)
        if not (self._is_extra and isinstance(error, NeverSent)):
            self._errors[upstream.name] = error  # else its circuit still says why
        if self._may_lack_tools(upstream, error):
            self._left.append(WithoutTools(upstream))
        self._log(upstream.name, error)

    def _may_lack_tools(self, upstream: Candidate, error: GatewayError) -> bool:
        """Whether it may answer without the tools that it is declared to use.

        Servers reject what the model that they have at the moment cannot do.
        """
        is_refused = isinstance(error, Unfit) and error.fault == "unsupported"
        is_wanted = TOOLS in self._request.wants
        return is_refused and is_wanted and not isinstance(upstream, WithoutTools)

    def _nobody(self) -> GatewayError:
        """What to raise when nobody answered: the most useful of their errors.

        Where an upstream failed for a reason of its own that may be over soon, a later
        try may find it well: that is NobodyAnswered, with the time to wait. Otherwise
        the request is what keeps it from being answered, so the caller is told what
        to change about it; that comes first which he can act on best (MOST_USEFUL). A
        circuit, a verdict and our own credentials say nothing about the request, nor
        when they will be over.
        """
        errors = list(self._errors.values())
        unfit = [error for error in errors if isinstance(error, Unfit)]
        others = [error for error in errors if not isinstance(error, Unfit)]
        if unfit and all(fault_of(error) in NOT_SOON for error in others):
            return min(reversed(unfit), key=lambda error: MOST_USEFUL[type(error)])
        waits = [error.retry_after or RETRY_AFTER for error in errors]
        nobody = NobodyAnswered(retry_after=min(waits, default=RETRY_AFTER))
        nobody.may_repeat = not self._budget.is_nearly_over
        return nobody

    def _telling(self, error: GatewayError) -> GatewayError:
        error.attempts = tuple(self.attempts)
        return error

    def _log(self, name: str, error: GatewayError) -> None:
        """Log the two lines that operators look for (docs/operating.md)."""
        spares = self._left or ([] if self._is_extra else self._passed_over)
        if not spares:
            return
        name, spare = name.capitalize(), spares[0].name
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
