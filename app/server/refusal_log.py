"""The log of requests that cannot be parsed: a few lines a minute, and a sum."""

import logging
from collections import Counter
from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Any

log = logging.getLogger(__name__)

MINUTE = 60.0
LINES = 10  # a minute; whoever sends nonsense could fill the disk with them


class RefusalLog:
    """Tells of the first refusals of a minute, and behind it how many more there were.

    A minute begins with the first refusal in it. Threads may share it.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._ends = 0.0
        self._lines = 0
        self._more: Counter[str] = Counter()

    def note(self, why: str, address: Any) -> None:
        """Take in a refusal; `address` is the peer's, as the socket has it."""
        self.tell_sum()
        with self._lock:
            if not self._lines:
                self._ends = self._clock() + MINUTE
            is_told = self._lines < LINES
            self._lines += 1
            if not is_told:
                self._more[why] += 1
        if is_told:
            source = address[0] if isinstance(address, tuple) else "a local socket"
            log.warning("Refused a request: %s, source=%s", why, source)

    def tell_sum(self, *, now: bool = False) -> None:
        """Tell how many more there were, if their minute is over, or `now`."""
        with self._lock:
            if not self._lines or not (now or self._clock() >= self._ends):
                return
            more, self._more, self._lines = self._more, Counter(), 0
        if more:
            kinds = ", ".join(f"{why}: {count}" for why, count in more.most_common())
            log.warning("Refused %d more requests (%s)", more.total(), kinds)
