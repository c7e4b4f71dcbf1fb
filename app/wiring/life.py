"""Life: the beginnings and ends of a gateway, and its settings, put on record once.

All workers of a host begin and end with it, and one record tells of that.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from app.gateway.records.events import Events
from app.gateway.shared import SharedState
from app.settings import Settings, in_force
from app.settings.handed import START
from app.version import VERSION
from app.wiring import parts

_ENDED, _JUMPED = "events:ended", "events:jumped"
# Workers end, and notice that the clock was set, within so many seconds of one another.
SAME_END, SAME_JUMP = 60.0, 5.0


class Life:
    """Tells of the gateway as a whole, once on a host. Threads may share it.

    `news` is what this process is to tell of, as gunicorn's master said. It is told,
    too, of gaps of the audit and of jumps of the clock (`WriterEvents`).
    """

    def __init__(
        self, news: str, events: Events, shared: SharedState, settings: Settings
    ) -> None:
        self._news, self._events, self._shared = news, events, shared
        self._workers = settings.workers
        self.digest, self._told = config_facts(settings)

    def begun(self) -> None:
        """Note the start and the settings, if that is for this process to do."""
        if self._news == START:
            self._events.started(VERSION, self._workers)
        if self._news:
            self._events.config_loaded(self.digest, self._told)

    def ended(self) -> None:
        """Note the end of the gateway, unless another worker has done so."""
        if self._is_first(_ENDED, SAME_END):
            self._events.stopped()

    def audit_gap(self, gap: Mapping[str, Any]) -> None:
        """See WriterEvents; each process has gaps of its own."""
        self._events.audit_gap(gap)

    def clock_jumped(self, seconds: float) -> None:
        """See WriterEvents; all workers of a host see the same jump."""
        if self._is_first(_JUMPED, SAME_JUMP):
            self._events.clock_jumped(seconds)

    def _is_first(self, key: str, seconds: float) -> bool:
        return self._shared.update(key, lambda raw: (b"1", raw is None), seconds)


def config_facts(settings: Settings) -> tuple[str, dict[str, Any]]:
    """The digest of the settings in force, and these, without any secret."""
    told = parts.redactor(settings).value(in_force(settings))
    text = json.dumps(told, sort_keys=True, default=str)
    return sha256(text.encode()).hexdigest()[:16], told
