"""FileLock: a lock among processes, gone with the process that holds it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from app.host.files import Memory, is_in_place, map_whole, open_private, sync_folder

# Retries of a lock with a time limit; only starting uses them.
PAUSE = 0.02


class FileLock:
    """A lock (flock) on a private file; the kernel wakes the next in line.

    The kernel frees it however its process dies. `waited` is for how many seconds the
    last `held` waited. For one thread.
    """

    def __init__(self, path: Path) -> None:
        self.waited = 0.0
        self._path = path
        self._fd = -1

    def open(self) -> None:
        """Open the file, making it if need be. Raises OSError."""
        self.close()
        self._fd = open_private(self._path)

    def close(self) -> None:
        """Release the lock and close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def try_acquire(self) -> bool:
        """Take the lock if it is free."""
        return self._try(fcntl.LOCK_EX)

    def is_taken(self) -> bool:
        """Whether somebody else holds the lock; several may ask at once."""
        if not self._try(fcntl.LOCK_SH):
            return True
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for a block; waits for it however long it takes."""
        began = monotonic()
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        self.waited = monotonic() - began
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    @contextmanager
    def held_within(self, timeout: float) -> Iterator[None]:
        """Hold the lock for a block. Raises TimeoutError if it can't be had in time."""
        deadline = monotonic() + timeout
        while not self.try_acquire():
            if monotonic() >= deadline:
                raise TimeoutError(f"{self._path.name} is held by another")
            sleep(PAUSE)
        with self.held():
            yield

    def is_in_place(self) -> bool:
        """Whether the path still names the file that is open here."""
        return is_in_place(self._fd, self._path)

    def memory(self, size: int) -> Memory:
        """Map the file, made `size` bytes long. Raises OSError, on a full disk say."""
        return map_whole(self._fd, size)

    def note(self, text: bytes) -> None:
        """Write into the file; a text must be at least as long as the one before."""
        os.pwrite(self._fd, text, 0)

    def note_for_good(self, text: bytes) -> None:
        """Write into the file what must survive a power cut."""
        self.note(text)
        os.fsync(self._fd)
        sync_folder(self._path.parent)

    def noted(self) -> bytes:
        """Read what was noted."""
        return os.pread(self._fd, 1024, 0)

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self._fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
