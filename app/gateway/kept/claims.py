"""Claims: who of all workers is asking what others want to ask, too.

A claim lasts as long as the process that made it lives: a thread renews all that this
process holds. One that was killed or frozen loses its claims within the lease.
"""

import os
from collections.abc import Callable
from threading import Event, Lock, Thread
from time import sleep
from typing import NamedTuple, Protocol

from app.gateway.kept.claim_table import ClaimTable

RENEWAL = 0.75  # seconds between two renewals
ID_BYTES = 8


class Holder(NamedTuple):
    """Who has a claim: the mark that it was made with, and that very claim's name."""

    mark: bytes
    name: bytes


class Claims(Protocol):
    """The port by which one asks and its twins wait. Threads may share it.

    Where the other workers cannot be reached, claims are of this process alone.
    """

    def claim(self, key: bytes, mark: bytes) -> Holder | None:
        """Take a claim and return None, or return who has it; waits for nobody."""
        ...

    def is_held(self, key: bytes, holder: Holder) -> bool:
        """Whether that very claim still stands."""
        ...

    def wait(self, key: bytes, seconds: float) -> None:
        """Wait until a claim may have ended, at most so many seconds."""
        ...

    def release(self, key: bytes) -> None:
        """End a claim of this process."""
        ...

    def close(self) -> None:
        """Renew nothing any more."""
        ...


class SharedClaims:
    """Fulfils `Claims` for all processes that share a table.

    `renewal` is the time between two renewals in seconds.
    """

    def __init__(
        self,
        table: ClaimTable,
        pause: Callable[[float], None] = sleep,
        *,
        renewal: float = RENEWAL,
    ) -> None:
        self._table, self._pause, self._renewal = table, pause, renewal
        self._held: dict[bytes, tuple[bytes, Event]] = {}
        self._lock = Lock()  # guards the two below and `_held`
        self._renewer: Thread | None = None
        self._closed = Event()

    def claim(self, key: bytes, mark: bytes) -> Holder | None:
        """See Claims."""
        mine = os.urandom(ID_BYTES) + mark
        found = self._table.take(key, mine)
        if found != mine:
            return _holder(found)
        with self._lock:
            self._held[key] = mine, Event()
            self._start_renewing()
        return None

    def is_held(self, key: bytes, holder: Holder) -> bool:
        """See Claims."""
        return self._table.read(key) == holder.name + holder.mark

    def wait(self, key: bytes, seconds: float) -> None:
        """See Claims."""
        held = self._held.get(key)
        if held is None:
            self._pause(min(self._table.poll, seconds))
        else:
            held[1].wait(seconds)

    def release(self, key: bytes) -> None:
        """See Claims."""
        with self._lock:
            mine, ended = self._held.pop(key, (b"", None))
        if ended is None:
            return
        self._table.drop(key, mine)
        ended.set()

    def close(self) -> None:
        """See Claims."""
        self._closed.set()

    def _start_renewing(self) -> None:
        if self._renewer is not None:
            return
        renewer = Thread(target=self._renew, name="claims", daemon=True)
        try:
            renewer.start()
        except RuntimeError:
            return  # no thread to be had; these claims last for one lease
        self._renewer = renewer

    def _renew(self) -> None:
        """Renew what is held until nothing is, so that an idle process does nothing."""
        while not self._closed.wait(self._renewal):
            with self._lock:
                held = [(key, mine) for key, (mine, _) in self._held.items()]
                if not held:
                    self._renewer = None
                    return
            for key, mine in held:
                self._renew_one(key, mine)

    def _renew_one(self, key: bytes, mine: bytes) -> None:
        if key in self._held:
            self._table.renew(key, mine)
            if key not in self._held:  # released meanwhile
                self._table.drop(key, mine)


def _holder(value: bytes) -> Holder:
    return Holder(value[ID_BYTES:], value[:ID_BYTES])
