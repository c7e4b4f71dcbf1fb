"""IdleWork: what a store does while nobody waits for a record."""

import logging
from collections.abc import Callable

from app.storage.audit.errors import StoreFailed
from app.storage.audit.store import Store

log = logging.getLogger(__name__)

RETRY = 60.0


class IdleWork:
    """Lets the store erase what is over its time. It belongs to the writer's thread.

    `at` is the monotonic time of its next turn.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self.at = 0.0
        self._store, self._clock = store, clock

    def turn(self, *, is_idle: bool) -> None:
        """Let it do a batch, if it is time.

        What breaks there holds up no chat: a write that cannot be done says so.
        """
        if self._clock() < self.at:
            return
        try:
            pause = self._store.prune(is_idle=is_idle)
        except Exception as error:
            is_known = isinstance(error, StoreFailed)
            log.error("Nothing is erased: %s", error, exc_info=not is_known)
            pause = RETRY
        self.at = self._clock() + pause
