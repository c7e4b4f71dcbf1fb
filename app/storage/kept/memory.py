"""MemoryAnswers: kept answers in the memory of one process, where none goes to disk."""

from threading import Lock

from cachetools import LRUCache

from app.gateway.kept.answers import Kept

AROUND = 300  # bytes of an entry beside its body, about
MOST_BYTES = 64 * 1024 * 1024


class MemoryAnswers:
    """Fulfils `Answers`; those that were asked for last stay. Threads may share it."""

    has_records = False

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._kept: LRUCache[bytes, Kept] = LRUCache(most_bytes, getsizeof=_size)
        self._lock = Lock()  # guards it

    def find(self, key: bytes, now: float) -> Kept | None:
        """See Answers."""
        with self._lock:
            kept: Kept | None = self._kept.get(key)
            if kept is not None and kept.until <= now:
                del self._kept[key]
                return None
            return kept

    def put(self, kept: Kept) -> None:
        """See Answers; one that has no room is not kept."""
        with self._lock:
            if _size(kept) <= self._kept.maxsize:
                self._kept[kept.key] = kept

    def size(self) -> int | None:
        """See Answers."""
        with self._lock:
            return int(self._kept.currsize)

    def close(self) -> None:
        """See Answers."""
        with self._lock:
            self._kept.clear()


def _size(kept: Kept) -> int:
    return len(kept.body or b"") + AROUND
