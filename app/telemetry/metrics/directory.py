"""MetricDirectory: where the workers of one instance keep their numbers.

    instance        a SharedFile: in use by everybody who uses the folder
    slot-0, …       a FileLock: held by the one worker that writes into it

A worker takes the first slot that nobody holds, so there are never more files than
there were workers at once; what a killed worker counted lies in its slot, and the
next one to take it goes on from there.
"""

import shutil
import weakref
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from app.host.file_lock import FileLock
from app.host.files import instance_name, require_private, user_prefix
from app.host.shared_file import SharedFile
from app.telemetry.metrics.metric_memory import SIZE

MOST_SLOTS = 1024
# Not that of before: folders under that name were locked in another way, so either
# version would take the other one's for left behind.
PREFIX = "vx11-counts"


class Slot:
    """One worker's file, mapped and locked until nobody refers to it any more.

    A chat that ends late must not count into what is another worker's by now.
    """

    def __init__(self, lock: FileLock, users: SharedFile) -> None:
        self.memory = lock.memory(SIZE)
        self._users = users  # the folder is in use for as long as the slot is
        weakref.finalize(self, lock.close)


class MetricDirectory:
    """The folder of an instance, in use by this process.

    Whoever comes first begins it anew; who comes while others are there joins
    them. Raises OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._users = _join(path)

    def take_slot(self) -> Slot:
        """Take the first slot that is free. Raises OSError, on a full disk say."""
        for number in range(MOST_SLOTS):
            lock = FileLock(self.path / f"slot-{number}")
            lock.open()
            try:
                if lock.try_acquire():
                    return Slot(lock, self._users)
            except BaseException:
                lock.close()
                raise
            lock.close()
        raise OSError(f"all of {MOST_SLOTS} slots are taken")

    def read_slots(self) -> Iterator[tuple[bytes, bool]]:
        """A copy of each slot, and whether the worker that writes into it lives."""
        for path in sorted(self.path.glob("slot-*")):
            with closing(FileLock(path)) as lock:
                lock.open()
                lives = lock.is_taken()
                memory = path.read_bytes()
            if len(memory) == SIZE:
                yield memory, lives

    def leave(self) -> None:
        """Use it no longer; the last one who leaves removes it."""
        self._users.leave()


def folder_of(identity: str, parent: Path) -> Path:
    """The path of the folder of an instance; another instance has its own."""
    return parent / instance_name(PREFIX, identity)


def remove_left_behind(parent: Path) -> None:
    """Remove our folders that nobody uses, of instances that were killed."""
    for path in parent.glob(f"{user_prefix(PREFIX)}*"):
        with suppress(OSError):
            MetricDirectory(path).leave()


def _join(path: Path) -> SharedFile:
    """Be counted among the users of the folder, which is made if need be."""

    def begin_anew(_: int) -> None:
        for slot in path.glob("slot-*"):
            slot.unlink()

    def remove(instance: Path) -> None:
        shutil.rmtree(instance.parent, ignore_errors=True)

    while True:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The last one of those before us may be removing it at this moment.
        with suppress(FileNotFoundError):
            require_private(path.lstat(), is_folder=True)
            return SharedFile(path / "instance", begin_anew, remove=remove)
