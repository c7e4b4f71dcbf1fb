"""Region: a file that the processes of one instance map into their memory.

the table of slots
the last page         what the file is: its format and the boot it belongs to
lock byte n           held while a bucket of stripe n - 1 is being changed
"""

import os
from pathlib import Path
from threading import Lock
from time import monotonic, sleep

from app.host.shared_file import SharedFile
from app.storage.shared.slots import SlotTable

PAGE = 4096
SIZE = SlotTable.SIZE + PAGE
FORMAT = b"vx11-shared-1"
STRIPES = 64

# A change takes some 10 microseconds: whoever has the lock is mostly done before we
# have tried that often, and pausing costs a turn. Pauses are in seconds.
TRIES = 20
SHORTEST_PAUSE, LONGEST_PAUSE = 0.00005, 0.002


class Region:
    """The mapped file and the locks of its buckets. Threads may share it."""

    def __init__(self, file: SharedFile) -> None:
        self.file = file
        self.table = SlotTable(file.memory(SIZE))
        self._stripes = tuple(Lock() for _ in range(STRIPES))

    def lock(self, bucket: int, timeout: float) -> bool:
        """Take the lock of a bucket; return False if it can't be had in time."""
        stripe = bucket % STRIPES
        until = monotonic() + timeout
        if not self._stripes[stripe].acquire(timeout=timeout):
            return False
        pause = SHORTEST_PAUSE
        while not self._try(stripe):
            if monotonic() >= until:
                self._stripes[stripe].release()
                return False
            sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return True

    def _try(self, stripe: int) -> bool:
        return any(self.file.try_lock(stripe + 1) for _ in range(TRIES))

    def unlock(self, bucket: int) -> None:
        """Give the lock of a bucket back."""
        stripe = bucket % STRIPES
        self.file.unlock(stripe + 1)
        self._stripes[stripe].release()


def open_region(path: Path) -> Region:
    """Map the file, making it if need be.

    What an earlier run left is used again unless the machine was restarted since:
    times on the steady clock mean nothing after that. Raises OSError if the file
    can't be had, or belongs to somebody else.
    """
    return Region(SharedFile(path, _make_ready, is_ready=_is_ready))


def _make_ready(fd: int) -> None:
    if not _is_ready(fd):
        os.ftruncate(fd, 0)
        os.posix_fallocate(fd, 0, SIZE)
        os.pwrite(fd, _last_page(), SlotTable.SIZE)


def _is_ready(fd: int) -> bool:
    return os.pread(fd, PAGE + 1, SlotTable.SIZE) == _last_page()


def _last_page() -> bytes:
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    return (FORMAT + b"\n" + boot + b"\n").ljust(PAGE, b"\0")
