"""Timeline: when the pieces of a streamed reply came, and how long each was."""

from collections.abc import Iterable
from operator import sub
from time import monotonic

from app.gateway.budget import Clock

MOST = 4000  # pieces of a reply; where there are more, neighbours are one

Steps = tuple[list[int], list[int]]


class Timeline:
    """The moments at which the pieces of one reply came. One thread's.

    `started` is when the chat was asked, on the clock. `mark` notes that a piece has
    come just now; it is called for each word of each stream.
    """

    __slots__ = ("_at", "_clock", "_lengths", "_started")

    def __init__(self, started: float, clock: Clock = monotonic) -> None:
        self._started, self._clock = started, clock
        self._at: list[float] = []
        self._lengths: list[int] = []

    def mark(self) -> None:
        """A piece has come just now."""
        self._at.append(self._clock())

    def over(self, pieces: Iterable[str]) -> None:
        """These are the pieces, of which each was marked."""
        self._lengths = list(map(len, pieces))

    def steps(self) -> Steps:
        """The milliseconds before each piece, and its Unicode characters.

        The first wait is from the question on. Waits add up to the whole time, as
        nothing is lost by rounding each of them.
        """
        half = 0.5 - self._started * 1000
        at = [int(moment * 1000 + half) for moment in self._at]
        lengths = self._lengths
        while len(at) > MOST:
            at, lengths = _joined(at, lengths)
        return list(map(sub, at, [0, *at])), lengths


def _joined(at: list[int], lengths: list[int]) -> Steps:
    """The same with each two neighbours as one, which came when the second did."""
    if len(at) % 2:
        at, lengths = [*at, at[-1]], [*lengths, 0]
    pairs = zip(lengths[::2], lengths[1::2], strict=True)
    return at[1::2], [first + second for first, second in pairs]


def stored_steps(value: object) -> Steps | None:
    """The steps of a timeline as a record has them; None for any other value."""
    if not (isinstance(value, list) and len(value) == 2):
        return None
    waits, lengths = value
    are_steps = _are_counts(waits) and _are_counts(lengths)
    return (waits, lengths) if are_steps and len(waits) == len(lengths) else None


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(
        type(one) is int and one >= 0 for one in value
    )
