"""ConcurrencyLimit: how many calls an upstream gets at once, from the whole host."""

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from threading import Event, Lock

from app.gateway.budget import Budget
from app.gateway.errors import NeverSent
from app.gateway.shared import MAX_VALUE, SharedState

MOST = MAX_VALUE // 4  # calls that can be counted
TENTHS = 10  # leases end at whole tenths of a second
RETRY_AFTER = 1.0  # seconds; when a call will end is not known
LOOK_EVERY = 0.05  # seconds; another process tells nobody of a slot that became free

Leases = tuple[int, ...]


class ConcurrencyLimit:
    """A limit on the calls to one upstream at once, for all workers of a host.

    Each call holds a lease that ends by itself, so what a killed or frozen worker
    held comes back without anybody looking for it. `limit` is at most MOST; None is
    no limit, and costs nothing. Those of a process who wait for a slot get one in the
    order in which they came; `pause` waits for an event, or for so many seconds.
    Threads and, by `shared`, processes share it.
    """

    def __init__(
        self,
        upstream: str,
        shared: SharedState,
        limit: int | None,
        pause: Callable[[Event, float], object] = Event.wait,
    ) -> None:
        self._key = f"calls:{upstream}"
        self._shared = shared
        self._limit = limit
        self._pause = pause
        self._line: deque[Event] = deque()
        self._lock = Lock()  # guards the line; never held during a wait

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

        Returns what `release` wants. Raises NeverSent if there is none, or if there
        are others who wait for it.
        """
        if self._limit is None:
            return None
        slot = None if self._line else self._take(self._limit, lease)
        if slot is None:
            raise NeverSent("no_slot", retry_after=RETRY_AFTER)
        return slot

    def wait_for(
        self,
        lease: float,
        budget: Budget,
        *,
        longest_line: int | None = None,
        is_moot: Callable[[], bool] = lambda: False,
    ) -> int | None:
        """Take a slot, and wait for one until the budget is used up.

        Raises NeverSent if there is none by then, or at once if more than
        `longest_line` wait already, and what the budget's checks raise. Returns None
        once `is_moot` says that no slot is needed any more.
        """
        if self._limit is None:
            return None
        mine = Event()
        with self._lock:
            if longest_line is not None and len(self._line) >= longest_line:
                raise NeverSent("no_slot", retry_after=RETRY_AFTER)
            self._line.append(mine)
        try:
            return self._waited(self._limit, lease, budget, mine, is_moot)
        finally:
            with self._lock:
                self._line.remove(mine)
            self._call_next()

    def _waited(
        self,
        limit: int,
        lease: float,
        budget: Budget,
        mine: Event,
        is_moot: Callable[[], bool],
    ) -> int | None:
        while not is_moot():
            is_first = self._line[0] is mine
            if is_first and (slot := self._take(limit, lease)) is not None:
                return slot
            if budget.remaining() <= 0:
                raise NeverSent("no_slot", retry_after=RETRY_AFTER)
            budget.check()
            self._pause(mine, min(LOOK_EVERY, budget.remaining()))
            mine.clear()
        return None

    def _call_next(self) -> None:
        with self._lock:
            if self._line:
                self._line[0].set()

    def _take(self, limit: int, lease: float) -> int | None:
        """A slot, as the tenth of a second in which its lease ends; None: all taken."""
        now = self._shared.now() * TENTHS
        end = ceil(now + lease * TENTHS)

        def take(raw: bytes | None) -> tuple[bytes | None, bool]:
            running = tuple(e for e in _decoded(raw) if e > now)
            if len(running) >= limit:
                return _encoded(running), False
            return _encoded((*running, end)), True

        return end if self._shared.update(self._key, take) else None

    def renew(self, slot: int | None, lease: float) -> int | None:
        """Hold a slot for `lease` more seconds from now; returns it anew."""
        if slot is None:
            return None
        end = ceil((self._shared.now() + lease) * TENTHS)

        def prolong(raw: bytes | None) -> tuple[bytes | None, None]:
            running = list(_decoded(raw))
            if slot in running:
                running.remove(slot)
            return _encoded((*running[: MOST - 1], end)), None

        self._shared.update(self._key, prolong)
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
        self._call_next()


@dataclass(frozen=True, slots=True)
class ConcurrencyLimits:
    """The two limits of an upstream: on all of its calls, and on the extra ones.

    Extra calls are made for want of another upstream, although a circuit or a verdict
    speaks against them.
    """

    calls: ConcurrencyLimit
    extra: ConcurrencyLimit


def _decoded(raw: bytes | None) -> Leases:
    return struct.unpack(f"<{len(raw) // 4}I", raw) if raw else ()


def _encoded(leases: Leases) -> bytes | None:
    return struct.pack(f"<{len(leases)}I", *leases) if leases else None
