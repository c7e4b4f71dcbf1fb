"""Breaker records: transitions of circuit breakers, kept among the records of chats.

Each is a record of its own, found by the correlation id of the chat that caused it,
so that the trail alone explains why an upstream was passed over.
"""

import json
from collections.abc import Callable
from time import time

from app.gateway import correlation
from app.gateway.guard.breaker import NAMES, Transition
from app.gateway.records.audit import Closing, Intent, Trail, new_audit_id

ROUTE = "breaker"
CALLER = "gateway"
OUTCOME = "event"  # nobody asked for an answer


class RecordedTransitions:
    """A listener that records transitions without a wait. Threads may share it."""

    def __init__(self, trail: Trail, wall_clock: Callable[[], float] = time) -> None:
        self._trail = trail
        self._wall_clock = wall_clock

    def __call__(self, transition: Transition) -> None:
        """Note one; the code names the phase that was entered.

        The request names the caller whose circuit it is, if it is not everybody's.
        """
        now = self._wall_clock()
        phase = NAMES[transition.after].replace("-", "_")
        intent = Intent(
            id=new_audit_id(now),
            correlation_id=correlation.current.get(),
            session_id="",
            caller=CALLER,
            route=ROUTE,
            opened_at=now,
            request=json.dumps(
                {} if transition.caller is None else {"caller": transition.caller}
            ),
        )
        closing = Closing(
            outcome=OUTCOME,
            code=f"circuit_{phase}",
            status=0,
            duration=0.0,
            closed_at=now,
            provider=transition.upstream,
        )
        self._trail.note(intent, closing)
