"""Budget: the time a request may take, and the reasons to stop it early."""

from collections.abc import Callable
from time import monotonic, sleep

from app.gateway.errors import NoAnswer, StreamLimit

Clock = Callable[[], float]
Check = Callable[[], None]

# The longest that a wait may go without asking `check()`; answers may be this late.
SLICE = 0.25


class Tries:
    """The start times of one request's attempts. It belongs to the request's thread.

    `at`: start times, oldest first, of the attempts that reached an upstream.
    `has_next`: whether another upstream could still be asked after this one.
    """

    __slots__ = ("at", "has_next")

    def __init__(self) -> None:
        self.at: list[float] = []
        self.has_next = False


class Budget:
    """A deadline and the checks for cancellation, which every wait asks.

    Threads may share it: it never changes after it is made, except for `tries`,
    which it has in common with every budget inside it. `checks` are called by
    `check()` and end a wait by raising, for example `CallerGone`. `since` is when
    the caller began to wait: `waited` seconds before the budget was made.

    The deadline bounds all of a whole answer, and the beginning of a stream. A stream
    that has begun lasts as long as its words flow, up to a far limit of its own: see
    `streaming` and `flowing`.
    """

    __slots__ = (
        "_checks",
        "_clock",
        "_seconds",
        "_stream_deadline",
        "deadline",
        "since",
        "tries",
    )

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
        self._seconds = seconds
        self._stream_deadline: float | None = None  # None: streams have no more time

    def remaining(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self.deadline - self._clock())

    @property
    def is_nearly_over(self) -> bool:
        """Whether no more than a tenth of the whole time is left."""
        return self.remaining() <= self._seconds / 10

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
        return self._until(min(self.deadline, self._clock() + seconds), *checks)

    def deaf_to(
        self, reason: type[Exception], on_heard: Callable[[], None] = lambda: None
    ) -> "Budget":
        """The same budget, in which no check ends a wait for that reason.

        `on_heard` is called the first time that one would have.
        """
        inner = self._until(self.deadline)
        inner._checks = tuple(_deaf(one, reason, on_heard) for one in self._checks)
        inner._stream_deadline = self._stream_deadline
        return inner

    def streaming(self, seconds: float) -> "Budget":
        """The same budget, but a stream may flow on for so long since `since`."""
        inner = self._until(self.deadline)
        inner._stream_deadline = max(self.deadline, self.since + seconds)
        return inner

    @property
    def stream_deadline(self) -> float:
        """When a stream that has begun must be over."""
        limit = self._stream_deadline
        return self.deadline if limit is None else limit

    def stream_remaining(self) -> float:
        """Seconds left for a stream that has begun; never negative."""
        return max(0.0, self.stream_deadline - self._clock())

    def flowing(self, seconds: float) -> "Budget":
        """The budget of a stream that has begun, for so many seconds.

        It has the same checks as this one, and may outlast its deadline. Its `check`
        raises StreamLimit at its end. Where streams have no time of their own it is
        the same as `within`.
        """
        if self._stream_deadline is None:
            return self.within(seconds)
        end = min(self._stream_deadline, self._clock() + seconds)

        def limit() -> None:
            if self._clock() >= end:
                raise StreamLimit

        return self._until(end, limit)

    def renewed(self) -> "Budget":
        """The whole time once more, for whoever is to go on with a broken stream.

        Never more than is left for the stream, and nothing where streams have no time
        of their own.
        """
        if self._stream_deadline is None:
            return self
        end = self._clock() + self._seconds
        return self._until(min(self._stream_deadline, end))

    def _until(self, deadline: float, *checks: Check) -> "Budget":
        inner = Budget.__new__(Budget)  # for each word of a stream: no new clock, tries
        inner._clock, inner._seconds = self._clock, self._seconds
        inner._checks = (*self._checks, *checks)
        inner.deadline, inner.since, inner.tries = deadline, self.since, self.tries
        inner._stream_deadline = self._stream_deadline
        return inner


def _deaf(check: Check, reason: type[Exception], on_heard: Check) -> Check:
    """A check that says so once, and is not asked any more, where it would raise so."""
    has_heard = False

    def deaf() -> None:
        nonlocal has_heard
        if has_heard:
            return
        try:
            check()
        except reason:
            has_heard = True
            on_heard()

    return deaf
