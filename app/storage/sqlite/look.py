"""A look at a trail's place before anybody writes there, changing nothing."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from app.storage.audit.errors import StoreFailed, UnusableDatabase
from app.storage.sqlite.files import AuditFiles, owner_of, require_readable, was_begun
from app.storage.sqlite.preparation import inspect_begun
from app.storage.sqlite.statements import translated

MB = 1_000_000


def look(files: AuditFiles, key: bytes | None, reserve: int) -> Iterator[str]:
    """Yield warnings. Raises StoreFailed for what keeps a gateway from starting.

    `reserve` is in bytes, as of a store.
    """
    folder = files.database.parent
    if not folder.exists():
        yield from _look_where_it_will_be(folder)
        return
    require_writable(folder)
    if files.is_missing and was_begun(files):
        why = f"{files.database} is gone, though a trail was begun there; restore it"
        raise UnusableDatabase("deleted", why)
    if not files.is_missing:
        require_readable(files.database, files.wal, files.shm)
        if key is None and files.key.exists():
            require_readable(files.key)
        with translated():
            inspect_begun(files, key)
    disk = os.statvfs(folder)
    if (free := disk.f_bavail * disk.f_frsize) < reserve:
        yield (
            f"{folder} has {free / MB:.1f} MB of room, and chats are refused while it "
            f"has less than {reserve / MB:.1f} MB"
        )


def require_writable(folder: Path) -> None:
    """Raise StoreFailed if this user cannot make files there; none is left behind."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except PermissionError:
        why = f"{folder} may not be written to by this user; run this as"
        raise StoreFailed("unreadable", f"{why} {owner_of(folder)}") from None
    except OSError as error:
        why = f"no file can be made in {folder}: {error.strerror}"
        raise StoreFailed("unreadable", why) from None


def _look_where_it_will_be(folder: Path) -> Iterator[str]:
    above = next(parent for parent in folder.parents if parent.exists())
    try:
        require_writable(above)
    except StoreFailed:
        if os.access(above, os.W_OK):
            raise
        yield (
            f"{folder} is not there, and only {owner_of(above)} can make it "
            "(a service's unit makes its StateDirectory)"
        )
        return
    yield f"{folder} is not there; the gateway makes it at its start"
