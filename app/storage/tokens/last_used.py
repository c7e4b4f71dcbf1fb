"""LastUsed: when each token was last used, kept in a file of the state folder.

For people who clean up, so it need not be exact: a use is written within seconds, one
within a minute of the last is not, and a power cut may lose some.
"""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from time import monotonic

from app.host.file_lock import FileLock
from app.host.files import open_private

NAME = "tokens.used"
EVERY = 5.0  # seconds between two looks at what was used
NEWS = 60.0  # a use is no news if the last one is not older than so many seconds
LOCK_LIMIT = 1.0
MOST_BYTES = 1_000_000
FARTHEST = 2e10  # Unix seconds: the year 2603
MOST = 5000  # tokens; those that were used last are kept


class LastUsed:
    """Keeps the times of all processes in one file. Threads may share it.

    `used` tells of this process. Nothing is raised: what cannot be written is tried
    again, and what cannot be read is not known.
    """

    def __init__(
        self,
        folder: Path,
        used: Callable[[], Mapping[str, float]],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._path = folder / NAME
        self._used = used
        self._clock = clock
        self._due = 0.0
        self._written: dict[str, float] = {}
        self._lock = Lock()  # guards all of it, and the file's lock in this process

    def look(self) -> None:
        """Write what is news, if it is time; for a thread in the background."""
        with self._lock:
            if self._clock() < self._due:
                return
            self._due = self._clock() + EVERY
            if any(map(self._is_news, self._used().items())):
                with suppress(OSError, TimeoutError):
                    self._merge()

    def times(self) -> Mapping[str, float]:
        """See LastUses."""
        return _later(_read(self._path), self._used())

    def _is_news(self, used: tuple[str, float]) -> bool:
        token_id, at = used
        return at - self._written.get(token_id, 0.0) >= NEWS

    def _merge(self) -> None:
        file_lock = FileLock(self._path.with_name(f"{NAME}.lock"))
        try:
            file_lock.open()
            with file_lock.held_within(LOCK_LIMIT):
                times = _later(_read(self._path), self._used())
                newest = sorted(times, key=times.__getitem__)[-MOST:]
                self._written = {token_id: times[token_id] for token_id in newest}
                _replace(self._path, json.dumps(self._written))
        finally:
            file_lock.close()


def _later(some: Mapping[str, float], others: Mapping[str, float]) -> dict[str, float]:
    return {
        token_id: max(some.get(token_id, 0.0), others.get(token_id, 0.0))
        for token_id in {*some, *others}
    }


def _read(path: Path) -> dict[str, float]:
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {k: float(v) for k, v in found.items() if _is_time(v)}


def _is_time(value: object) -> bool:
    """Whether it can be a time; whatever else stands there is not known."""
    return isinstance(value, int | float) and 0 <= value <= FARTHEST


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(f"{NAME}.new")
    with suppress(FileNotFoundError):
        os.unlink(fresh)
    with open(open_private(fresh), "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(fresh, path)
