"""Health: the verdict on each upstream, shared by all workers of the host.

Readers take this process's copy of the verdict; they never probe and never wait.
"""

import logging
import struct
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from threading import Lock

from cachetools import TTLCache

from app.gateway.shared import SharedState

log = logging.getLogger(__name__)

TTL = 30.0  # seconds that a verdict is believed (docs/limits.md)
# A sign of life is no news if the last one is not older than so many seconds.
NEWS = 3.0

_VERDICT = struct.Struct("<?dd")

Listener = Callable[[str], None]
TurnListener = Callable[[str, str | None], None]


@dataclass(frozen=True, slots=True)
class HealthStatus:
    """The latest verdict on an upstream, and when it was reached.

    `since` is when it turned out so, `noted` when it was last confirmed, both on the
    shared clock.
    """

    is_healthy: bool
    reason: str
    since: float
    noted: float

    def encode(self) -> bytes:
        """The same as bytes."""
        head = _VERDICT.pack(self.is_healthy, self.since, self.noted)
        return head + self.reason.encode()[:100]

    @classmethod
    def decode(cls, raw: bytes) -> "HealthStatus":
        """What `encode` made."""
        is_healthy, since, noted = _VERDICT.unpack_from(raw)
        reason = raw[_VERDICT.size :].decode(errors="replace")
        return cls(is_healthy, reason, since, noted)


class HealthBoard:
    """The latest verdicts. Threads and, by `shared`, processes share it.

    What this process notes it knows at once; what others note, at the next `refresh`,
    which the prober calls four times a second.

    Of the upstreams in `unprobed` nothing is ever known: no probe would take back
    what one call says of them.

    TTLCache corrupts for good when used without a lock (cachetools 8, measured),
    so this class is the only way to it.
    """

    def __init__(
        self,
        shared: SharedState,
        ttl: float = TTL,
        *,
        unprobed: Collection[str] = (),
    ) -> None:
        self._shared = shared
        self._ttl = ttl
        self._unprobed = frozenset(unprobed)
        self._copy: TTLCache[str, HealthStatus] = TTLCache(4096, ttl, timer=shared.now)
        self._lock = Lock()  # guards the copy
        self._on_failure: list[Listener] = []
        self._on_recovery: list[Listener] = []
        self._on_turn: list[TurnListener] = []

    def on_failure(self, listener: Listener) -> None:
        """Call the listener with the name of each upstream that turns unhealthy."""
        self._on_failure.append(listener)

    def on_recovery(self, listener: Listener) -> None:
        """Call the listener with the name of each that is healthy after all."""
        self._on_recovery.append(listener)

    def on_turn(self, listener: TurnListener) -> None:
        """Call it with the name of each whose verdict turns, and why it is out or None.

        It is called once on a host, by the process that noted it; it must not wait.
        """
        self._on_turn.append(listener)

    def is_probed(self, upstream: str) -> bool:
        """Whether the upstream is ever asked for its health."""
        return upstream not in self._unprobed

    def verdict(self, upstream: str) -> HealthStatus | None:
        """Return the verdict, or None if nothing is known or it has expired."""
        with self._lock:
            return self._copy.get(upstream)

    def refresh(self, upstreams: Iterable[str]) -> None:
        """Take over what other processes have noted of these; for the background."""
        for upstream in set(upstreams) - self._unprobed:
            with self._lock:  # or an older verdict might replace one noted meanwhile
                raw = self._shared.read(_key(upstream))
                if raw is None:
                    self._copy.pop(upstream, None)
                elif (verdict := HealthStatus.decode(raw)) != self._copy.get(upstream):
                    self._copy[upstream] = verdict

    def note(self, upstream: str, reason: str | None) -> None:
        """Record a sign of life (`reason` None) or that the upstream is out."""
        if upstream in self._unprobed:
            return
        now = self._shared.now()
        known = self.verdict(upstream)
        is_old = known is None or now - known.noted > NEWS
        if not is_old and reason is None and known and known.is_healthy:
            return

        def change(
            raw: bytes | None,
        ) -> tuple[bytes, tuple[HealthStatus | None, HealthStatus]]:
            before = HealthStatus.decode(raw) if raw else None
            same = before is not None and before.is_healthy == (reason is None)
            since = before.since if before and same else now
            after = HealthStatus(reason is None, reason or "ok", since, now)
            return after.encode(), (before, after)

        before, after = self._shared.update(_key(upstream), change, self._ttl)
        with self._lock:
            self._copy[upstream] = after
        self._tell(upstream, before, reason)

    def _tell(
        self, upstream: str, before: HealthStatus | None, reason: str | None
    ) -> None:
        """Say so if the verdict has changed; that all is well at first is no news."""
        was_healthy = before is None or before.is_healthy
        if was_healthy == (reason is None):
            return
        level = logging.WARNING if reason else logging.INFO
        state = f"is down: {reason}" if reason else "is healthy again"
        log.log(level, "Upstream %s %s", upstream, state)
        for turned in self._on_turn:
            turned(upstream, reason)
        for listener in self._on_failure if reason else self._on_recovery:
            listener(upstream)


def _key(upstream: str) -> str:
    return f"health:{upstream}"
