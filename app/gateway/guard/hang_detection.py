"""HangDetector: ends a call early if its upstream is silent and fails its probe.

A model may think for as long as it is allowed to; one whose /health does not answer
either is not thinking.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from time import monotonic

from app.gateway.budget import Clock
from app.gateway.errors import NoAnswer

# Asks an upstream for its health without waiting; True will mean that it answered.
Inquire = Callable[[], "Future[bool]"]


@dataclass(frozen=True, slots=True)
class HangCheck:
    """The settings that tell an upstream that hangs from one that is slow.

    `inquire` asks the upstream of that name for its health, in the background;
    `patience` is the silence after which it is asked, in seconds.
    """

    inquire: Callable[[str], "Future[bool]"]
    patience: float


class HangDetector:
    """A check for the budget of one attempt. It belongs to one thread.

    Every `seconds` of silence the upstream's health is asked for, elsewhere; if that
    does not answer, the attempt is over. Call `end` once anything has come back. With
    `seconds` None it never gives up.
    """

    def __init__(
        self,
        seconds: float | None,
        inquire: Inquire = Future,
        clock: Clock = monotonic,
    ) -> None:
        self._seconds = seconds or 0.0
        self._inquire = inquire
        self._clock = clock
        self._ask_at = None if seconds is None else clock() + seconds
        self._inquiry: Future[bool] | None = None

    def check(self) -> None:
        """Return if waiting is still worth it; raises NoAnswer if it is not."""
        if self._ask_at is None:
            return
        if self._inquiry is not None and self._inquiry.done():
            self._learn(self._inquiry)
        elif self._inquiry is None and self._clock() >= self._ask_at:
            self._inquiry = self._inquire()

    def end(self) -> None:
        """Check nothing any more."""
        self._ask_at = None

    def _learn(self, inquiry: "Future[bool]") -> None:
        if not inquiry.cancelled() and not inquiry.result():
            raise NoAnswer("silent")
        self._inquiry = None
        self._ask_at = self._clock() + self._seconds
