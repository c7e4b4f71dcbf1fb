"""Rate limits on the shared state: one count for all workers of a host.

The arithmetic is the `limits` library's sliding window counter: two counts a key,
the window before weighing less with every second. Windows are cut on the shared
state's steady clock, so a step of the wall clock opens or closes none.
"""

import logging
import struct
from collections.abc import Callable
from functools import lru_cache
from time import monotonic, time
from typing import NamedTuple, NoReturn

from limits import RateLimitItemPerMinute
from limits.storage import SlidingWindowCounterSupport, Storage
from limits.strategies import SlidingWindowCounterRateLimiter

from app.gateway.access.rate_limits import WINDOW, Standing
from app.gateway.shared import InProcessState, SharedState

log = logging.getLogger(__name__)

REST = 5.0  # seconds that a shared state which broke is left alone
_FORM = struct.Struct("<QII")
_MOST = 2**32 - 1


class _Windows(NamedTuple):
    """The counts of a key: of the window that runs, and of the one before it."""

    number: int
    before: int
    running: int

    @classmethod
    def at(cls, value: bytes | None, number: int) -> "_Windows":
        """Read what is stored as it counts in window `number`; garbage is nothing.

        So are windows of the future: they are left from before a restart.
        """
        if value is None or len(value) != _FORM.size:
            return cls(number, 0, 0)
        stored = cls(*_FORM.unpack(value))
        if stored.number == number:
            return stored
        return cls(number, stored.running if stored.number == number - 1 else 0, 0)

    def weight(self, elapsed: float) -> float:
        """Requests of the last window's length; `elapsed` is its part in 0..1."""
        return self.before * (1 - elapsed) + self.running


# The library's base classes are annotated with its own Any.
class SharedWindows(Storage, SlidingWindowCounterSupport):
    """A storage for the library's sliding windows. Threads may share it."""

    STORAGE_SCHEME = None  # made by hand, not from a URL
    base_exceptions = Exception

    def __init__(self, state: SharedState) -> None:
        super().__init__()
        self._state = state

    def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Count if the limit allows it, in one step for all processes."""
        number, elapsed = self._now(expiry)

        def count(value: bytes | None) -> tuple[bytes | None, bool]:
            windows = _Windows.at(value, number)
            if int(windows.weight(elapsed)) + amount > limit:
                return value, False
            running = min(windows.running + amount, _MOST)
            return _FORM.pack(number, windows.before, running), True

        return self._state.update(key, count, ttl=2 * expiry)

    def get_sliding_window(
        self, key: str, expiry: int
    ) -> tuple[int, float, int, float]:
        """Return count and seconds left of the window before and of the running one."""
        number, elapsed = self._now(expiry)
        windows = _Windows.at(self._state.read(key), number)
        left = (1 - elapsed) * expiry
        return windows.before, left, windows.running, left + expiry

    def clear_sliding_window(self, key: str, expiry: int) -> None:  # noqa: ARG002
        """Forget a key's counts."""
        self.clear(key)

    def clear(self, key: str) -> None:
        """Forget a key's counts."""
        self._state.update(key, lambda _: (None, None))

    def check(self) -> bool:
        """Whether the other processes can be reached; here as far as is known."""
        return True

    def _now(self, expiry: int) -> tuple[int, float]:
        """The number of the running window, and how far it is gone (0..1)."""
        windows = max(0.0, self._state.now()) / expiry
        return int(windows), windows % 1

    # What only the other strategies would call.

    def incr(self, key: str, expiry: int, amount: int = 1) -> NoReturn:
        """Fixed windows let twice the quota through at their seam: not kept here."""
        raise NotImplementedError

    def get(self, key: str) -> NoReturn:
        """See incr."""
        raise NotImplementedError

    def get_expiry(self, key: str) -> NoReturn:
        """See incr."""
        raise NotImplementedError

    def reset(self) -> NoReturn:
        """The shared state holds more than limits, and cannot tell them apart."""
        raise NotImplementedError


class SlidingRateLimits:
    """Fulfils the port `RateLimits` (see there) on a shared state.

    When that state breaks, this process counts on its own and tries again after
    REST seconds. Threads may share it.
    """

    def __init__(
        self, state: SharedState, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._shared = SlidingWindowCounterRateLimiter(SharedWindows(state))
        self._own = SlidingWindowCounterRateLimiter(
            SharedWindows(InProcessState(clock))
        )
        self._clock = clock
        self._rests_until = 0.0

    def take(self, key: str, quota: int) -> Standing:
        """See RateLimits."""
        return self._answer(lambda limiter: _take(limiter, key, quota))

    def look(self, key: str, quota: int) -> Standing:
        """See RateLimits."""
        return self._answer(lambda limiter: _look(limiter, key, quota))

    def _answer(
        self, ask: Callable[[SlidingWindowCounterRateLimiter], Standing]
    ) -> Standing:
        if self._clock() >= self._rests_until:
            try:
                return ask(self._shared)
            except Exception:
                self._rests_until = self._clock() + REST
                log.exception("The shared rate limits broke; each worker counts alone")
        return ask(self._own)


class _PerMinute(RateLimitItemPerMinute):
    """A quota whose counts do not begin anew when it is changed."""

    def key_for(self, *identifiers: bytes | str | float) -> str:
        """The library's key, without the quota."""
        return "/".join([self.namespace, *map(str, identifiers), "minute"])


@lru_cache(maxsize=256)
def _per_minute(quota: int) -> _PerMinute:
    return _PerMinute(quota, namespace="rate")


def _take(limiter: SlidingWindowCounterRateLimiter, key: str, quota: int) -> Standing:
    is_within = limiter.hit(_per_minute(quota), key)
    return _standing(limiter, key, quota, is_within=is_within)


def _look(limiter: SlidingWindowCounterRateLimiter, key: str, quota: int) -> Standing:
    is_within = limiter.test(_per_minute(quota), key)
    return _standing(limiter, key, quota, is_within=is_within)


def _standing(
    limiter: SlidingWindowCounterRateLimiter, key: str, quota: int, *, is_within: bool
) -> Standing:
    resets_at, remaining = limiter.get_window_stats(_per_minute(quota), key)
    # The library adds the wall clock to it; a step in between must not show.
    reset = min(max(resets_at - time(), 0.0), float(WINDOW))
    return Standing(is_within, quota, remaining, reset)
