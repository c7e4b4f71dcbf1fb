"""CallHistory: how the calls to each upstream have lately ended, for all workers.

Health says whether a server is there; the history says whether its answers are any
good, and whether callers got one at all.
"""

import struct
from dataclasses import dataclass, replace

from app.gateway import error_categories as categories
from app.gateway.chain.metered import Ending
from app.gateway.chat import Attempt, ChatRequest
from app.gateway.guard.blame import BLAME, Blame
from app.gateway.shared import SharedState

# A success is no news if the last one is not older than so many seconds.
NEWS = 3.0
# Seconds after which chats without an answer are no longer of the present.
RECENT = 60.0

_CALLS = struct.Struct("<Iddd")
_UNANSWERED = struct.Struct("<Idd")
_NOTHING = -1.0


@dataclass(frozen=True, slots=True)
class RecentCalls:
    """The newest calls to one upstream; times are those of the shared clock.

    `failures` counts those since the last success, `since` is when the first of them
    ended, and `fault` is the class of the newest one, `correlation_id` that of its
    chat. `succeeded_at` and `failed_at` are None where there was none.
    """

    failures: int = 0
    since: float = _NOTHING
    succeeded_at: float | None = None
    failed_at: float | None = None
    fault: str = ""
    correlation_id: str = ""

    def encode(self) -> bytes:
        """The same as bytes."""
        times = (
            _NOTHING if t is None else t for t in (self.succeeded_at, self.failed_at)
        )
        told = f"{self.fault}\n{self.correlation_id}"
        return _CALLS.pack(self.failures, self.since, *times) + told.encode()

    @classmethod
    def decode(cls, raw: bytes | None) -> "RecentCalls":
        """What `encode` made; None stands for no call at all."""
        if raw is None:
            return cls()
        failures, since, *times = _CALLS.unpack_from(raw)
        good, bad = (None if t == _NOTHING else t for t in times)
        fault, _, correlation_id = raw[_CALLS.size :].decode().partition("\n")
        return cls(failures, since, good, bad, fault, correlation_id)


_UNSEEN = None, RecentCalls()


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Chats that ended without an answer because of the upstreams, one after another.

    `since` and `newest` are times of the shared clock.
    """

    chats: int = 0
    since: float = 0.0
    newest: float = 0.0


class CallHistory:
    """An observer of chats that keeps how calls end. Threads and processes share it."""

    def __init__(self, shared: SharedState) -> None:
        self._shared = shared
        # What was read last of each upstream, as it lay there.
        self._seen: dict[str, tuple[bytes | None, RecentCalls]] = {}

    def ended(self, ending: Ending) -> None:
        """See Observer."""
        for attempt in ending.reply.attempts:
            self._note(attempt, ending.request.correlation_id)
        if ending.error_type.startswith("upstream_"):
            self._note_unanswered()

    def refused(self, request: ChatRequest, error_type: str) -> None:
        """See Observer; no upstream was asked."""

    def recent(self, upstream: str) -> RecentCalls:
        """Return how the newest calls to an upstream ended."""
        raw = self._shared.read(_key(upstream))
        seen, calls = self._seen.get(upstream, _UNSEEN)
        if raw != seen:
            calls = RecentCalls.decode(raw)
            self._seen[upstream] = raw, calls
        return calls

    def unanswered(self) -> Unanswered:
        """Return the chats of the last minute that nobody answered, if any."""
        raw = self._shared.read("unanswered")
        known = Unanswered(*_UNANSWERED.unpack(raw)) if raw else Unanswered()
        is_over = self._shared.now() - known.newest > RECENT
        return Unanswered() if is_over else known

    def _note(self, attempt: Attempt, correlation_id: str) -> None:
        """Keep what an attempt says of its upstream, unless it says nothing."""
        now, fault = self._shared.now(), attempt.fault
        if fault is None:
            known = self.recent(attempt.upstream)
            good = known.succeeded_at
            if not known.failures and good is not None and now - good < NEWS:
                return
        elif not says_something(fault):
            return

        def change(raw: bytes | None) -> tuple[bytes, None]:
            known = RecentCalls.decode(raw)
            if fault is None:
                after = replace(known, failures=0, since=_NOTHING, succeeded_at=now)
            else:
                since = known.since if known.failures else now
                count = min(known.failures + 1, 0xFFFFFFFF)
                good = known.succeeded_at
                after = RecentCalls(count, since, good, now, fault, correlation_id)
            return after.encode(), None

        self._shared.update(_key(attempt.upstream), change)

    def _note_unanswered(self) -> None:
        now = self._shared.now()

        def change(raw: bytes | None) -> tuple[bytes, None]:
            known = Unanswered(*_UNANSWERED.unpack(raw)) if raw else Unanswered()
            if now - known.newest > RECENT:
                known = Unanswered(0, now, now)
            return _UNANSWERED.pack(known.chats + 1, known.since, now), None

        self._shared.update("unanswered", change)


def says_something(fault: str) -> bool:
    """Whether a fault tells of its upstream: it was asked, and is to blame."""
    if categories.of_fault(fault) == categories.NEVER_SENT:
        return False
    return BLAME.get(fault, Blame.REQUEST) is not Blame.REQUEST


def _key(upstream: str) -> str:
    return f"history:{upstream}"
