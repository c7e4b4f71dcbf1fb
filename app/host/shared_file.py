"""SharedFile: a private file that several processes use, gone with the last of them.

    lock byte 0           held, shared, by every process that uses the file
    lock byte 1, 2, …     what the users guard, each held by one of them at a time

The locks are those of the open file (fcntl(2), "open file description locks"): the
kernel frees them when a process dies, however it dies.
"""

import ctypes
import fcntl
import os
import struct
import weakref
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

from app.host.files import Memory, is_in_place, map_whole, open_private, require_private

LIVING = 0  # the lock byte of all who use the file
OPEN_LIMIT = 2.0  # seconds; another process may just be making the file ready
PAUSE = 0.002

# The module fcntl lets other threads run during its calls, so whoever got the lock
# waits 5 ms for its turn while all others wait for the lock. Measured with 4 busy
# processes on 2 cores: 1 update in 5 not within 50 ms; so, none of 16 000.
_fcntl = ctypes.PyDLL(None).fcntl
_fcntl.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_char_p)


class SharedFile:
    """A file in use by this process. Threads may share it.

    The first of its users calls `begin` with the descriptor, and `is_ready` tells the
    others whether that was done to the end. The last one removes the file, or what
    `remove` does. It is closed when nobody refers to it any more: a call that is under
    way in another thread must not find its descriptor reused. Raises OSError, also
    for a file that belongs to somebody else.
    """

    def __init__(
        self,
        path: Path,
        begin: Callable[[int], None],
        *,
        is_ready: Callable[[int], bool] = lambda _: True,
        remove: Callable[[Path], None] = lambda path: path.unlink(missing_ok=True),
    ) -> None:
        self.path, self._remove = path, remove
        self._fd = _join(path, begin, is_ready)
        self._end = weakref.finalize(self, _part, self._fd, path, remove, os.getpid())

    def try_lock(self, byte: int) -> bool:
        """Take one byte's lock unless somebody has it; no wait."""
        return _try_lock(self._fd, fcntl.F_WRLCK, byte)

    def unlock(self, byte: int) -> None:
        """Give one byte's lock back."""
        _try_lock(self._fd, fcntl.F_UNLCK, byte)

    def is_in_place(self) -> bool:
        """Whether the path still names this file; no wait."""
        return is_in_place(self._fd, self.path)

    def memory(self, size: int) -> Memory:
        """Map the first `size` bytes of the file. Raises OSError."""
        return map_whole(self._fd, size)

    def leave(self) -> None:
        """Use it no longer; the last process that leaves removes it."""
        _leave(self._fd, self.path, self._remove)


def _join(
    path: Path, begin: Callable[[int], None], is_ready: Callable[[int], bool]
) -> int:
    """Be counted among the users of the file; return its descriptor."""
    if not hasattr(fcntl, "F_OFD_SETLK"):
        raise OSError("this system has no locks of open files")
    until = monotonic() + OPEN_LIMIT
    while monotonic() < until:
        fd = open_private(path)
        try:
            require_private(os.fstat(fd))
            if _try_lock(fd, fcntl.F_WRLCK, LIVING):
                begin(fd)
            is_joined = _try_lock(fd, fcntl.F_RDLCK, LIVING) and is_ready(fd)
            if is_joined and is_in_place(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        sleep(PAUSE)
    raise TimeoutError(f"{path} is being made ready by another process")


def _part(fd: int, path: Path, remove: Callable[[Path], None], pid: int) -> None:
    """At the end of a file; a forked child must not free its parent's locks."""
    if os.getpid() == pid:
        _leave(fd, path, remove)
    os.close(fd)


def _leave(fd: int, path: Path, remove: Callable[[Path], None]) -> None:
    _try_lock(fd, fcntl.F_UNLCK, LIVING)  # or two might wait for each other
    if _try_lock(fd, fcntl.F_WRLCK, LIVING) and is_in_place(fd, path):
        remove(path)
    _try_lock(fd, fcntl.F_UNLCK, LIVING)


def _try_lock(fd: int, kind: int, byte: int) -> bool:
    """Take, change or give back (F_UNLCK) one byte's lock, without waiting."""
    wish = struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, 1, 0)  # struct flock
    failed: int = _fcntl(fd, fcntl.F_OFD_SETLK, wish)
    return not failed
