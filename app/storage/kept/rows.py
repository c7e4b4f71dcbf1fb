"""Kept answers as rows of the table `answers`, and which of them are to go.

Each kind of database brings the statements; what they mean is the same.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from heapq import heapify, heappop, heapreplace
from time import monotonic
from typing import Protocol

from app.gateway.errors import AuditUnavailable
from app.gateway.kept.answers import OWNER, Kept
from app.storage.backend import MOST_BYTES

AROUND = 250  # bytes of a row beside its body, with its place in the index, about
TIDY_INTERVAL = 60.0  # seconds
AT_ONCE = 500  # rows that one transaction deletes: 12 ms

COLUMNS = ("key", "mark", "record", "said_at", "until", "size", "body")
CHANGES = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
FOUND = ", ".join(name for name in COLUMNS if name != "size")  # what makes a Kept
SIZE = "SELECT coalesce(sum(size), 0) FROM answers"
_ROWS = "SELECT key, until, size FROM answers"
SOONEST = f"{_ROWS} ORDER BY until LIMIT {AT_ONCE}"
SHARES = (
    f"SELECT substr(key, 1, {OWNER}), sum(size), min(until) FROM answers GROUP BY 1"  # noqa: S608
)

Row = tuple[bytes, float, int]  # key, end and size of an answer
Share = tuple[bytes, int, float]  # whose, the size of all, and the soonest end


def soonest_of(mark: str) -> str:
    """Return the query for those of one owner, by `keys_of`; `mark` is a parameter."""
    return f"{_ROWS} WHERE key BETWEEN {mark} AND {mark} ORDER BY until LIMIT {AT_ONCE}"


def keys_of(owner: bytes) -> tuple[bytes, bytes]:
    """Return the first and the last key that an owner may have."""
    return owner, owner + b"\xff" * 32


def row_of(kept: Kept) -> tuple[object, ...]:
    """Return the columns of an answer."""
    *facts, body = kept
    return (*facts, len(body or b"") + AROUND, body)


class Rows(Protocol):
    """The kept answers of a database as they are in one transaction."""

    def soonest(self) -> Iterable[Row]:
        """Those that expire first, AT_ONCE of them."""
        ...

    def shares(self) -> Iterable[Share]:
        """What each owner has."""
        ...

    def soonest_of(self, owner: bytes) -> Iterable[Row]:
        """Those of one owner that expire first, AT_ONCE of them."""
        ...


class TidyTimes:
    """Says when kept answers are to be looked through, and which are too many then.

    First what has expired, then of whoever has kept the most what would expire soonest:
    nobody takes the room of those who keep less. Nothing is looked at while nothing was
    kept. It belongs to the writer's thread.
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

    def later(self) -> None:
        """Look again after a while: somebody else is at it."""
        self._due = self._clock() + TIDY_INTERVAL

    def doomed(self, size: int, rows: Rows, now: float) -> list[bytes]:
        """Return the keys of those that are to go; more of them may be due at once.

        `size` is that of all.
        """
        found: list[bytes] = []
        for key, until, its_size in rows.soonest():
            if until > now:
                break
            found.append(key)
            size -= its_size
        for key, its_size in _of_the_largest(rows, now):
            if size <= self._most or len(found) >= AT_ONCE:
                break
            found.append(key)
            size -= its_size
        if len(found) < AT_ONCE:
            self.later()
        return found


def _of_the_largest(rows: Rows, now: float) -> Iterator[tuple[bytes, int]]:
    """Keys and sizes of what has not expired, always of who has the largest share."""
    shares = [(-size, until, owner) for owner, size, until in rows.shares()]
    heapify(shares)
    of_owner: dict[bytes, Iterator[Row]] = {}
    while shares:
        share, _, owner = shares[0]
        if owner not in of_owner:
            of_owner[owner] = iter(rows.soonest_of(owner))
        if (row := next(of_owner[owner], None)) is None:
            heappop(shares)
            continue
        key, until, size = row
        heapreplace(shares, (share + size, until, owner))
        if until > now:
            yield key, size


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
