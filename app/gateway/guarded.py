"""Guarded: an upstream that is passed over while it is known to be of no use."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from time import monotonic

from app.gateway.breaker import CircuitBreaker, Permit
from app.gateway.budget import Budget, Clock
from app.gateway.cap import CallCap
from app.gateway.chat import ChatRequest
from app.gateway.circuit import Phase
from app.gateway.errors import (
    ConnectFailed,
    NeverSent,
    NoAnswer,
    Refused,
    UpstreamError,
    counts_against,
)
from app.gateway.handler import Outcome, ReplyStream
from app.gateway.health import HealthBoard
from app.gateway.patience import Patience
from app.gateway.routing import RETRY_AFTER, Upstream

log = logging.getLogger(__name__)

PATIENCE = 3.0  # seconds of silence before an upstream is asked for its health
# Seconds after the end of an attempt's time when its lease ends: nothing outlives
# its deadline by more than 0.25 (design, first promise).
LEASE_MARGIN = 1.0
# Being too slow for a caller in a hurry is not held against an upstream that had
# less than this share of its own time: or one caller could switch it off for all.
FAIR_SHARE = 0.5
LATE = frozenset({"write_timeout", "read_timeout", "deadline", "late_beginning"})


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why an upstream is passed over now, in the word that NeverSent has for it.

    `wait` is in seconds, None where nobody can know for how long.
    """

    reason: str
    wait: float | None = None


class Guarded:
    """An upstream with its verdict, its circuit breaker, its cap and our patience.

    One that is out, open, resting or full is passed over in no time. What becomes
    of each call is evidence: any failure for the circuit, an outage for the verdict
    too, which is about being there and not about answering well. `inquire` asks an
    upstream for its health in the background. Threads may share it.
    """

    def __init__(
        self,
        upstream: Upstream,
        health: HealthBoard,
        breaker: CircuitBreaker,
        cap: CallCap,
        *,
        inquire: Callable[[str], "Future[bool]"] = lambda _: Future(),
        patience: float = PATIENCE,
        clock: Clock = monotonic,
    ) -> None:
        self.name = upstream.name
        self.timeout = upstream.timeout
        self._upstream = upstream
        self._health = health
        self._breaker = breaker
        self._cap = cap
        self._inquire = inquire
        self._patience = patience
        self._clock = clock

    @property
    def phase(self) -> Phase:
        """The phase of its circuit, as the whole host sees it now."""
        return self._breaker.phase

    @property
    def cap(self) -> CallCap:
        """How many calls it gets at once, for looking at."""
        return self._cap

    def obstacle(self) -> Obstacle | None:
        """What would keep a call from being made now; takes nothing, asks nobody."""
        if self._is_out():
            return Obstacle("unhealthy")
        if refused := self._breaker.refusal():
            return Obstacle(*refused)
        if self._cap.limit is not None and self._cap.running >= self._cap.limit:
            return Obstacle("no_slot")
        return None

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Ask the upstream, or raise NeverSent at once."""
        call = self._begun(budget)
        log.info("Routing to %s", self.name)
        patience = Patience(
            self._patience, lambda: self._inquire(self.name), self._clock
        )
        limit = budget.within(call.limit, patience.check)
        try:
            stream = self._upstream.open(request, limit)
        except BaseException as error:
            self._failed(call, error)
            raise
        finally:
            patience.end()
        took = self._clock() - call.started
        stream.on_end(lambda stream: self._ended(call, stream, took))
        return stream

    def _begun(self, budget: Budget) -> "_Call":
        if self._is_out():
            raise NeverSent("unhealthy", retry_after=RETRY_AFTER)
        limit = budget.remaining()
        permit = self._breaker.admit(limit + LEASE_MARGIN)
        try:
            slot = self._cap.acquire(limit + LEASE_MARGIN)
        except NeverSent:
            self._breaker.dropped(permit)
            raise
        return _Call(permit, slot, limit, self._clock())

    def _is_out(self) -> bool:
        verdict = self._health.verdict(self.name)
        return verdict is not None and not verdict.is_healthy

    def _ended(self, call: "_Call", stream: ReplyStream, took: float) -> None:
        if stream.outcome is Outcome.COMPLETED:
            self._cap.release(call.slot)
            self._breaker.succeeded(call.permit, took)
            self._health.note(self.name, None)
        else:
            self._failed(call, stream.error, stream.unread)

    def _failed(
        self, call: "_Call", error: BaseException | None, unread: float = 0.0
    ) -> None:
        self._cap.release(call.slot)
        if isinstance(error, UpstreamError) and self._is_to_blame(call, error, unread):
            self._breaker.failed(call.permit)
            if isinstance(error, ConnectFailed | NoAnswer):
                self._health.note(self.name, error.fault)
        else:
            self._breaker.dropped(call.permit)
        if isinstance(error, Refused) and error.retry_after:
            self._breaker.rest(error.retry_after)
        if isinstance(error, UpstreamError) and error.fault == "upstream_auth":
            log.error("Upstream %s rejects our credentials", self.name)

    def _is_to_blame(self, call: "_Call", error: UpstreamError, unread: float) -> bool:
        """Whether it counts; the time that a slow reader took is not the upstream's."""
        if not counts_against(error):
            return False
        took = self._clock() - call.started
        was_late = took >= call.limit or error.fault in LATE
        return not was_late or took - unread >= FAIR_SHARE * self.timeout


class _Call:
    """A call under way: what it holds, its time in seconds, and when it began."""

    __slots__ = ("limit", "permit", "slot", "started")

    def __init__(
        self, permit: Permit, slot: int | None, limit: float, started: float
    ) -> None:
        self.permit = permit
        self.slot = slot
        self.limit = limit
        self.started = started
