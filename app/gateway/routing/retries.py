"""Retries: asks the same upstream again where that is safe and its budget allows it.

Only for upstreams of kind `openai`. What may be repeated: a 429, and once, a
transient 5xx or a reset before any byte; after the rest that was asked for. Never a
timeout: a route that was silent would be silent again. An upstream that says
`x-should-retry: false` is not asked again.
"""

import random
from collections import deque
from collections.abc import Callable
from threading import Lock
from time import monotonic, sleep

from app.gateway.budget import Budget, Clock, Tries
from app.gateway.chat import Attempt, ChatRequest, ReplyFacts
from app.gateway.errors import GatewayError, NoAnswer, UpstreamError
from app.gateway.handler import ReplyStream
from app.gateway.routing.attempts import failed_attempt
from app.gateway.tracing import ended_attempt
from app.gateway.turns import Upstream

# Limits of one request, all upstreams together: there is no retry above them, so that
# an upstream which is yet to be asked is not made to wait. What never saw the request
# does not count.
MOST_TRIES = 6
MOST_AT_ONCE, AT_ONCE = 4, 3.0  # tries, seconds

# Over time, of each upstream: this share of its calls, but always a few. Envoy's retry
# budget has the same shape, and the same share.
SHARE = 0.2
FLOOR, WINDOW = 10, 10.0  # retries, seconds

BACKOFF = 0.25  # seconds; doubled for each further retry, then drawn from 0 up to it
TIME_TO_ANSWER = 1.0  # seconds; a wait that leaves less is not worth it

TRANSIENT = frozenset({500, 502, 503, 504})

Wait = Callable[[float], None]


class RetryBudget:
    """The number of retries that a process may make. Threads may share it.

    Counts in ten parts of the window, so that a busy gateway keeps no long lists.
    """

    def __init__(self, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._parts: deque[list[float]] = deque()  # [began, calls, retries]
        self._lock = Lock()  # guards the parts

    def note_call(self) -> None:
        """A call was made for the first time."""
        with self._lock:
            self._current()[1] += 1

    def take(self) -> bool:
        """Use up one retry, if there is one left; return whether there was."""
        with self._lock:
            now = self._current()
            calls = sum(part[1] for part in self._parts)
            retries = sum(part[2] for part in self._parts)
            if retries + 1 > max(FLOOR, SHARE * calls):
                return False
            now[2] += 1
            return True

    def _current(self) -> list[float]:
        now = self._clock()
        parts = self._parts
        while parts and parts[0][0] <= now - WINDOW:
            parts.popleft()
        if not parts or parts[-1][0] <= now - WINDOW / 10:
            parts.append([now, 0, 0])
        return parts[-1]


class Retried:
    """A handler around an upstream that asks it again. Threads may share it.

    `retries` is the most for one request. `wait` sleeps, `jitter` draws between two
    numbers; tests pass their own.
    """

    def __init__(
        self,
        upstream: Upstream,
        retries: int,
        allowance: RetryBudget,
        *,
        clock: Clock = monotonic,
        wait: Wait = sleep,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._upstream = upstream
        self._retries = retries
        self._allowance = allowance
        self._clock = clock
        self._wait = wait
        self._jitter = jitter
        self.name = upstream.name
        self.timeout = upstream.timeout

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Ask until the reply has begun or asking again is of no use.

        A replay is asked once, and is no call of those whose share may be retried.
        Raises what the last try raised; the error and the reply carry all tries.
        """
        if request.replay:
            return self._upstream.open(request, budget)
        self._allowance.note_call()
        tries: list[Attempt] = []
        while True:
            started = self._clock()
            try:
                stream = self._upstream.open(request, budget)
            except UpstreamError as error:
                tries.append(failed_attempt(self.name, error, self._clock() - started))
                self._rest_or_raise(error, tries, budget)
            else:
                return self._telling(stream, tries, started) if tries else stream

    def _rest_or_raise(
        self, error: UpstreamError, tries: list[Attempt], budget: Budget
    ) -> None:
        rest = self._rest(error, tries)
        if rest is None or not self._affordable(rest, budget):
            error.attempts = tuple(tries)
            raise error
        began = self._clock()
        try:
            budget.rest(rest, self._wait)
        except GatewayError as reason:
            last = failed_attempt(self.name, reason, self._clock() - began)
            reason.attempts = (*tries, last)
            raise
        budget.tries.at.append(self._clock())

    def _rest(self, error: UpstreamError, tries: list[Attempt]) -> float | None:
        """Seconds to rest before the next try; None if there shall be none."""
        if len(tries) > self._retries or not error.may_repeat:
            return None
        hiccups = [t for t in tries if t.fault != "rate_limited"]
        is_first = _is_transient(error) and len(hiccups) == 1
        if error.fault != "rate_limited" and not is_first:
            return None
        drawn = self._jitter(0.0, BACKOFF * 2.0 ** (len(tries) - 1))
        return (error.retry_after or 0.0) + drawn

    def _affordable(self, rest: float, budget: Budget) -> bool:
        if rest + TIME_TO_ANSWER > budget.remaining():
            return False
        return _within_limits(budget.tries, self._clock() + rest) and (
            self._allowance.take()
        )

    def _telling(
        self, stream: ReplyStream, tries: list[Attempt], started: float
    ) -> ReplyStream:
        """Have the reply tell of the tries before it, once it is over."""

        def tell(stream: ReplyStream) -> None:
            took = self._clock() - started
            if stream.error is not None:
                last = failed_attempt(self.name, stream.error, took)
            else:
                size, status = stream.received, stream.status
                last = Attempt(self.name, None, took, size, status, ended_attempt())
            stream.learn(ReplyFacts(attempts=(*tries, last)))

        stream.on_end(tell)
        return stream


def _is_transient(error: UpstreamError) -> bool:
    if isinstance(error, NoAnswer):
        return error.fault == "reset" and not error.received
    return error.fault == "http_5xx" and error.status in TRANSIENT


def _within_limits(tries: Tries, now: float) -> bool:
    """Whether a try at that time stays within the request's limits.

    One try is kept for the next upstream: a retry must not cost the fallback.
    """
    kept = 1 if tries.has_next else 0
    lately = sum(at > now - AT_ONCE for at in tries.at)
    return len(tries.at) + kept < MOST_TRIES and lately + kept < MOST_AT_ONCE
