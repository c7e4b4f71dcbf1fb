"""SlowCallers: those for whom threads wait, fewer than there are threads.

Bodies come, and answers are read, at a pace that callers choose. A front door takes
that upon itself; without one each slow caller holds a thread for some seconds. So
that they never hold all of them, who has been slow for longest is given up when there
is one too many: who is only on his way needs a moment, and is not the one.
"""

from threading import Lock
from typing import Protocol


class Slow(Protocol):
    """A connection that a thread waits for, since a moment of the monotonic clock."""

    since: float

    def give_up(self) -> None:
        """End the wait of the other thread at once."""
        ...


class SlowCallers:
    """A limit on the threads that wait for callers. Threads share it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()  # guards the set; nobody in it can leave meanwhile
        self._waited_for: set[Slow] = set()

    def enter(self, caller: Slow) -> None:
        """Begin to wait for a caller; TimeoutError if he himself is one too many."""
        with self._lock:
            if len(self._waited_for) >= self._most:
                slowest = min(
                    (caller, *self._waited_for), key=lambda waiting: waiting.since
                )
                if slowest is caller:
                    raise TimeoutError
                self._waited_for.remove(slowest)
                slowest.give_up()
            self._waited_for.add(caller)

    def leave(self, caller: Slow) -> None:
        """End it, whoever ended the wait."""
        with self._lock:
            self._waited_for.discard(caller)
