"""Region: a file that the processes of one instance map into their memory.

    the table of slots
    the last page         what the file is: its format and the boot it belongs to
    lock byte 0           held, shared, by every process that uses the file
    lock byte n           held while a bucket of stripe n - 1 is being changed

The locks are those of the open file (fcntl(2), "open file description locks"): the
kernel frees them when a process dies, however it dies.
"""

import ctypes
import fcntl
import os
import stat
import struct
import weakref
from mmap import mmap
from pathlib import Path
from threading import Lock
from time import monotonic, sleep

from app.storage.shared.slots import SlotTable

PAGE = 4096
SIZE = SlotTable.SIZE + PAGE
FORMAT = b"vx11-shared-1"
STRIPES = 64
LIVING = 0  # the lock byte of all who use the file

OPEN_LIMIT = 2.0  # seconds; another process may just be making the file ready
# A change takes some 10 microseconds: whoever has the lock is mostly done before we
# have tried that often, and pausing costs a turn. Pauses are in seconds.
TRIES = 20
SHORTEST_PAUSE, LONGEST_PAUSE = 0.00005, 0.002

# The module fcntl lets other threads run during its calls, so whoever got the lock
# waits 5 ms for its turn while all others wait for the lock. Measured with 4 busy
# processes on 2 cores: 1 update in 5 not within 50 ms; so, none of 16 000.
_fcntl = ctypes.PyDLL(None).fcntl
_fcntl.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_char_p)


class Region:
    """The mapped file and its locks. Threads may share it.

    The file is closed when nobody refers to the region any more: a call that is
    under way in another thread must not find its descriptor reused.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self.table = SlotTable(mmap(fd, SIZE))
        self._stripes = tuple(Lock() for _ in range(STRIPES))
        weakref.finalize(self, _parted, fd, path, os.getpid())

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
        tries = (_try_lock(self._fd, fcntl.F_WRLCK, stripe + 1) for _ in range(TRIES))
        return any(tries)

    def unlock(self, bucket: int) -> None:
        """Give the lock of a bucket back."""
        stripe = bucket % STRIPES
        _try_lock(self._fd, fcntl.F_UNLCK, stripe + 1)
        self._stripes[stripe].release()

    def is_in_place(self) -> bool:
        """Whether the path still names this file; no wait."""
        return _is_in_place(self._fd, self.path)

    def leave(self) -> None:
        """Use it no longer; the last process that leaves removes the file."""
        _leave(self._fd, self.path)


def open_region(path: Path) -> Region:
    """Map the file, making it if need be.

    What an earlier run left is used again unless the machine was restarted since:
    times on the steady clock mean nothing after that. Raises OSError if the file
    can't be had, or belongs to somebody else.
    """
    if not hasattr(fcntl, "F_OFD_SETLK"):
        raise OSError("this system has no locks of open files")
    until = monotonic() + OPEN_LIMIT
    while monotonic() < until:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _require_ours(fd)
            if _joined(fd) and _is_in_place(fd, path):
                return Region(path, fd)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        sleep(LONGEST_PAUSE)
    raise TimeoutError(f"{path} is being made ready by another process")


def _parted(fd: int, path: Path, pid: int) -> None:
    """At the end of a region; a forked child must not free its parent's locks."""
    if os.getpid() == pid:
        _leave(fd, path)
    os.close(fd)


def _leave(fd: int, path: Path) -> None:
    _try_lock(fd, fcntl.F_UNLCK, LIVING)  # or two might wait for each other
    if _try_lock(fd, fcntl.F_WRLCK, LIVING) and _is_in_place(fd, path):
        path.unlink(missing_ok=True)
    _try_lock(fd, fcntl.F_UNLCK, LIVING)


def _joined(fd: int) -> bool:
    """Be counted among the users of a file that is ready; the first makes it so."""
    if _try_lock(fd, fcntl.F_WRLCK, LIVING) and not _is_ready(fd):
        os.ftruncate(fd, 0)
        # Reserved now: writing into a hole of a full file system kills (SIGBUS).
        os.posix_fallocate(fd, 0, SIZE)
        os.pwrite(fd, _last_page(), SlotTable.SIZE)
    return _try_lock(fd, fcntl.F_RDLCK, LIVING) and _is_ready(fd)


def _is_ready(fd: int) -> bool:
    return os.pread(fd, PAGE + 1, SlotTable.SIZE) == _last_page()


def _last_page() -> bytes:
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    return (FORMAT + b"\n" + boot + b"\n").ljust(PAGE, b"\0")


def _require_ours(fd: int) -> None:
    """Where everybody may write, nobody else may have put the file there."""
    found = os.fstat(fd)
    is_private = not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError("the shared memory belongs to somebody else")
    if not is_private:
        raise PermissionError("the shared memory is open to others")


def _is_in_place(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False


def _try_lock(fd: int, kind: int, byte: int) -> bool:
    """Take, change or give back (F_UNLCK) one byte's lock, without waiting."""
    wish = struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, 1, 0)  # struct flock
    failed: int = _fcntl(fd, fcntl.F_OFD_SETLK, wish)
    return not failed
