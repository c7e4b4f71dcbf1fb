"""Tally: counts what happens over and over, so that a flood leaves a sum.

The first of its kind is worth a line or a record of its own; a thousand more within
the minute are worth one number. What is refused costs him nothing who asks for it, so
he must not choose how much of it is written.
"""

import logging
from collections.abc import Callable, Hashable
from contextlib import suppress
from threading import Lock, Timer
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
MINUTE = 60.0  # seconds
Later = Callable[[float, Callable[[], None]], object]


def by_timer(seconds: float, work: Callable[[], None]) -> None:
    """Do it in a thread of its own, so many seconds from now."""
    timer = Timer(seconds, work)
    timer.daemon = True
    timer.start()


class Tally(Generic[K]):
    """Counts per minute and kind. Threads may share it.

    `tell` is called with each kind that was repeated, and how often, a minute after
    the first of any kind. Kinds must be few: they are made of our own words and of the
    names of tokens.
    """

    def __init__(self, tell: Callable[[K, int], None], later: Later = by_timer) -> None:
        self._tell = tell
        self._later = later
        self._lock = Lock()  # guards the counts; never held while they are told
        self._repeats: dict[K, int] = {}

    def add(self, kind: K) -> bool:
        """Count one; True for the first of its kind in this minute."""
        with self._lock:
            is_first_of_all = not self._repeats
            is_first = kind not in self._repeats
            self._repeats[kind] = self._repeats.get(kind, -1) + 1
        if is_first_of_all:
            with suppress(RuntimeError):  # without a thread, `close` tells it at last
                self._later(MINUTE, self.close)
        return is_first

    def close(self) -> None:
        """Tell what was counted so far, and begin anew."""
        with self._lock:
            counted, self._repeats = self._repeats, {}
        for kind, repeats in counted.items():
            try:
                if repeats:
                    self._tell(kind, repeats)
            except Exception:
                log.exception("The sum of what was refused could not be told")
