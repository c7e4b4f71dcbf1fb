"""WriteAheadLog: the size of SQLite's log, and when it goes into the database."""

import logging
import os
import sqlite3
from pathlib import Path

from app.storage.sqlite.statements import WAL_LIMIT, checkpoint

log = logging.getLogger(__name__)

ALARM = 64 * 1024 * 1024


class WriteAheadLog:
    """Watches over one log. Call `check_point` under the writers' lock; one thread's.

    `size` is in bytes, as its owner saw it last; `is_dirty` is set with each commit.
    """

    def __init__(self, path: Path) -> None:
        self.size = 0
        self.is_dirty = self._was_dirty = False
        self._path = path
        self._checkpoint_above = WAL_LIMIT
        self._is_alarmed = False

    @property
    def is_long(self) -> bool:
        """Whether it has grown by 4 MB since it could last be emptied."""
        return self.size > self._checkpoint_above

    def has_come_to_rest(self) -> bool:
        """Whether there was a commit before this was asked last, and none since.

        For once a second.
        """
        rests = self._was_dirty and not self.is_dirty
        self._was_dirty, self.is_dirty = self.is_dirty, False
        return rests

    def check_point(
        self, connection: sqlite3.Connection, mode: str | None = None
    ) -> bool:
        """Checkpoint; one that fails is no fault, the log holds all there is.

        Returns whether all of it went into the database.
        """
        mode = mode or ("TRUNCATE" if self.size > ALARM else "PASSIVE")
        try:
            is_done = checkpoint(connection, mode)
        except sqlite3.Error as error:
            log.warning("Audit checkpoint failed: %s", error)
            is_done = False
        self.size = os.stat(self._path).st_size
        self._checkpoint_above = WAL_LIMIT + (0 if is_done else self.size)
        self._alarm(self.size > ALARM)
        return is_done

    def _alarm(self, is_large: bool) -> None:
        if is_large and not self._is_alarmed:
            log.error(
                "Audit log %s is over 64 MB: a reader holds an old transaction open",
                self._path,
            )
        self._is_alarmed = is_large
