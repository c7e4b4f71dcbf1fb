"""Copies of a SQLite trail: made while it is written to, and put back in its place.

A copy is a folder of its own, 0700, with `audit.db` and, where the chain's key is in a
file, `audit.db.key`, both 0600. Neither a copy nor a trail is ever overwritten.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from app.host.file_lock import FileLock
from app.host.files import make_private, sync_folder
from app.storage.audit.errors import StoreFailed
from app.storage.chain.verification import Verification
from app.storage.sqlite.checking import verify_files
from app.storage.sqlite.files import AuditFiles, require_readable, say_begun
from app.storage.sqlite.live_workers import LiveWorkers
from app.storage.sqlite.migrate import is_newest_revision, migrate
from app.storage.sqlite.preparation import revision_of
from app.storage.sqlite.statements import connect_looker, translated

NAME = "audit.db"
LOCK_TIMEOUT = 10.0  # seconds that somebody else may hold the writers' lock
MB = 1_000_000


def backup(files: AuditFiles, key: bytes | None, folder: Path) -> Verification:
    """Copy the trail into a new folder, and check the copy; see AuditBackend."""
    require_readable(files.database, files.wal, files.shm)
    if key is None:
        require_readable(files.key)
    if folder.exists():
        raise StoreFailed("unreadable", f"{folder} is there already; name a new one")
    _require_room(folder.absolute().parent, files)
    part = folder.with_name(f".{folder.name}.part")
    copy = AuditFiles(part / NAME)
    with translated(), _removed_on_failure(part):
        part.mkdir(mode=0o700)
        _copy_database(files.database, copy.database)
        if key is None:
            _copy_file(files.key, copy.key)
        result = verify_files(copy, key)
        sync_folder(part)
        part.rename(folder)
        sync_folder(folder.absolute().parent)
    return result


def restore(
    files: AuditFiles, key: bytes | None, folder: Path, *, sets_aside: bool
) -> Verification:
    """Check a copy, and put it in the place of the trail; see AuditBackend."""
    copy, fresh = AuditFiles(folder / NAME), AuditFiles(files.beside(".new"))
    require_readable(copy.database, *([] if key else [copy.key]))
    if not files.database.parent.is_dir():
        why = f"{files.database.parent} is not there; make it as it was"
        raise StoreFailed("deleted", why)
    lock = FileLock(files.lock)
    try:
        with translated():
            lock.open()
            with lock.held_within(LOCK_TIMEOUT), _gone_afterwards(fresh):
                _require_nobody(files)
                if not sets_aside:
                    _require_none(files)
                result = _copy_and_check(copy, fresh, key)
                _set_aside(files)
                _put_in_place(fresh, files)
                say_begun(lock)
    finally:
        lock.close()
    return result


def _copy_and_check(
    copy: AuditFiles, fresh: AuditFiles, key: bytes | None
) -> Verification:
    """Copy it beside its place, bring it up to date, and look whether it is whole."""
    _copy_database(copy.database, fresh.database)
    if key is None:
        _copy_file(copy.key, fresh.key)
    if not is_newest_revision(revision_of(fresh.database)):
        migrate(fresh.database)
    result = verify_files(fresh, key)
    if not result.ok:
        why = f"{copy.database} is not whole ({result.reason})"
        raise StoreFailed("corrupt", why)
    return result


@contextmanager
def _gone_afterwards(fresh: AuditFiles) -> Iterator[None]:
    """What is not put in its place is removed, also what a killed one has left."""
    every = (fresh.database, fresh.key, fresh.wal, fresh.shm)
    for file in every:
        file.unlink(missing_ok=True)
    try:
        yield
    finally:
        for file in every:
            file.unlink(missing_ok=True)


def _require_room(folder: Path, files: AuditFiles) -> None:
    with translated():
        disk, size = os.statvfs(folder), files.database.stat().st_size
    if (free := disk.f_bavail * disk.f_frsize) < size:
        why = f"{folder} has {free / MB:.0f} MB of room; {size / MB:.0f} MB are wanted"
        raise StoreFailed("disk_full", why)


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    """A folder that a killed backup has left is in nobody's way."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _copy_database(source: Path, target: Path) -> None:
    """Take all pages of one moment; in one step, so that writers make none begin anew.

    The copy is one file, without a log beside it.
    """
    make_private(target)
    with (
        closing(connect_looker(source)) as here,
        closing(sqlite3.connect(target, isolation_level=None)) as there,
    ):
        here.backup(there)
        there.execute("PRAGMA journal_mode=DELETE")
    _sync(target)


def _copy_file(source: Path, target: Path) -> None:
    make_private(target)
    with source.open("rb") as here, target.open("wb") as there:
        shutil.copyfileobj(here, there)
    _sync(target)


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def _require_nobody(files: AuditFiles) -> None:
    """Workers miss what an older copy lacks, and their master remembers it for them."""
    if LiveWorkers.are_any(files.workers):
        why = "the gateway runs: stop it first (systemctl stop chat-gateway)"
        raise StoreFailed("locked", why)


def _in_place(files: AuditFiles) -> list[Path]:
    """All files of the trail that are there, but its lock."""
    trail = (files.database, files.wal, files.shm, files.key)
    return [file for file in trail if file.exists()]


def _require_none(files: AuditFiles) -> None:
    for file in _in_place(files):
        why = f"{file} is there; have it set aside, or move it away with its .key"
        raise StoreFailed("locked", why)


def _set_aside(files: AuditFiles) -> None:
    """Move what is there into a folder beside it."""
    if not (found := _in_place(files)):
        return
    aside = files.beside(f".before-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    aside.mkdir(mode=0o700)
    _give_to_owner_of(files.database.parent, aside)
    for file in found:
        file.rename(aside / file.name)


def _put_in_place(fresh: AuditFiles, files: AuditFiles) -> None:
    """Name them as they are to be called, the database last."""
    folder = files.database.parent
    for new, file in ((fresh.key, files.key), (fresh.database, files.database)):
        if new.exists():
            _give_to_owner_of(folder, new)
            new.rename(file)
    _give_to_owner_of(folder, files.lock)
    sync_folder(folder)


def _give_to_owner_of(folder: Path, file: Path) -> None:
    """Root must not leave files that the gateway's user cannot open.

    A link that this user has put there meanwhile is not followed.
    """
    owner = folder.stat()
    os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=False)
