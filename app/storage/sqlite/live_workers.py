"""LiveWorkers: which workers of this host are alive, told by locks that die with them.

Each may leave a note in its file, which others can read for as long as it lives.
"""

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.host.file_lock import FileLock

NOTE_MOST = 1024  # bytes


class LiveWorkers:
    """One locked file per living worker.

    Call every method under the writers' lock, so that nobody looks between the
    making of a file and its locking. It belongs to one thread.
    """

    def __init__(self, folder: Path) -> None:
        self.instance = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._folder = folder
        self._own = FileLock(self._path(self.instance))

    def join(self) -> None:
        """Be counted among the living from now on; harmless if we are already."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if not self._own.is_in_place():
            self._own.open()
            self._own.try_acquire()

    def leave(self) -> None:
        """Be counted no longer."""
        self._path(self.instance).unlink(missing_ok=True)
        self._own.close()

    def leave_to_parent(self) -> None:
        """In a forked child: close our copy of the parent's lock."""
        self._own.close()

    def living(self) -> frozenset[str]:
        """Name the workers that live; the files of dead ones are removed.

        Whoever has no file is dead too.
        """
        self.join()
        others = {path.stem for path in self._folder.glob("*.lock")} - {self.instance}
        return frozenset({self.instance, *filter(self._lives, others)})

    def note(self, text: bytes) -> None:
        """Leave a note for the others; all notes are equally long."""
        self._own.note(text)

    def notes(self) -> Iterator[bytes]:
        """What the others that live have noted."""
        for instance in self.living() - {self.instance}:
            with self._opened(instance) as lock:
                yield lock.noted()

    @staticmethod
    def notes_of(folder: Path, pids: Iterable[int]) -> Iterator[bytes]:
        """What the workers of these processes have noted; asks for no lock."""
        for pid in pids:
            for path in folder.glob(f"{pid}-*.lock"):
                with suppress(OSError), path.open("rb") as file:
                    yield file.read(NOTE_MOST)

    @staticmethod
    def are_any(folder: Path) -> bool:
        """Whether any worker lives; for somebody who is none."""
        for path in folder.glob("*.lock"):
            lock = FileLock(path)
            lock.open()
            try:
                if lock.is_taken():
                    return True
            finally:
                lock.close()
        return False

    def _lives(self, instance: str) -> bool:
        with self._opened(instance) as lock:
            is_dead = lock.try_acquire()
        if is_dead:
            self._path(instance).unlink(missing_ok=True)
        return not is_dead

    @contextmanager
    def _opened(self, instance: str) -> Iterator[FileLock]:
        lock = FileLock(self._path(instance))
        lock.open()
        try:
            yield lock
        finally:
            lock.close()

    def _path(self, instance: str) -> Path:
        return self._folder / f"{instance}.lock"
