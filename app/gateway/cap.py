"""CallCap: how many calls an upstream gets at the same time, from the whole host."""

import struct
from math import ceil

from app.gateway.errors import NeverSent
from app.gateway.shared import MAX_VALUE, SharedState

MOST = MAX_VALUE // 4  # calls that can be counted
TENTHS = 10  # leases end at whole tenths of a second
RETRY_AFTER = 1.0  # seconds; when a call will end is not known

Leases = tuple[int, ...]


class CallCap:
    """Counts the calls to one upstream and refuses those above the limit.

    Each call holds a lease that ends by itself, so what a killed or frozen worker
    held comes back without anybody looking for it. `limit` is at most MOST; None is
    no limit, and costs nothing. Threads and, by `shared`, processes share it.
    """

    def __init__(self, upstream: str, shared: SharedState, limit: int | None) -> None:
        self._key = f"calls:{upstream}"
        self._shared = shared
        self._limit = limit

    @property
    def limit(self) -> int | None:
        """How many calls there may be at the same time; None: as many as come."""
        return self._limit

    @property
    def running(self) -> int:
        """How many there are now, from the whole host; not counted without a limit."""
        now = self._shared.now() * TENTHS
        return sum(end > now for end in _decoded(self._shared.read(self._key)))

    def acquire(self, lease: float) -> int | None:
        """Take a slot for a call that is over in `lease` seconds; never wait.

        Returns what `release` wants. Raises NeverSent if there is none.
        """
        limit = self._limit
        if limit is None:
            return None
        now = self._shared.now() * TENTHS
        end = ceil(now + lease * TENTHS)

        def take(raw: bytes | None) -> tuple[bytes | None, bool]:
            running = tuple(e for e in _decoded(raw) if e > now)
            if len(running) >= limit:
                return _encoded(running), False
            return _encoded((*running, end)), True

        if not self._shared.update(self._key, take):
            raise NeverSent("no_slot", retry_after=RETRY_AFTER)
        return end

    def release(self, slot: int | None) -> None:
        """Give the slot back; harmless if its lease is over."""
        if slot is None:
            return

        def give_back(raw: bytes | None) -> tuple[bytes | None, None]:
            running = list(_decoded(raw))
            if slot in running:
                running.remove(slot)  # two with the same end are worth the same
            return _encoded(tuple(running)), None

        self._shared.update(self._key, give_back)


def _decoded(raw: bytes | None) -> Leases:
    return struct.unpack(f"<{len(raw) // 4}I", raw) if raw else ()


def _encoded(leases: Leases) -> bytes | None:
    return struct.pack(f"<{len(leases)}I", *leases) if leases else None
