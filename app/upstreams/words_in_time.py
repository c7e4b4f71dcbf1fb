"""The clock of a stream: it gives an upstream up whose words do not come in time.

Words keep a stream alive; heartbeats do not. Only time spent waiting for the upstream
counts, not what the reader takes. While words flow, a stream may outlast the deadline
by which it had to begin.
"""

from collections.abc import Iterator
from contextlib import suppress
from time import monotonic

from app.gateway.budget import Budget, Clock
from app.gateway.errors import CallerFault, Interrupted, NoAnswer, UpstreamError
from app.upstreams.http.transport import Exchange

STREAM_LIMIT = 600.0  # seconds

# Bytes between two looks at the clock. Of the smallest events there are 450 in so many,
# which take 5 ms, or 50 ms where ten threads share a core.
SLICE = 4096

# The transport's words for being late; which limit it was is known here.
TIMEOUTS = frozenset({"read_timeout", "write_timeout", "deadline"})


class WordsInTime(Iterator[bytes]):
    """The pieces of a streamed answer, of any dialect. It belongs to one thread.

    `budget` bounds the beginning; from there the stream flows for at most
    `stream_limit` seconds. `words_by` is the time by which the first words must have
    come, as a budget. The reader tells with `renew` that there were words in a piece,
    and the next ones have `idle_limit` seconds. `unread` are the seconds that the
    reader took. Large pieces are handed on in slices, and none after the deadline.
    """

    def __init__(
        self,
        exchange: Exchange,
        budget: Budget,
        words_by: Budget,
        idle_limit: float,
        *,
        stream_limit: float = STREAM_LIMIT,
        clock: Clock = monotonic,
    ) -> None:
        self.exchange = exchange
        self.unread = 0.0
        self._pieces = exchange.pieces()
        self._rest = b""  # of a piece that has come in
        self._budget = budget
        self._idle_limit = idle_limit
        self._stream_limit = stream_limit
        self._clock = clock
        self._patience = words_by.remaining()  # seconds of waiting for the upstream
        self._left_at = clock()  # when that waiting was last over
        self._has_begun = False

    def __next__(self) -> bytes:
        """Return the next slice, after a wait for the upstream if none is in hand."""
        if self._rest:
            self._budget.check()
        else:
            self._rest = self._waited_for()
        piece, self._rest = self._rest[:SLICE], self._rest[SLICE:]
        return piece

    def holds_more(self) -> bool:
        """Whether the next slice is in hand already."""
        return bool(self._rest) or self.exchange.holds_more()

    def _waited_for(self) -> bytes:
        """Wait for the upstream; the time since the last wait was the reader's."""
        entered = self._clock()
        self.unread += entered - self._left_at
        self.exchange.rearm(self._budget.within(self._patience))
        try:
            return next(self._pieces)
        finally:
            self._left_at = self._clock()
            self._patience -= self._left_at - entered

    def peek(self, blank: bytes) -> bytes:
        """Return how the body begins, as far as it has come; "" if nothing ever comes.

        Waits until more has come than the bytes of `blank`, or the end. What was
        returned is given again. Raises as `meaning` says.
        """
        beginning = b""
        try:
            while not beginning.strip(blank):
                beginning += next(self)
        except StopIteration:
            pass
        except UpstreamError as error:
            raise self.meaning(error) from None
        self._rest = beginning + self._rest
        return self._rest

    def begin(self) -> None:
        """Take in that the first words came: from here on only their flow counts."""
        self._has_begun = True
        self._budget = self._budget.flowing(self._stream_limit)

    def renew(self, seconds: float | None = None) -> None:
        """Give the words that follow the whole idle time again, or so many seconds."""
        self._patience = self._idle_limit if seconds is None else seconds

    def settle(self, seconds: float) -> None:
        """Read to the end of the body, if it comes within that time."""
        self.exchange.rearm(self._budget.within(seconds))
        with suppress(UpstreamError):
            for _ in self._pieces:
                pass

    def is_silence(self, error: UpstreamError) -> bool:
        """Whether the error is a wait for words that took too long."""
        return _is_late(error, self._budget)

    def meaning(self, error: UpstreamError) -> UpstreamError:
        """Return the error that the reader gets: a failed beginning, or a break."""
        limit = "stream_idle" if self._has_begun else "first_token"
        error = named(error, limit, self._budget)
        if self._has_begun and not isinstance(error, CallerFault):
            error = Interrupted(error.fault)
        error.status, error.received = self.exchange.status, self.exchange.received
        return error


def named(error: UpstreamError, limit: str, budget: Budget) -> UpstreamError:
    """Return the error under the name of the limit that it met before the budget."""
    return NoAnswer(limit) if _is_late(error, budget) else error


def _is_late(error: UpstreamError, budget: Budget) -> bool:
    """Whether a wait took too long that the budget would still have had time for."""
    is_late = isinstance(error, NoAnswer) and error.fault in TIMEOUTS
    return is_late and budget.remaining() > 0
