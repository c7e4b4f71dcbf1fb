"""Private files: opened for this user alone, mapped whole, durable in their folder."""

import hashlib
import mmap
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

Memory: TypeAlias = mmap.mmap

_SUFFIXES = (".toml", ".pem", ".crt", ".cer", ".log", ".txt")
_LONGEST_SHOWN = 400
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def open_private(path: Path) -> int:
    """Open a file for reading and writing, made with mode 0600 if need be.

    Returns its descriptor. A symbolic link is not followed. Raises OSError.
    """
    return os.open(path, _FLAGS, 0o600)


def require_private(found: os.stat_result, *, is_folder: bool = False) -> None:
    """Raise PermissionError for a file that is not ours alone.

    Where everybody may write, somebody else may have put it there.
    """
    is_kind = stat.S_ISDIR if is_folder else stat.S_ISREG
    if not is_kind(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError("it belongs to somebody else")
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise PermissionError("it is open to others")


def is_in_place(fd: int, path: Path) -> bool:
    """Return whether the path still names the open file."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False


def map_whole(fd: int, size: int) -> Memory:
    """Map a file of `size` bytes, reserved beforehand. Raises OSError.

    Writing into a hole of a full file system would kill (SIGBUS).
    """
    os.posix_fallocate(fd, 0, size)
    return mmap.mmap(fd, size)


def map_anonymous(size: int) -> Memory:
    """Map memory that this process shares with those which it forks."""
    return mmap.mmap(-1, size)


def instance_name(prefix: str, identity: str) -> str:
    """Name a file of one instance and one user; other instances have other names."""
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return f"{user_prefix(prefix)}{digest}"


def user_prefix(prefix: str) -> str:
    """Return how the names of this user's instances begin."""
    return f"{prefix}-{os.geteuid()}-"


def make_private(path: Path) -> None:
    """Make an empty file that only we may read, and its folder, if missing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def shown_path(path: Path) -> str:
    """A path as it may be told; what looks like none may be a secret in its place."""
    text = str(path)
    is_path = text.startswith(("/", "./", "../")) or path.suffix in _SUFFIXES
    return text if is_path and len(text) <= _LONGEST_SHOWN else "the file"


def sync_folder(folder: Path) -> None:
    """Make names that were just created in a folder survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
