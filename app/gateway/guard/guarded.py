"""Guarded: a handler around an upstream that passes it over while it is unwell."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from app.gateway.budget import Budget, Clock
from app.gateway.chat import ChatRequest
from app.gateway.errors import (
    BadReply,
    ConnectFailed,
    GatewayError,
    NeverSent,
    NoAnswer,
    Refused,
    UpstreamError,
)
from app.gateway.guard.blame import weight_of
from app.gateway.guard.breaker import CircuitBreaker
from app.gateway.guard.breaker_state import Permit
from app.gateway.guard.circuit import Phase
from app.gateway.guard.concurrency import ConcurrencyLimit, ConcurrencyLimits, Slot
from app.gateway.guard.hang_detection import HangCheck, HangDetector
from app.gateway.guard.health import HealthBoard
from app.gateway.handler import Outcome, ReplyStream
from app.gateway.turns import ONLY, RETRY_AFTER, Turn, Upstream

log = logging.getLogger(__name__)

# Seconds after the end of an attempt's time when its lease ends: nothing outlives
# its deadline by more than 0.25.
LEASE_MARGIN = 1.0
RENEWAL = 30.0  # seconds by which a stream that goes on prolongs its lease

# An upstream with an open circuit or a bad verdict is asked for want of another one,
# by so many callers of a host at once: an outage must not become a flood. So many more
# of each process may wait for a moment to see what becomes of those calls.
EXTRA_CALLS, EXTRA_WAITERS, EXTRA_WAIT = 2, 8, 1.0


@dataclass(frozen=True, slots=True)
class Obstacle:
    """The reason why an upstream is passed over, in NeverSent's word for it.

    `wait` is in seconds, None where nobody can know for how long. `is_for_one` tells
    that it is so for one caller alone, whose calls failed.
    """

    reason: str
    wait: float | None = None
    is_for_one: bool = False


class Guarded:
    """An upstream behind its health, circuit breaker, concurrency limit and hang check.

    One that is out, open, resting or full is passed over in no time, where there is a
    choice. What becomes of each call is evidence (see `blame`): for the circuit, and
    a connection that failed for the verdict too, which is about being there and not
    about answering well. A replay is passed over wherever there is an obstacle, and is
    evidence of nothing. `hang_check` None stands for an upstream that has no health to
    ask for, and no verdict.
    `queue_wait` is the longest that a chat waits for a slot, in seconds. Threads may
    share it.
    """

    def __init__(
        self,
        upstream: Upstream,
        health: HealthBoard,
        breaker: CircuitBreaker,
        caps: ConcurrencyLimits,
        *,
        hang_check: HangCheck | None,
        queue_wait: float,
        clock: Clock = monotonic,
    ) -> None:
        self.name = upstream.name
        self.timeout = upstream.timeout
        self._upstream = upstream
        self._health = health
        self._breaker = breaker
        self._cap = caps.calls
        self._extra = caps.extra
        self._hang_check = hang_check
        self._queue_wait = queue_wait
        self._clock = clock

    @property
    def phase(self) -> Phase:
        """The phase of its circuit, as the whole host sees it now."""
        return self._breaker.phase

    @property
    def cap(self) -> ConcurrencyLimit:
        """How many calls it gets at once, for looking at."""
        return self._cap

    def obstacle(self) -> Obstacle | None:
        """What would keep a call from being made now; takes nothing, asks nobody."""
        if self._is_out():
            return Obstacle("unhealthy")
        if refused := self._breaker.refusal():
            return Obstacle(refused.reason, refused.wait, refused.is_for_one)
        if self._cap.limit is not None and self._cap.running >= self._cap.limit:
            return Obstacle("no_slot")
        return None

    def open(
        self, request: ChatRequest, budget: Budget, turn: Turn = ONLY
    ) -> ReplyStream:
        """Ask the upstream, or raise NeverSent: at once where another one is left."""
        begin = self._begun_apart if request.replay else self._begun
        call = begin(request.caller, budget, turn)
        log.info("Routing to %s", self.name)
        patience = self._patience_of(turn)
        limit = budget.within(call.limit, patience.check, call.renew)
        try:
            stream = self._asked(request, limit)
        except BaseException as error:
            self._failed(call, error)
            raise
        finally:
            patience.end()
        took = self._clock() - call.started
        stream.on_end(lambda stream: self._ended(call, stream, took))
        self._begins(call)
        return stream

    def _asked(self, request: ChatRequest, limit: Budget) -> ReplyStream:
        """Ask; whatever escapes from an adapter is a failed attempt."""
        try:
            return self._upstream.open(request, limit)
        except GatewayError:
            raise
        except Exception:
            log.exception("The adapter of %s broke", self.name)
            raise BadReply("internal") from None

    def _patience_of(self, turn: Turn) -> HangDetector:
        """What gives up on an upstream that hangs, if there is somebody to ask then."""
        check = self._hang_check
        if check is None or turn.is_last:
            return HangDetector(None)
        return HangDetector(
            check.patience, lambda: check.inquire(self.name), self._clock
        )

    def _begun(self, caller: str, budget: Budget, turn: Turn) -> "_Call":
        if self._is_out() and not (turn.is_last or turn.is_extra):
            raise NeverSent("unhealthy", retry_after=RETRY_AFTER)
        if turn.is_extra:
            extra = self._wait_for_extra(caller, budget)
            return self._with_extra(
                extra, self._breaker.admit_extra, caller, budget, turn
            )
        if permit := self._breaker.admit_if_closed(caller):
            return self._with_slot(permit, budget, turn)
        lease = budget.remaining() + LEASE_MARGIN
        return self._begun_probe(caller, lease, budget, turn)

    def _begun_apart(self, caller: str, budget: Budget, _: Turn) -> "_Call":
        """Begin a replay's call: no probe, no extra one, and nobody waits behind it."""
        if obstacle := self.obstacle():
            raise NeverSent(obstacle.reason, retry_after=obstacle.wait)
        permit = self._breaker.admit_if_closed(caller)
        if permit is None:
            raise NeverSent("circuit_open")
        call = self._with_slot(permit, budget, Turn())
        call.is_evidence = False
        return call

    def _begun_probe(
        self, caller: str, lease: float, budget: Budget, turn: Turn
    ) -> "_Call":
        """Begin the call that probes, among the few that an open circuit lets through.

        Nobody waits for that: the next upstream may answer at once.
        """
        if refused := self._breaker.refusal(caller):
            raise NeverSent(refused.reason, retry_after=refused.wait)
        try:
            extra = self._extra.acquire(lease, caller)
        except NeverSent as full:
            raise NeverSent("circuit_open", retry_after=full.retry_after) from None
        return self._with_extra(
            extra,
            lambda caller: self._breaker.admit(caller, lease),
            caller,
            budget,
            turn,
        )

    def _wait_for_extra(self, caller: str, budget: Budget) -> Slot | None:
        """Wait for a place among the extra calls, or until there is no need for one."""
        was_closed = self._breaker.is_closed_to(caller)

        def has_recovered() -> bool:
            return not was_closed and self._breaker.is_closed_to(caller)

        return self._extra.wait_for(
            budget.remaining() + LEASE_MARGIN,
            budget.within(EXTRA_WAIT),
            caller,
            longest_line=EXTRA_WAITERS,
            is_moot=has_recovered,
        )

    def _with_extra(
        self,
        extra: Slot | None,
        admit: Callable[[str], Permit],
        caller: str,
        budget: Budget,
        turn: Turn,
    ) -> "_Call":
        try:
            call = self._with_slot(admit(caller), budget, turn)
        except BaseException:
            self._extra.release(extra)
            raise
        call.extra = extra
        return call

    def _with_slot(self, permit: Permit, budget: Budget, turn: Turn) -> "_Call":
        """Take a slot, or wait for one where the caller would rather wait."""
        if self._cap.limit is None:
            return _Call(self._cap, permit, None, budget.remaining(), self._clock)
        try:
            slot = self._slot(permit.caller, budget, turn)
        except BaseException:
            self._breaker.dropped(permit)
            raise
        return _Call(self._cap, permit, slot, budget.remaining(), self._clock)

    def _slot(self, caller: str, budget: Budget, turn: Turn) -> Slot | None:
        lease = budget.remaining() + LEASE_MARGIN
        if turn.is_first or turn.is_last:
            return self._cap.wait_for(lease, budget.within(self._queue_wait), caller)
        return self._cap.acquire(lease, caller)

    def _is_out(self) -> bool:
        if self._hang_check is None:
            return False
        verdict = self._health.verdict(self.name)
        return verdict is not None and not verdict.is_healthy

    def _begins(self, call: "_Call") -> None:
        """Give up the place of an extra call: its upstream has answered.

        A stream goes on for minutes, in which nobody else could be asked.
        """
        if call.extra is None:
            return
        self._extra.release(call.extra)
        call.extra = None
        call.permit = self._breaker.began(call.permit)
        self._note(None)

    def _ended(self, call: "_Call", stream: ReplyStream, took: float) -> None:
        if stream.outcome is Outcome.COMPLETED and call.is_evidence:
            self._let_go(call)
            self._breaker.succeeded(call.permit, took)
            self._note(None)
        else:
            self._failed(call, stream.error, stream.unread)

    def _failed(
        self, call: "_Call", error: BaseException | None, unread: float = 0.0
    ) -> None:
        self._let_go(call)
        if not call.is_evidence:
            self._breaker.dropped(call.permit)
            return
        if weight := self._weight(call, error, unread):
            self._breaker.failed(call.permit, weight)
        else:
            self._breaker.dropped(call.permit)
        if isinstance(error, ConnectFailed):
            self._note(error.fault)
        elif isinstance(error, NoAnswer) and self._hang_check is not None:
            self._hang_check.inquire(self.name)  # says more than a limit that was met
        if isinstance(error, Refused) and error.retry_after:
            self._breaker.rest(error.retry_after)
        if isinstance(error, UpstreamError) and error.fault == "upstream_auth":
            log.error("Upstream %s rejects our credentials", self.name)
        if isinstance(error, UpstreamError) and error.fault == "quota":
            log.error("Upstream %s says that our quota is used up", self.name)

    def _note(self, reason: str | None) -> None:
        if self._hang_check is not None:
            self._health.note(self.name, reason)

    def _let_go(self, call: "_Call") -> None:
        self._cap.release(call.slot)
        self._extra.release(call.extra)

    def _weight(
        self, call: "_Call", error: BaseException | None, unread: float
    ) -> int | None:
        """How much a failure counts; what a slow reader took is not its time."""
        took = self._clock() - call.started - unread
        return weight_of(error, took, self.timeout)


class _Call:
    """A call under way: what it holds, its time in seconds, and when it began.

    A replay's call is no evidence, however it ends.
    """

    __slots__ = (
        "_cap",
        "_clock",
        "_renew_at",
        "extra",
        "is_evidence",
        "limit",
        "permit",
        "slot",
        "started",
    )

    def __init__(
        self,
        cap: ConcurrencyLimit,
        permit: Permit,
        slot: Slot | None,
        limit: float,
        clock: Clock,
    ) -> None:
        self._cap = cap
        self._clock = clock
        self.permit = permit
        self.slot = slot
        self.extra: Slot | None = None
        self.is_evidence = True
        self.limit = limit
        self.started = clock()
        self._renew_at = self.started + limit

    def renew(self) -> None:
        """Prolong the lease of a stream that goes on: a check of its budget."""
        if self._clock() >= self._renew_at and self.slot is not None:
            self._renew_at = self._clock() + RENEWAL / 2
            self.slot = self._cap.renew(self.slot, RENEWAL)
