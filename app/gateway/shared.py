"""Shared state: small values that all workers of a host read and change together.

The port that breakers, verdicts, leases, limits and caps are built on, and its
in-process implementation. One for all workers of a host is in `storage`; each is
held to the same contract by tests/storage/shared/test_contract.py.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from threading import Lock
from time import monotonic
from typing import Protocol, TypeVar

from app.gateway.budget import Clock

T = TypeVar("T")
Change = Callable[[bytes | None], tuple[bytes | None, T]]

MAX_VALUE = 400  # bytes
# Entries with an expiry that one process keeps at most: sources of failed logins,
# say, of which an attacker can make as many as he likes.
MAX_EXPIRING = 4096
# Keys that begin so are made of what strangers show: an address, say. They are kept
# apart, so that a flood of them takes the place of none but others of their kind.
STRANGERS = "strangers/"
MAX_STRANGERS = 512


class SharedState(Protocol):
    """Atomic read-modify-write of small values by name. Threads may share it.

    Never waits for a disk or a network for longer than a few dozen milliseconds,
    and never raises for want of the others: where they can't be reached the call is
    answered from what this process knows (and counted in `alone`).
    """

    @property
    def alone(self) -> int:
        """Calls that had to go on without the other processes, since the start."""
        ...

    def now(self) -> float:
        """Seconds on a steady clock that everybody who shares this state reads alike.

        Times that are stored in values must come from here, and from no other clock.
        """
        ...

    def read(self, key: str) -> bytes | None:
        """Return the value, or None if there is none or it has expired.

        Cheap enough for every request: it waits for nobody and makes no system call.
        """
        ...

    def update(self, key: str, change: Change[T], ttl: float | None = None) -> T:
        """Replace a value by what `change` makes of it; return its second result.

        `change` gets the value (None: there is none) and returns the new one (None:
        remove it) and a result. It may be called more than once and under a lock, so
        it must be quick, free of effects, and not use the state itself. If it raises,
        nothing is changed.

        The value is forgotten `ttl` seconds from now. One with a ttl may be forgotten
        sooner when there are very many, of STRANGERS if it is one of those, and of the
        others if not; one without is kept. Raises ValueError for more than MAX_VALUE
        bytes.
        """
        ...

    def close(self) -> None:
        """Part with the others; calls that are still made are answered alone."""
        ...


@dataclass(frozen=True, slots=True)
class _Entry:
    value: bytes
    expires_at: float


class InProcessState:
    """The state of one process that shares with nobody. Threads may share it."""

    alone = 0  # there is nobody to miss

    def __init__(
        self, clock: Clock = monotonic, max_expiring: int = MAX_EXPIRING
    ) -> None:
        self._clock = clock
        self._max_expiring = max_expiring
        self._kept: dict[str, _Entry] = {}
        self._expiring: OrderedDict[str, _Entry] = OrderedDict()
        self._of_strangers: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = Lock()  # guards all of them

    def now(self) -> float:
        """Seconds on this process's clock."""
        return self._clock()

    def read(self, key: str) -> bytes | None:
        """See SharedState."""
        with self._lock:
            return self._value(key)

    def update(self, key: str, change: Change[T], ttl: float | None = None) -> T:
        """See SharedState."""
        with self._lock:
            value, result = change(self._value(key))
            check_size(value)
            for entries in (self._kept, self._expiring, self._of_strangers):
                entries.pop(key, None)
            if value is not None:
                self._keep(key, value, ttl)
        return result

    def close(self) -> None:
        """Nothing is held."""

    def _value(self, key: str) -> bytes | None:
        lasting = self._kept.get(key) or self._expiring.get(key)
        entry = lasting or self._of_strangers.get(key)
        if entry is None or entry.expires_at <= self._clock():
            return None
        return entry.value

    def _keep(self, key: str, value: bytes, ttl: float | None) -> None:
        if ttl is None:
            self._kept[key] = _Entry(value, inf)
            return
        is_strangers = key.startswith(STRANGERS)
        entries = self._of_strangers if is_strangers else self._expiring
        entries[key] = _Entry(value, self._clock() + ttl)
        if len(entries) > (MAX_STRANGERS if is_strangers else self._max_expiring):
            entries.popitem(last=False)  # the one that was longest untouched


def check_size(value: bytes | None) -> None:
    """Raise ValueError for a value that no implementation need be able to keep."""
    if value is not None and len(value) > MAX_VALUE:
        raise ValueError(f"a shared value has at most {MAX_VALUE} bytes")
