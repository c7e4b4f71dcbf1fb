"""Prober: asks upstreams for their health in the background.

A probe is a GET and never costs a completion. All workers of the host keep one
timetable: whoever finds an upstream due takes that probe, under a lease, so there is
one probe per interval however many they are, and if the one who took it dies or
freezes the next does it when the lease is over.
"""

import logging
import random
import struct
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Condition, Lock, Thread
from time import monotonic

from app.gateway.budget import Budget, Clock
from app.gateway.errors import GatewayError
from app.gateway.guard.health import TTL, HealthBoard
from app.gateway.shared import SharedState

log = logging.getLogger(__name__)

# All times are in seconds.
REFRESH = 0.8 * TTL  # a healthy upstream is asked again before its verdict expires
RECHECK = 1.0  # an unhealthy one every second, so that its recovery is seen soon
PROBE_LIMIT = 2.0  # a /health that takes longer is the sign of a hang
LEASE_MARGIN = 1.0  # so long after its limit a probe that was taken is due again
TICK = 0.25  # how often the timetable is looked at: others may have changed it
INQUIRY_INTERVAL = 1.0  # an answer that is not older serves for the next inquiry
PARALLEL_PROBES = 8  # hanging probes must not hold up the others

_DUE = struct.Struct("<d?")

Probe = Callable[[Budget], None]


@dataclass(frozen=True, slots=True)
class _Inquiry:
    began: float
    answer: "Future[bool]"

    def serves(self, now: float) -> bool:
        return not self.answer.done() or now - self.began < INQUIRY_INTERVAL


class Prober:
    """Keeps the board's verdicts fresh. One per process; threads may share it.

    `probes` maps an upstream's name to a call that returns when it is alive and
    raises a GatewayError when it is not, within `limit` seconds. Call `start` after
    the fork.
    """

    def __init__(
        self,
        board: HealthBoard,
        probes: Mapping[str, Probe],
        shared: SharedState,
        *,
        limit: float = PROBE_LIMIT,
        clock: Clock = monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._board = board
        self._probes = probes
        self._shared = shared
        self._limit = limit
        self._clock = clock
        self._jitter = jitter
        self._inquiries: dict[str, _Inquiry] = {}
        self._lock = Lock()  # guards the inquiries
        self._wake = Condition()
        self._stopped = False
        self._pool = ThreadPoolExecutor(PARALLEL_PROBES, thread_name_prefix="probe")
        self._thread = Thread(target=self._run, name="prober", daemon=True)
        board.on_failure(self._hasten)

    def start(self) -> None:
        """Begin to probe; an upstream of which nothing is known is asked at once.

        What other processes know is known here before this returns.
        """
        self._board.refresh(self._probes)
        self._thread.start()

    def stop(self) -> None:
        """End the background work; probes under way are not waited for."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def probe(self, upstream: str) -> bool:
        """Ask one upstream now, record what it says, and return whether it is alive."""
        fault = self._fault(upstream)
        self._board.note(upstream, fault)
        pause = RECHECK if fault else REFRESH
        due = self._shared.now() + pause * self._jitter(0.9, 1.1)
        self._shared.update(_key(upstream), lambda _: (_DUE.pack(due, False), None))
        return fault is None

    def inquire(self, upstream: str) -> "Future[bool]":
        """Have one upstream asked now, in the background; True will mean alive.

        Inquiries at the same time share one answer. An upstream without a probe is
        not asked, and never answers: nobody may take it for dead.
        """
        if upstream not in self._probes:
            return Future()
        now = self._shared.now()
        with self._lock:
            known = self._inquiries.get(upstream)
            if known is None or not known.serves(now):
                known = _Inquiry(now, self._submitted(upstream))
                self._inquiries[upstream] = known
            return known.answer

    def take_due(self) -> list[str]:
        """Take the probes that are due now, so that nobody else does them too."""
        return [
            name for name in self._probes if self._is_due(name) and self._take(name)
        ]

    def _submitted(self, upstream: str) -> "Future[bool]":
        try:
            return self._pool.submit(self.probe, upstream)
        except RuntimeError:  # we are stopping, or the system gives no thread
            return Future()

    def _fault(self, upstream: str) -> str | None:
        try:
            self._probes[upstream](Budget(self._limit, clock=self._clock))
        except GatewayError as error:
            return str(error)
        except Exception:
            log.exception("The health probe of %s broke", upstream)
            return "probe_broke"
        return None

    def _is_due(self, upstream: str) -> bool:
        return _due(self._shared.read(_key(upstream)))[0] <= self._shared.now()

    def _take(self, upstream: str) -> bool:
        now = self._shared.now()

        def take(raw: bytes | None) -> tuple[bytes | None, bool]:
            if _due(raw)[0] > now:
                return raw, False
            return _DUE.pack(now + self._limit + LEASE_MARGIN, True), True

        return self._shared.update(_key(upstream), take)

    def _hasten(self, upstream: str) -> None:
        """Something just failed there: ask soon, not at the end of the verdict."""
        soon = self._shared.now() + RECHECK * self._jitter(0.9, 1.1)

        def hasten(raw: bytes | None) -> tuple[bytes | None, None]:
            due, is_taken = _due(raw)
            if is_taken or due <= soon:
                return raw, None
            return _DUE.pack(soon, False), None

        self._shared.update(_key(upstream), hasten)

    def _run(self) -> None:
        while not self._stopped:
            try:
                self._board.refresh(self._probes)
                for upstream in self.take_due():
                    self._submitted(upstream)
            except Exception:
                log.exception("The prober broke, and goes on")
            with self._wake:
                if not self._stopped:
                    self._wake.wait(TICK)


def _due(raw: bytes | None) -> tuple[float, bool]:
    """When a probe is due, and whether somebody has taken it."""
    due, is_taken = _DUE.unpack(raw) if raw else (0.0, False)
    return due, is_taken


def _key(upstream: str) -> str:
    return f"probe:{upstream}"
