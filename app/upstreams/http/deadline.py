"""Watch: what bounds every wait of one exchange, and what it means to be too late."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from math import inf

from app.gateway.budget import SLICE, Budget
from app.gateway.errors import ConnectFailed, NoAnswer, UpstreamError


class Phase(Enum):
    """How far an exchange has come, and its error if time runs out there.

    Up to the handshake the upstream has seen nothing of the request. Nothing waits
    any more when it is over.
    """

    RESOLVE = (ConnectFailed, "dns")
    CONNECT = (ConnectFailed, "connect_timeout")
    HANDSHAKE = (ConnectFailed, "tls_timeout")
    SEND = (NoAnswer, "write_timeout")
    RECEIVE = (NoAnswer, "read_timeout")
    DRIP = (NoAnswer, "deadline")
    OVER = (NoAnswer, "over")

    def late(self) -> UpstreamError:
        """The error of an exchange whose time is used up in this phase."""
        kind, fault = self.value
        error: UpstreamError = kind(fault)
        return error


class ExchangeDeadline:
    """One exchange's budget, asked before every operation on a socket.

    `received` counts the bytes that came over the socket, head and framing
    included. `ended_by` is what a check of the budget raised: whatever the
    libraries in between make of it, that is what ended the exchange. `dialled`
    is the host and port to which a new connection was made. It belongs to one thread.
    """

    __slots__ = (
        "_check_at",
        "budget",
        "dialled",
        "ended_by",
        "phase",
        "received",
    )

    def __init__(self, budget: Budget, phase: Phase = Phase.RESOLVE) -> None:
        self.budget = budget
        self.phase = phase
        self.received = 0
        self.dialled: tuple[str, int] | None = None
        self.ended_by: BaseException | None = None
        self._check_at = inf  # asked at once, then when so little time remains

    def wait_limit(self) -> float:
        """Seconds that the next operation may wait, above 0 and at most a slice.

        Raises the phase's error if time is up, or what a check raises. A peer that
        always has a byte for us never lets a slice run out, so the checks are due by
        the clock and not by the number of waits. Once the answer is over there is
        nothing to wait for: BlockingIOError.
        """
        if self.phase is Phase.OVER:
            raise BlockingIOError(errno.EAGAIN, "the answer is over")
        left = self.budget.remaining()
        if left <= self._check_at:
            self._check()
            self._check_at = max(0.0, left - SLICE)
        return min(SLICE, left)

    def note_received(self, count: int) -> None:
        """Count received bytes; from the first on, being late is `deadline`."""
        self.received += count
        if self.phase is Phase.RECEIVE:
            self.phase = Phase.DRIP

    def rearm(self, budget: Budget) -> None:
        """Obey another budget from now on."""
        due_in = max(0.0, self.budget.remaining() - self._check_at)
        self.budget = budget
        self._check_at = max(0.0, budget.remaining() - due_in)

    @contextmanager
    def narrowed(self, seconds: float) -> Iterator[None]:
        """Inside the block, be late after so many seconds already."""
        whole = self.budget
        self.budget = whole.within(seconds)
        try:
            yield
        finally:
            self.budget = whole
            self._check_at = inf

    def _check(self) -> None:
        try:
            self.budget.check()
        except BaseException as reason:
            if isinstance(reason, NoAnswer) and reason.fault == "deadline":
                raise self.phase.late() from None
            self.ended_by = reason
            raise
