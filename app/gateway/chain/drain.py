"""Drain: the time that a stopping process gives to the chats it still has."""

from collections.abc import Callable
from math import inf
from time import monotonic

from app.gateway.budget import Clock
from app.gateway.errors import ShuttingDown

# Seconds before the end of the grace at which what is still waiting is told so:
# enough for its record to be committed and its last bytes to be sent.
LAST_WORD = 1.0


class Drain:
    """A process's stop: whether it has begun, and how long chats may still take.

    Threads may share it. `begin` is called by a signal handler, so nothing here
    takes a lock.
    """

    def __init__(self, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._last_call = inf
        self._is_final: Callable[[], bool] = lambda: False

    def begin(self, grace: float, is_final: Callable[[], bool]) -> None:
        """Take on no new connections; end what is under way within `grace` seconds.

        `is_final` tells whether the gateway as a whole stops, and not just this
        process, in whose place there is another one already.
        """
        self._is_final = is_final
        self._last_call = self._clock() + grace - min(LAST_WORD, grace / 2)

    @property
    def is_final(self) -> bool:
        """Whether the gateway as a whole stops: it is not ready any more."""
        return self._is_final()

    def check(self) -> None:
        """A check for a Budget: raise ShuttingDown once the grace is nearly over."""
        if self._clock() >= self._last_call:
            raise ShuttingDown
