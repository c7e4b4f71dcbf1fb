"""Events: what happened to the gateway itself, kept among the records of chats.

Each is a record of its own, so that the trail alone explains why chats went wrong. One
that a chat caused has that chat's correlation id.
"""

import json
from collections.abc import Callable, Mapping
from threading import Lock
from time import monotonic, time
from typing import Any

from app.gateway import correlation
from app.gateway.access.tally import MINUTE, Later, Tally, by_timer
from app.gateway.budget import Clock
from app.gateway.guard.breaker import NAMES, Transition
from app.gateway.records.audit import Closing, Intent, Trail, new_audit_id

EVENT = "event"  # the outcome: nobody asked for an answer
CALLER = "gateway"
# The routes of events, one for each kind of thing that happens.
BREAKER, HEALTH, CONFIG = "breaker", "health", "config"
PROCESS, AUDIT, CLOCK = "process", "audit", "clock"
TOKENS = "tokens"  # whose caller is who changed them (see TokenIssuer)
# What their codes say.
UP, DOWN, LOADED = "upstream_up", "upstream_down", "config_loaded"
STARTED, STOPPED = "gateway_started", "gateway_stopped"
GAP, JUMPED, LEFT_OUT = "audit_gap", "clock_jumped", "events_left_out"

# Of one route this many a minute are on record in full, by each process. What is
# beyond is a sum: a circuit that flaps for hours must not fill the disk.
MOST = 60

NOTHING: Mapping[str, Any] = {}


class Events:
    """Puts events on record without a wait, and raises nothing. Threads may share it.

    Of one route at most MOST a minute are recorded in full; of the others one record
    says how many they were.
    """

    def __init__(
        self,
        trail: Trail,
        wall_clock: Callable[[], float] = time,
        clock: Clock = monotonic,
        later: Later = by_timer,
    ) -> None:
        self._trail = trail
        self._wall_clock = wall_clock
        self._clock = clock
        self._lock = Lock()  # guards the counts of this minute
        self._minute = clock()
        self._counts: dict[str, int] = {}
        self._left_out = Tally(self._note_left_out, later)

    def breaker_moved(self, transition: Transition) -> None:
        """Note a move of a circuit; the code names the phase that was entered.

        The facts name the caller whose circuit it is, if it is not everybody's.
        """
        phase = NAMES[transition.after].replace("-", "_")
        whose = {} if transition.caller is None else {"caller": transition.caller}
        self._note(BREAKER, f"circuit_{phase}", whose, transition.upstream)

    def verdict_turned(self, upstream: str, reason: str | None) -> None:
        """Note that an upstream is out for this reason; None: that it is back."""
        if reason is None:
            self._note(HEALTH, UP, upstream=upstream)
        else:
            self._note(HEALTH, DOWN, {"reason": reason}, upstream)

    def started(self, version: str, workers: int) -> None:
        """Note that the gateway as a whole has started."""
        self._note(PROCESS, STARTED, {"version": version, "workers": workers})

    def stopped(self) -> None:
        """Note that the gateway as a whole ends, as it was told to."""
        self._note(PROCESS, STOPPED)

    def config_loaded(self, digest: str, settings: Mapping[str, Any]) -> None:
        """Note with which settings, secrets masked, the gateway goes on."""
        self._note(CONFIG, LOADED, {"digest": digest, "settings": settings})

    def audit_gap(self, gap: Mapping[str, Any]) -> None:
        """Note that there was a time in which no record could be written."""
        self._note(AUDIT, GAP, gap)

    def clock_jumped(self, seconds: float) -> None:
        """Note that the wall clock was set, by so many seconds."""
        self._note(CLOCK, JUMPED, {"seconds": seconds})

    def close(self) -> None:
        """Record what was counted and is not on record yet."""
        self._left_out.close()

    def _note(
        self,
        route: str,
        code: str,
        facts: Mapping[str, Any] = NOTHING,
        upstream: str | None = None,
    ) -> None:
        if self._is_one_too_many(route) and not self._left_out.add(route):
            return
        self._record(route, code, facts, upstream)

    def _is_one_too_many(self, route: str) -> bool:
        with self._lock:
            if self._clock() - self._minute >= MINUTE:
                self._minute, self._counts = self._clock(), {}
            self._counts[route] = self._counts.get(route, 0) + 1
            return self._counts[route] >= MOST

    def _note_left_out(self, route: str, events: int) -> None:
        self._record(route, LEFT_OUT, {"events": events}, None)

    def _record(
        self, route: str, code: str, facts: Mapping[str, Any], upstream: str | None
    ) -> None:
        now = self._wall_clock()
        intent = Intent(
            id=new_audit_id(now),
            correlation_id=correlation.current.get(),
            session_id="",
            caller=CALLER,
            route=route,
            opened_at=now,
            request=json.dumps(facts),
        )
        closing = Closing(
            EVENT, status=0, duration=0.0, closed_at=now, code=code, provider=upstream
        )
        self._trail.note(intent, closing)
