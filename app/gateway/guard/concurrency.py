"""ConcurrencyLimit: how many calls an upstream gets at once, from the whole host.

Where hosts share it, from all of them.
"""

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from math import ceil
from threading import Event, Lock
from typing import NamedTuple

from app.gateway.budget import Budget
from app.gateway.errors import NeverSent
from app.gateway.guard.host_places import HostPlaces
from app.gateway.shared import MAX_VALUE, SharedState

MOST = MAX_VALUE // 4  # calls that can be counted
TENTHS = 10  # leases end at whole tenths of a second
RETRY_AFTER = 1.0  # seconds; when a call will end is not known
LOOK_EVERY = 0.05  # seconds; another process tells nobody of a slot that became free
# Where there are several callers, the share of the slots, and of the places in the
# line, that one of them may hold: 5 of 8, 1 of 2.
SHARE = 2 / 3
KEPT = 300.0  # seconds that one caller's count is kept after the last change of it

Leases = tuple[int, ...]


class Slot(NamedTuple):
    """A slot that a caller holds until `end`, in tenths of a second."""

    end: int
    caller: str


def share(places: int) -> int:
    """How many of so many places one caller may hold beside others; at least one."""
    return max(1, int(places * SHARE))


class _Waiter(NamedTuple):
    caller: str
    event: Event


class _Line:
    """Those of a process who wait for a slot, in the order in which they came."""

    def __init__(self) -> None:
        self._waiters: deque[_Waiter] = deque()
        self._lock = Lock()  # guards the line; never held during a wait

    def join(self, caller: str, longest: int | None, of_one: int | None) -> _Waiter:
        """Wait at its end; NeverSent if it, or the caller's part of it, is full."""
        with self._lock:
            his = sum(waiter.caller == caller for waiter in self._waiters)
            is_his_full = of_one is not None and his >= of_one
            if longest is not None and (is_his_full or len(self._waiters) >= longest):
                raise NeverSent("no_slot", retry_after=RETRY_AFTER)
            self._waiters.append(mine := _Waiter(caller, Event()))
            return mine

    def leave(self, waiter: _Waiter) -> None:
        """Wait no longer."""
        with self._lock:
            self._waiters.remove(waiter)

    def callers_before(self, mine: _Waiter | None = None) -> set[str]:
        """Who waits before that one; all who wait, without one."""
        with self._lock:
            before = takewhile(lambda waiter: waiter is not mine, self._waiters)
            return {waiter.caller for waiter in before}

    def wake(self) -> None:
        """Wake the first waiter of each caller: which of them may go on, each sees."""
        with self._lock:
            firsts: dict[str, Event] = {}
            for waiter in self._waiters:
                firsts.setdefault(waiter.caller, waiter.event)
        for event in firsts.values():
            event.set()


class ConcurrencyLimit:
    """A limit on the calls to one upstream at once, for all workers of a host.

    Each call holds a lease that ends by itself, so what a killed or frozen worker
    held comes back without anybody looking for it. `limit` is at most MOST; None is
    no limit, and costs nothing. Those of a process who wait for a slot get one in the
    order in which they came; `pause` waits for an event, or for so many seconds. Where
    hosts share the upstream, `places` says how many of them this one has. With
    `has_several_callers` no caller holds more than his share, so that the slow calls
    of one leave a slot to the others; who waits for his own share is passed by.
    Threads and, by `shared`, processes share it.
    """

    def __init__(
        self,
        upstream: str,
        shared: SharedState,
        limit: int | None,
        pause: Callable[[Event, float], object] = Event.wait,
        *,
        has_several_callers: bool = False,
        places: HostPlaces | None = None,
    ) -> None:
        self._places = places
        self._key = f"calls:{upstream}"
        self._has_several_callers = has_several_callers
        self._shared = shared
        self._limit = limit
        self._pause = pause
        self._line = _Line()

    @property
    def limit(self) -> int | None:
        """How many calls there may be at the same time; None: as many as come."""
        return self._limit

    @property
    def running(self) -> int:
        """How many there are now, from the whole host; not counted without a limit."""
        now = self._shared.now() * TENTHS
        return sum(end > now for end in _decoded(self._shared.read(self._key)))

    def acquire(self, lease: float, caller: str = "") -> Slot | None:
        """Take a slot for a call that is over in `lease` seconds; never wait.

        Returns what `release` wants. Raises NeverSent if there is none, or if there
        are others who wait for it.
        """
        if self._limit is None:
            return None
        is_next = self._is_next(caller, self._line.callers_before())
        slot = self._take(self._limit, lease, caller) if is_next else None
        if slot is None:
            raise NeverSent("no_slot", retry_after=RETRY_AFTER)
        return slot

    def wait_for(
        self,
        lease: float,
        budget: Budget,
        caller: str = "",
        *,
        longest_line: int | None = None,
        is_moot: Callable[[], bool] = lambda: False,
    ) -> Slot | None:
        """Take a slot, and wait for one until the budget is used up.

        Raises NeverSent if there is none by then, or at once if more than
        `longest_line` wait already, and what the budget's checks raise. Returns None
        once `is_moot` says that no slot is needed any more.
        """
        if self._limit is None:
            return None
        of_one = share(longest_line or 0) if self._has_several_callers else None
        mine = self._line.join(caller, longest_line, of_one)
        try:
            return self._waited(self._limit, lease, budget, mine, is_moot)
        finally:
            self._line.leave(mine)
            self._line.wake()

    def _waited(
        self,
        limit: int,
        lease: float,
        budget: Budget,
        mine: _Waiter,
        is_moot: Callable[[], bool],
    ) -> Slot | None:
        while not is_moot():
            is_next = self._is_next(mine.caller, self._line.callers_before(mine))
            if is_next and (slot := self._take(limit, lease, mine.caller)):
                return slot
            if budget.remaining() <= 0:
                raise NeverSent("no_slot", retry_after=RETRY_AFTER)
            budget.check()
            self._pause(mine.event, min(LOOK_EVERY, budget.remaining()))
            mine.event.clear()
        return None

    def _is_next(self, caller: str, before: set[str]) -> bool:
        """Whether all who wait before a caller are others, whose shares are used."""
        return caller not in before and not any(map(self._may_have_more, before))

    def _may_have_more(self, caller: str) -> bool:
        if self._limit is None or not self._has_several_callers:
            return True
        now = self._shared.now() * TENTHS
        held = sum(end > now for end in _decoded(self._shared.read(self._own(caller))))
        return held < share(self._limit)

    def _own(self, caller: str) -> str:
        return f"{self._key}/{caller}"

    def _take(self, limit: int, lease: float, caller: str) -> Slot | None:
        """A slot, within the caller's share and the limit; None: all are taken."""
        end = ceil((self._shared.now() + lease) * TENTHS)
        if not self._has_several_callers:
            return Slot(end, caller) if self._count_place(limit, end) else None
        own = self._own(caller)
        if not self._count(own, share(limit), end, KEPT):
            return None
        if not self._count_place(limit, end):
            self._give_back(own, end, KEPT)
            return None
        return Slot(end, caller)

    def _count_place(self, limit: int, end: int) -> bool:
        """Count a call, if the upstream, or this host at it, has a place for one."""
        if self._places is None:
            return self._count(self._key, limit, end)
        held = min(limit, self._places.allowed())
        if held and self._count(self._key, held, end):
            return True
        running = self.running
        if running >= limit:
            return False
        held = min(limit, self._places.ask(running))
        return held > 0 and self._count(self._key, held, end)

    def _count(self, key: str, limit: int, end: int, ttl: float | None = None) -> bool:
        """Count one that ends then, if fewer than `limit` are running."""
        now = self._shared.now() * TENTHS

        def take(raw: bytes | None) -> tuple[bytes | None, bool]:
            running = tuple(e for e in _decoded(raw) if e > now)
            if len(running) >= limit:
                return _encoded(running), False
            return _encoded((*running, end)), True

        return self._shared.update(key, take, ttl)

    def renew(self, slot: Slot | None, lease: float) -> Slot | None:
        """Hold a slot for `lease` more seconds from now; returns it anew."""
        if slot is None:
            return None
        end = ceil((self._shared.now() + lease) * TENTHS)

        def prolong(raw: bytes | None) -> tuple[bytes | None, None]:
            running = list(_decoded(raw))
            if slot.end in running:
                running.remove(slot.end)
            return _encoded((*running[: MOST - 1], end)), None

        self._shared.update(self._key, prolong)
        if self._has_several_callers:
            self._shared.update(self._own(slot.caller), prolong, KEPT)
        return Slot(end, slot.caller)

    def release(self, slot: Slot | None) -> None:
        """Give the slot back; harmless if its lease is over."""
        if slot is None:
            return
        self._give_back(self._key, slot.end)
        if self._has_several_callers:
            self._give_back(self._own(slot.caller), slot.end, KEPT)
        self._line.wake()

    def _give_back(self, key: str, end: int, ttl: float | None = None) -> None:
        def give_back(raw: bytes | None) -> tuple[bytes | None, None]:
            running = list(_decoded(raw))
            if end in running:
                running.remove(end)  # two with the same end are worth the same
            return _encoded(tuple(running)), None

        self._shared.update(key, give_back, ttl)


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
