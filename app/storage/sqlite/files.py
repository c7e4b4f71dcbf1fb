"""The files of a SQLite trail, and the lock that all its writers take.

Beside `audit.db` (and SQLite's `-wal` and `-shm`) there are

    audit.db.lock       flock: whoever writes or checkpoints holds it
    audit.db.key        the chain's key, unless the settings give one
    audit.db.workers/   one locked file per living worker

All are 0600. The lock file also remembers that a trail was begun here, so that a
database which vanished is missed instead of being made anew.
"""

import logging
import os
import pwd
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.host.file_lock import FileLock
from app.host.files import make_private, sync_folder
from app.storage.audit.errors import StoreFailed, UnusableDatabase

log = logging.getLogger(__name__)

BEGUN = b"An audit trail was begun here. See its database beside this file.\n"
KEY_BYTES = 32
# Below this much free space new chats are refused; it is what those in flight
# have left to be put on record (docs/faults.md, row 73).
RESERVE = 4 * 1024 * 1024


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
    def shm(self) -> Path:
        """The index of that log."""
        return self.beside("-shm")

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


def require_readable(*paths: Path) -> None:
    """Raise StoreFailed, with whose it is, for a file that this user may not read.

    The first one must be there; of the others those that are.
    """
    for path in paths:
        try:
            path.open("rb").close()
        except FileNotFoundError:
            if path is paths[0]:
                raise StoreFailed("unreadable", f"{path} is not there") from None
        except PermissionError:
            owner = owner_of(path)
            why = f"{path} may not be read by this user; run this as {owner}"
            raise StoreFailed("unreadable", why) from None


def owner_of(path: Path) -> str:
    """Return the user whose the file is, or the folder that hides it."""
    for place in (path, *path.parents):
        with suppress(OSError):
            owner = place.stat().st_uid
            with suppress(KeyError):
                return pwd.getpwuid(owner).pw_name
            return f"the user {owner}"
    return "its owner"


def inode_of(path: Path) -> int:
    """The number of the file that is there, -1 for none."""
    with suppress(FileNotFoundError):
        return path.stat().st_ino
    return -1


def require_writable(files: AuditFiles, lock: FileLock) -> None:
    """Raise StoreFailed if the database must not be written to. Raises OSError."""
    # Root could write all the same, but whoever took the bit away means it.
    mode = os.stat(files.database).st_mode
    is_read_only = os.statvfs(files.database).f_flag & os.ST_RDONLY
    if is_read_only or not mode & stat.S_IWUSR:
        raise StoreFailed("read_only", str(files.database))
    if not lock.is_in_place():
        raise StoreFailed("replaced", str(files.lock))


def shortage(files: AuditFiles, reserve: int) -> str | None:
    """Why new chats are to be refused though writing works. Raises OSError."""
    disk = os.statvfs(files.database)
    return "disk_full" if disk.f_bavail * disk.f_frsize < reserve else None


def says_begun(lock: FileLock) -> bool:
    """Whether a trail was begun beside the writers' lock."""
    return lock.noted() != b""


def say_begun(lock: FileLock) -> None:
    """Remember, durably, that a trail was begun."""
    lock.note_for_good(BEGUN)


def was_begun(files: AuditFiles) -> bool:
    """Whether a trail was begun there, as far as can be seen just now."""
    with suppress(OSError):
        return files.lock.stat().st_size > 0
    return False


def read_key(path: Path, *, may_make: bool) -> bytes:
    """Return the key in the file, making one if allowed. Call it under the lock.

    Raises UnusableDatabase when there is none to be had, or when others may read it,
    write to it or have put it there.
    """
    if not path.exists() and may_make:
        _write_key(path)
    try:
        with path.open(encoding="ascii") as file:
            _require_own(os.fstat(file.fileno()), path)
            key = bytes.fromhex(file.read())
    except (FileNotFoundError, ValueError) as error:
        raise UnusableDatabase(
            "no_key",
            f"{path} is missing or damaged, and without it no record can be signed "
            "or checked. Restore it, or set VX11_AUDIT_KEY if that was used.",
        ) from error
    return key


def _require_own(found: os.stat_result, path: Path) -> None:
    """Refuse a key that others know or chose. Whose folder it is could do so anyway."""
    if stat.S_IMODE(found.st_mode) & 0o077:
        why = f"{path} is open to others: chmod 600, after a look at who may have it"
        raise UnusableDatabase("open_key", why)
    if found.st_uid not in (0, os.geteuid(), path.parent.stat().st_uid):
        why = f"{path} belongs to somebody else: chown it to the gateway's user"
        raise UnusableDatabase("open_key", why)


def warn_of_open_folder(files: AuditFiles) -> None:
    """Log a warning if others may put files in place of ours. Raises OSError."""
    folder = files.database.parent
    if stat.S_IMODE(folder.stat().st_mode) & 0o022:
        log.warning("Others may write to %s: chmod 700, else they replace it", folder)


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
