"""HostPlaces: how many of an upstream's places this host may use, of all hosts'.

An upstream has so many places for the whole installation. A host holds those that its
calls take, asks for one more when it needs it, and says each second what it still uses;
what a dead host held is free again after the lease.
"""

import logging
import struct
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import NamedTuple

from app.gateway.access.pools import LEASE, Pools
from app.gateway.shared import SharedState

log = logging.getLogger(__name__)

BEAT = 1.0  # seconds between two words of what is used
SPARE = 2  # places that are held beyond those
ASK_EVERY = 0.1  # seconds between two questions, after one that was in vain
_FORM = struct.Struct("<Iddd")


class _Known(NamedTuple):
    """What a host knows: how many places it has until when, and when it last asked."""

    allowed: int = 0
    until: float = 0.0
    denied: float = -ASK_EVERY
    beaten: float = -BEAT

    @classmethod
    def of(cls, raw: bytes | None) -> "_Known":
        """Read what is stored; garbage is nothing."""
        if raw is None or len(raw) != _FORM.size:
            return cls()
        return cls(*_FORM.unpack(raw))


class HostPlaces:
    """The part of `limit` places that this host holds. Threads and processes share it.

    Where the engine that hosts share does not answer, what is held stays so for the
    lease; behind it the host has its share of the limit.
    """

    def __init__(self, key: str, limit: int, shared: SharedState, pools: Pools) -> None:
        self._key, self._limit = key, limit
        self._shared, self._pools = shared, pools
        self._since = shared.now()

    def allowed(self) -> int:
        """How many may be used now, as far as is known here; asks nobody."""
        known = self._known()
        return known.allowed if self._shared.now() < known.until else 0

    def ask(self, used: int) -> int:
        """Ask for a place more than are used; return how many there are then."""
        known = self._known()
        if 0 <= self._shared.now() - known.denied < ASK_EVERY:
            return self.allowed()
        return self._hold(used, used + 1)

    def beat(self, used: int) -> None:
        """Say what is still used, if anything is held, and nobody has just said so."""
        now = self._shared.now()

        def change(raw: bytes | None) -> tuple[bytes | None, bool]:
            known = _Known.of(raw)
            is_held = used > 0 or (known.allowed > 0 and now < known.until)
            if not is_held or 0 <= now - known.beaten < BEAT / 2:
                return raw, False
            return _FORM.pack(*known._replace(beaten=now)), True

        if self._shared.update(self._key, change):
            # Two more than now, if there were so many: calls come and go.
            self._hold(used, min(self.allowed(), used + SPARE))

    def _hold(self, used: int, want: int) -> int:
        found = self._pools.hold(self._key, self._limit, used, min(want, self._limit))
        if found is None:
            return self._alone()
        now = self._shared.now()

        def change(raw: bytes | None) -> tuple[bytes, None]:
            known = _Known.of(raw)._replace(allowed=found, until=now + LEASE)
            if found < want:
                known = known._replace(denied=now)
            return _FORM.pack(*known), None

        self._shared.update(self._key, change)
        return found

    def _alone(self) -> int:
        """Take the host's share, once what others held is over for certain."""
        known, now = self._known(), self._shared.now()
        if now < known.until:
            return known.allowed
        is_over = now >= max(known.until, self._since) + LEASE
        return self._limit // max(1, self._pools.sharers) if is_over else 0

    def _known(self) -> "_Known":
        return _Known.of(self._shared.read(self._key))


class PlacesBeat:
    """The thread of a process that says each second what its host still uses."""

    def __init__(self, held: Sequence[tuple[HostPlaces, Callable[[], int]]]) -> None:
        self._held, self._over = held, Event()
        self._thread = Thread(target=self._run, name="places", daemon=True)

    def start(self) -> None:
        """Start, if there is anything to be said."""
        if self._held:
            self._thread.start()

    def stop(self) -> None:
        """End soon; nothing is waited for."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(BEAT):
            for places, used in self._held:
                try:
                    places.beat(used())
                except Exception:
                    log.exception("Places could not be held")
