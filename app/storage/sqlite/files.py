"""The files of a SQLite trail, and the lock that all its writers take.

Beside `audit.db` (and SQLite's `-wal` and `-shm`) there are

    audit.db.lock       flock: whoever writes or checkpoints holds it
    audit.db.key        the chain's key, unless the settings give one
    audit.db.workers/   one locked file per living worker

All are 0600. The lock file also remembers that a trail was begun here, so that a
database which vanished is missed instead of being made anew.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from app.storage.audit.errors import StoreFailed, UnusableDatabase

BEGUN = b"An audit trail was begun here. See its database beside this file.\n"
KEY_BYTES = 32
# Retries of a lock with a time limit; only starting uses them.
PAUSE = 0.02


@dataclass(frozen=True, slots=True)
class AuditFiles:
    """The paths of a trail's files, given that of the database."""

    database: Path

    def beside(self, suffix: str) -> Path:
        """The path of a companion file."""
        return self.database.with_name(self.database.name + suffix)

    def make_folder(self) -> None:
        """Make the folder of all of them if need be, ours alone. Raises OSError."""
        self.database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def wal(self) -> Path:
        """SQLite's write-ahead log."""
        return self.beside("-wal")

    @property
    def lock(self) -> Path:
        """The writers' lock."""
        return self.beside(".lock")

    @property
    def key(self) -> Path:
        """The chain's key."""
        return self.beside(".key")

    @property
    def is_missing(self) -> bool:
        """Whether there is no database, or an empty file in its place."""
        return not self.database.exists() or self.database.stat().st_size == 0

    @property
    def workers(self) -> Path:
        """The folder of the living workers' locks."""
        return self.beside(".workers")


class FileLock:
    """A lock among processes; the kernel wakes the next in line. For one thread.

    It is gone with its process, however that dies.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def open(self) -> None:
        """Open the file, making it if need be. Raises OSError."""
        self.close()
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Release the lock and close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def try_acquire(self) -> bool:
        """Take the lock if it is free."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for a block; waits for it however long it takes."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    @contextmanager
    def held_within(self, timeout: float) -> Iterator[None]:
        """Hold the lock for a block. Raises StoreFailed if it can't be had in time."""
        deadline = monotonic() + timeout
        while not self.try_acquire():
            if monotonic() >= deadline:
                raise StoreFailed("locked", f"{self._path.name} is held by another")
            sleep(PAUSE)
        with self.held():
            yield

    def is_in_place(self) -> bool:
        """Whether the path still names the file that is open here."""
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self._path))
        except OSError:
            return False

    def note(self, text: bytes) -> None:
        """Write into the file; a text must be at least as long as the one before."""
        os.pwrite(self._fd, text, 0)

    def noted(self) -> bytes:
        """Read what was noted."""
        return os.pread(self._fd, 1024, 0)

    def says_begun(self) -> bool:
        """Whether a trail was begun beside this file."""
        return os.pread(self._fd, 1, 0) != b""

    def say_begun(self) -> None:
        """Remember, durably, that a trail was begun."""
        os.pwrite(self._fd, BEGUN, 0)
        os.fsync(self._fd)
        sync_folder(self._path.parent)


def was_begun(files: AuditFiles) -> bool:
    """Whether a trail was begun there, as far as can be seen just now."""
    with suppress(OSError):
        return files.lock.stat().st_size > 0
    return False


def make_private(path: Path) -> None:
    """Make an empty file that only we may read, and its folder, if missing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def read_key(path: Path, *, may_make: bool) -> bytes:
    """Return the key in the file, making one if allowed. Call it under the lock.

    Raises UnusableDatabase when there is none to be had.
    """
    if not path.exists() and may_make:
        _write_key(path)
    try:
        key = bytes.fromhex(path.read_text("ascii"))
    except (FileNotFoundError, ValueError) as error:
        raise UnusableDatabase(
            "no_key",
            f"{path} is missing or damaged, and without it no record can be signed "
            "or checked. Restore it, or set VX11_AUDIT_KEY if that was used.",
        ) from error
    return key


def _write_key(path: Path) -> None:
    """Put a new key in place, whole or not at all."""
    fresh = path.with_name(path.name + ".new")
    with suppress(FileNotFoundError):
        fresh.unlink()
    make_private(fresh)
    with fresh.open("w", encoding="ascii") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names that were just created in a folder survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
