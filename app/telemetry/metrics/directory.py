"""MetricDirectory: where the workers of one instance keep their numbers.

    instance        flock, shared: held by everybody who uses the folder
    slot-0, …       flock, exclusive: held by the one worker that writes into it

A worker takes the first slot that nobody holds, so there are never more files than
there were workers at once; what a killed worker counted lies in its slot, and the
next one to take it goes on from there. The kernel frees the locks however a process
dies. Files are made whole before they are mapped, because writing into a hole of
a full file system kills (SIGBUS).
"""

import fcntl
import os
import shutil
import stat
import weakref
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from mmap import mmap
from pathlib import Path

from app.telemetry.metrics.metric_memory import SIZE

MOST_SLOTS = 1024
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Slot:
    """One worker's file, mapped and locked until nobody refers to it any more.

    A chat that ends late must not count into what is another worker's by now.
    """

    def __init__(self, fd: int) -> None:
        self.memory = mmap(fd, SIZE)
        weakref.finalize(self, os.close, fd)


class MetricDirectory:
    """The folder of an instance, in use by this process.

    Whoever comes first begins it anew; who comes while others are there joins
    them. Raises OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = _join(path)

    def take_slot(self) -> Slot:
        """Take the first slot that is free. Raises OSError, on a full disk say."""
        for number in range(MOST_SLOTS):
            fd = os.open(self.path / f"slot-{number}", _OPEN, 0o600)
            try:
                if _try_lock(fd, fcntl.LOCK_EX):
                    os.posix_fallocate(fd, 0, SIZE)
                    return Slot(fd)
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
        raise OSError(f"all of {MOST_SLOTS} slots are taken")

    def read_slots(self) -> Iterator[tuple[bytes, bool]]:
        """A copy of each slot, and whether the worker that writes into it lives."""
        for path in sorted(self.path.glob("slot-*")):
            with path.open("rb") as file:
                lives = not _try_lock(file.fileno(), fcntl.LOCK_SH)
                if not lives:  # or a worker that starts now would take another slot
                    fcntl.flock(file.fileno(), fcntl.LOCK_UN)
                memory = file.read()
            if len(memory) == SIZE:
                yield memory, lives

    def leave(self) -> None:
        """Use it no longer; the last one who leaves removes it."""
        if _try_lock(self._fd, fcntl.LOCK_EX):
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._fd)


def folder_of(identity: str, parent: Path) -> Path:
    """The path of the folder of an instance; another instance has its own."""
    digest = sha256(identity.encode()).hexdigest()[:16]
    return parent / f"{_prefix()}{digest}"


def remove_left_behind(parent: Path) -> None:
    """Remove our folders that nobody uses, of instances that were killed."""
    for path in parent.glob(f"{_prefix()}*"):
        with suppress(OSError):
            MetricDirectory(path).leave()


def _prefix() -> str:
    return f"vx11-metrics-{os.geteuid()}-"


def _join(path: Path) -> int:
    """Lock the folder, making it if need be; return what holds the lock."""
    while True:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The last one of those before us may be removing it at this moment.
        with suppress(FileNotFoundError):
            _require_ours(path)
            fd = os.open(path / "instance", _OPEN, 0o600)
            if _lock_in_place(fd, path):
                return fd
            os.close(fd)


def _lock_in_place(fd: int, path: Path) -> bool:
    if _try_lock(fd, fcntl.LOCK_EX):
        for slot in path.glob("slot-*"):
            slot.unlink()
    fcntl.flock(fd, fcntl.LOCK_SH)
    try:
        return os.path.samestat(os.fstat(fd), (path / "instance").stat())
    except FileNotFoundError:
        return False


def _require_ours(path: Path) -> None:
    """Where everybody may write, nobody else may have put the folder there."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError("the folder of the metrics belongs to somebody else")
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise PermissionError("the folder of the metrics is open to others")


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
