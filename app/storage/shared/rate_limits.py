"""Rate limits on the shared state: one count for all workers of a host.

A sliding window counter: two counts a key, the window before weighing less with every
second. Windows are cut on the shared state's steady clock, so a step of the wall clock
opens or closes none.
"""

import logging
import struct
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import NamedTuple

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

    def count(self, elapsed: float) -> int:
        """Requests of the last window's length; `elapsed` is its part in 0..1."""
        return int(self.before * (1 - elapsed) + self.running)

    def reset(self, elapsed: float) -> float:
        """Seconds until the count goes down by one."""
        left = (1 - elapsed) * WINDOW
        of_before = left % (WINDOW / self.before) if self.before else inf
        return min(of_before, left % WINDOW) if self.running else of_before


class SlidingRateLimits:
    """Fulfils the port `RateLimits` (see there) on a shared state.

    When that state breaks, this process counts on its own and tries again after
    REST seconds. Threads may share it.
    """

    def __init__(
        self, state: SharedState, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._shared, self._own = state, InProcessState(clock)
        self._clock = clock
        self._rests_until = 0.0

    def take(self, key: str, quota: int, cost: int = 1) -> Standing:
        """See RateLimits."""
        name = f"{key}/rate/minute"
        return self._answer(lambda state: _take(state, name, quota, cost))

    def look(self, key: str, quota: int) -> Standing:
        """See RateLimits."""
        return self._answer(lambda state: _look(state, f"{key}/rate/minute", quota))

    def _answer(self, ask: Callable[[SharedState], Standing]) -> Standing:
        if self._clock() >= self._rests_until:
            try:
                return ask(self._shared)
            except Exception:
                self._rests_until = self._clock() + REST
                log.exception("The shared rate limits broke; each worker counts alone")
        return ask(self._own)


def _take(state: SharedState, key: str, quota: int, cost: int) -> Standing:
    number, elapsed = _now(state)

    def count(value: bytes | None) -> tuple[bytes | None, Standing]:
        windows = _Windows.at(value, number)
        if windows.count(elapsed) >= quota:
            return value, _standing(windows, elapsed, quota, is_within=False)
        more = windows._replace(running=min(windows.running + cost, _MOST))
        return _FORM.pack(*more), _standing(more, elapsed, quota, is_within=True)

    return state.update(key, count, ttl=2 * WINDOW)


def _look(state: SharedState, key: str, quota: int) -> Standing:
    if (stored := state.read(key)) is None:  # of nearly all sources
        return Standing(is_within=quota > 0, quota=quota, remaining=quota, reset=0.0)
    number, elapsed = _now(state)
    windows = _Windows.at(stored, number)
    is_within = windows.count(elapsed) < quota
    return _standing(windows, elapsed, quota, is_within=is_within)


def _now(state: SharedState) -> tuple[int, float]:
    """The number of the running window, and how far it is gone (0..1)."""
    windows = max(0.0, state.now()) / WINDOW
    return int(windows), windows % 1


def _standing(
    windows: _Windows, elapsed: float, quota: int, *, is_within: bool
) -> Standing:
    remaining = max(0, quota - windows.count(elapsed))
    reset = windows.reset(elapsed) if windows.before or windows.running else 0.0
    return Standing(is_within, quota, remaining, reset)
