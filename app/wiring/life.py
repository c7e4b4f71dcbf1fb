"""Life: the beginnings and ends of a gateway, and its settings, put on record once.

All workers of a host begin and end with it, and one record tells of that.
"""

import json
from hashlib import sha256
from typing import Any
from uuid import uuid4

from app.gateway.records.events import Events
from app.gateway.shared import SharedState
from app.settings import Settings, in_force
from app.version import VERSION
from app.wiring import parts

_RUN = "events:run"
_JUMP = "events:jump"
# Workers notice that the clock was set within a second of one another.
SAME_JUMP = 5.0


class Life:
    """Tells of the run that this process belongs to; an empty one is its own.

    It is told, too, of gaps of the audit and of jumps of the clock (`WriterEvents`).
    """

    def __init__(
        self, run: str, events: Events, shared: SharedState, settings: Settings
    ) -> None:
        self._run = run or uuid4().hex
        self._events, self._shared, self._settings = events, shared, settings
        self.digest, self._told = config_facts(settings)

    def begun(self) -> None:
        """Note the start and the settings, unless another worker has done so."""
        mine = f"{self._run} {self.digest}".encode()
        before = self._shared.update(_RUN, lambda raw: (mine, raw)) or b""
        if before == mine:
            return
        if not before.startswith(self._run.encode()):
            self._events.started(VERSION, self._settings.workers)
        self._events.config_loaded(self.digest, self._told)

    def ended(self) -> None:
        """Note the end of the gateway, unless another worker has done so."""
        over = b"over"
        if self._shared.update(_RUN, lambda raw: (over, raw)) != over:
            self._events.stopped()

    def audit_gap(self, gap: Any) -> None:
        """See WriterEvents; each process has gaps of its own."""
        self._events.audit_gap(gap)

    def clock_jumped(self, seconds: float) -> None:
        """See WriterEvents; all workers of a host see the same jump."""
        if self._shared.update(_JUMP, lambda raw: (b"1", raw is None), SAME_JUMP):
            self._events.clock_jumped(seconds)


def config_facts(settings: Settings) -> tuple[str, dict[str, Any]]:
    """The digest of the settings in force, and these, without any secret."""
    told = parts.redactor(settings).value(in_force(settings))
    text = json.dumps(told, sort_keys=True, default=str)
    return sha256(text.encode()).hexdigest()[:16], told
