"""Budget: the time a request may take and whether anybody still wants it."""

from collections.abc import Callable
from time import monotonic, sleep

from app.gateway.errors import NoAnswer

Clock = Callable[[], float]
Check = Callable[[], None]

# The longest that a wait may go without asking `check()` (design, section 5).
SLICE = 0.25


class Tries:
    """When upstreams were asked for one request. It belongs to the request's thread.

    `at` are the times, oldest first, of what an upstream got to see. `has_next`
    tells whether another upstream could still be asked after this one.
    """

    __slots__ = ("at", "has_next")

    def __init__(self) -> None:
        self.at: list[float] = []
        self.has_next = False


class Budget:
    """A deadline and a cancellation in one thing that every wait can ask.

    Threads may share it: it never changes after it is made, except for `tries`,
    which it has in common with every budget inside it. `checks` are called by
    `check()` and end a wait by raising, for example `CallerGone`. `since` is when
    the caller began to wait: `waited` seconds before the budget was made.
    """

    __slots__ = ("_checks", "_clock", "deadline", "since", "tries")

    def __init__(
        self,
        seconds: float,
        *checks: Check,
        waited: float = 0.0,
        clock: Clock = monotonic,
    ) -> None:
        self._clock = clock
        self._checks = checks
        now = clock()
        self.since = now - waited
        self.deadline = now + seconds
        self.tries = Tries()

    def remaining(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self.deadline - self._clock())

    def check(self) -> None:
        """Return if waiting is still worth it; else raise why it is not.

        Raises NoAnswer when the time is used up, or whatever a check raises.
        """
        for check in self._checks:
            check()
        if self._clock() >= self.deadline:
            raise NoAnswer("deadline")

    def slice(self) -> float:
        """How long a wait may last before it must call `check()` again; may be 0."""
        return min(SLICE, self.remaining())

    def rest(self, seconds: float, wait: Callable[[float], None] = sleep) -> None:
        """Wait that long, in slices. Raises as `check` does."""
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0:
            self.check()
            wait(min(left, self.slice()))
        self.check()

    def within(self, seconds: float, *checks: Check) -> "Budget":
        """A budget inside this one: same cancellation, no later deadline."""
        inner = Budget(0.0, *self._checks, *checks, clock=self._clock)
        inner.deadline = min(self.deadline, self._clock() + seconds)
        inner.since = self.since
        inner.tries = self.tries
        return inner
