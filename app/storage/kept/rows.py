"""Kept answers as rows of the table `answers`, and which of them are to go.

Each kind of database brings the statements; what they mean is the same.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic

from app.gateway.errors import AuditUnavailable
from app.gateway.kept.answers import Kept
from app.storage.backend import MOST_BYTES

AROUND = 250  # bytes of a row beside its body, with its place in the index, about
TIDY_INTERVAL = 60.0  # seconds
AT_ONCE = 500  # rows that one transaction deletes: 12 ms

COLUMNS = ("key", "mark", "record", "said_at", "until", "size", "body")
CHANGES = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
FOUND = ", ".join(name for name in COLUMNS if name != "size")  # what makes a Kept
SIZE = "SELECT coalesce(sum(size), 0) FROM answers"
SOONEST = f"SELECT key, until, size FROM answers ORDER BY until LIMIT {AT_ONCE}"  # noqa: S608


def row_of(kept: Kept) -> tuple[object, ...]:
    """Return the columns of an answer."""
    *facts, body = kept
    return (*facts, len(body or b"") + AROUND, body)


class TidyTimes:
    """Says when kept answers are to be looked through, and which are too many then.

    First what has expired, then what would expire soonest. Nothing is looked at while
    nothing was kept. It belongs to the writer's thread.
    """

    def __init__(
        self, most_bytes: int = MOST_BYTES, clock: Callable[[], float] = monotonic
    ) -> None:
        self._most, self._clock = most_bytes, clock
        # Once at the start, too: a worker of before may have kept some.
        self._due: float | None = clock()

    def kept_some(self) -> None:
        """Take note that there is something to be looked through, later."""
        if self._due is None:
            self._due = self._clock() + TIDY_INTERVAL

    def is_due(self) -> bool:
        """Whether it is time; asked after each write."""
        return self._due is not None and self._clock() >= self._due

    def nothing_there(self) -> None:
        """Look no more until something was kept."""
        self._due = None

    def doomed(
        self, size: int, soonest: Iterable[tuple[bytes, float, int]], now: float
    ) -> list[bytes]:
        """Return the keys of those that are to go; more of them may be due at once.

        `size` is that of all, and `soonest` are key, end and size of those that expire
        first, AT_ONCE of them.
        """
        found: list[bytes] = []
        for key, until, its_size in soonest:
            if until > now and size <= self._most:
                break
            found.append(key)
            size -= its_size
        if len(found) < AT_ONCE:
            self._due = self._clock() + TIDY_INTERVAL
        return found


class SizeGauge:
    """Bytes of all kept answers as of a minute ago; `look` finds them out."""

    def __init__(
        self, look: Callable[[], int], clock: Callable[[], float] = monotonic
    ) -> None:
        self._look, self._clock = look, clock
        self._size: int | None = None
        self._due = 0.0

    def read(self) -> int | None:
        """Return them, None while they could not be found out."""
        if self._clock() >= self._due:
            self._due = self._clock() + TIDY_INTERVAL
            with suppress(AuditUnavailable):
                self._size = self._look()
        return self._size
