"""Backlog: the records that wait in memory until writing works again."""

import logging
from collections import deque

from app.storage.audit.entry import Entry

log = logging.getLogger(__name__)

ROWS = 10_000
BYTES = 64 * 1024 * 1024
# What is taken at once; little enough to fit a disk that is nearly full.
BATCH_ROWS = 500
BATCH_BYTES = 1024 * 1024


class Backlog:
    """Entries in their order, bounded in number and in bytes of text.

    The writer's thread changes it; others may ask for its length.
    """

    def __init__(self, rows: int = ROWS, size: int = BYTES) -> None:
        self.rows = rows
        self.lost = 0
        self._limit, self._size = size, 0
        self._entries: deque[Entry] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        """Keep an entry; one that does not fit is counted, logged and dropped."""
        if len(self) >= self.rows or self._size + entry.size > self._limit:
            self.lost += 1
            log.error("Audit backlog full, record %s is lost", entry.intent.id)
            return
        self._entries.append(entry)
        self._size += entry.size

    def take(self) -> list[Entry]:
        """Remove and return the oldest entries, as many as make a small batch."""
        batch: list[Entry] = []
        size = 0
        while self._entries and len(batch) < BATCH_ROWS and size < BATCH_BYTES:
            batch.append(self._entries.popleft())
            size += batch[-1].size
        self._size -= size
        return batch
