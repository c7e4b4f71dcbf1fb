"""BigWork: a lock for work on large texts, which is done one after the other.

A megabyte costs the interpreter a quarter of a second. A dozen at once would be late
all together, with everybody beside them, and would all be in memory.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock
from time import monotonic

from app.gateway.budget import Clock

AT_ONCE = nullcontext()  # for what needs no turn
BIG = 65536  # bytes; what is smaller takes less time than all else of a chat


class TooLate(Exception):
    """The work cannot be finished in its time."""


class BigWork:
    """A lock that lets one thread at a time do big work. Threads may share it."""

    def __init__(self, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._lock = Lock()

    def take(self, size: int, seconds: float) -> AbstractContextManager[None]:
        """Wait for a turn, if so many bytes need one; TooLate after so many seconds."""
        return AT_ONCE if size < BIG else self._turn(seconds)

    @contextmanager
    def _turn(self, seconds: float) -> Iterator[None]:
        if not self._lock.acquire(timeout=max(0.0, seconds)):
            raise TooLate
        try:
            yield
        finally:
            self._lock.release()
