"""Memory limit: a process that is short of memory takes on no more chats."""

from collections.abc import Callable
from time import monotonic

from app.gateway.budget import Clock

LOOK_EVERY = 0.5  # seconds; asking the kernel for each chat would cost 10 us


class Watermark:
    """The mark above which a process has too much memory. Threads may share it.

    `used` returns its resident bytes. What the kernel kills takes every chat with
    it; a refusal costs one (docs/faults.md, row 67).
    """

    def __init__(
        self, limit: int, used: Callable[[], int], clock: Clock = monotonic
    ) -> None:
        self._limit = limit
        self._used = used
        self._clock = clock
        self._look_at = 0.0
        self._is_short = False

    def __call__(self) -> bool:
        """Return what was seen last, at most half a second ago."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            self._is_short = self._used() > self._limit
        return self._is_short
