"""Trail: opens the audit trail that a URL names."""

import logging
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from app.host.file_lock import FileLock
from app.storage.audit.activity import ActivityReader
from app.storage.audit.chain import Head
from app.storage.audit.errors import StoreFailed, UnusableDatabase
from app.storage.audit.queued_trail import QueuedTrail
from app.storage.audit.reader import AuditReader
from app.storage.audit.verification import OnProgress, Verification, ignore, verify
from app.storage.sqlite.files import AuditFiles, read_key, was_begun
from app.storage.sqlite.preparation import prepare, refuse_if_gone
from app.storage.sqlite.statements import connect_reader, translated
from app.storage.sqlite.store import RESERVE, SqliteStore

log = logging.getLogger(__name__)

# How long starting waits for other workers that are migrating.
PREPARE_TIMEOUT = 10.0


def open_trail(
    url: str,
    key: bytes | None = None,
    *,
    reserve: int = RESERVE,
    is_known: bool = False,
    may_begin: bool = True,
) -> QueuedTrail:
    """Open the audit trail, making and migrating it if need be.

    Without a key the one in the file beside the database is used. `reserve` is the
    free space in bytes below which new chats are refused. Raises UnusableDatabase
    for a file that must not be written to, which is left as it is, and ValueError
    for a URL that is none of ours. Where writing is impossible just now (locked,
    full, read-only) the trail opens, refuses chats, and comes back by itself;
    StoreFailed is raised only if it has never been there and can't be made.

    Without `may_begin` one that is not there is an UnusableDatabase, too.
    With `is_known` somebody has opened it before, so it is never made, and whatever
    is wrong with it, it opens, refuses chats, and comes back once that is mended.
    """
    files = _files(url)
    fault = None
    try:
        key = _prepare(files, key, may_begin=may_begin and not is_known)
    except StoreFailed as failure:
        log.error("Audit trail unavailable: %s", failure)
        fault = failure.reason
        if not is_known:
            key = _key_of_before(files, key, failure)

    def make_store() -> SqliteStore:
        return SqliteStore(files, key, reserve=reserve)

    return QueuedTrail(make_store, key=lambda: key or _found_key(files), fault=fault)


def open_reader(url: str) -> AuditReader:
    """Open the read side. Raises ValueError as `open_trail` does."""
    return AuditReader(_reading_engine(_files(url)))


def open_activity(url: str) -> ActivityReader:
    """Open the view of the recent past. Raises ValueError as `open_trail` does."""
    return ActivityReader(_reading_engine(_files(url)))


def verify_trail(
    url: str,
    key: bytes | None = None,
    *,
    noted: Head | None = None,
    on_progress: OnProgress = ignore,
) -> Verification:
    """Check the whole chain; works while workers write. Raises StoreFailed.

    `noted` is a head that an earlier check returned and that was kept elsewhere.
    """
    files = _files(url)
    if not files.database.exists():
        raise StoreFailed("unreadable", f"{files.database} is not there")
    with translated():
        key = key or read_key(files.key, may_make=False)
    try:
        return verify(_reading_engine(files), key, noted, on_progress)
    except sa.exc.SQLAlchemyError as error:
        raise StoreFailed("unreadable", f"{files.database} cannot be read") from error


def _prepare(files: AuditFiles, key: bytes | None, *, may_begin: bool) -> bytes:
    lock = FileLock(files.lock)
    try:
        with translated():
            if may_begin:
                files.make_folder()
            else:
                refuse_if_gone(files)
            lock.open()
            with lock.held_within(PREPARE_TIMEOUT):
                return prepare(files, lock, key, may_begin=may_begin)
    finally:
        lock.close()


def _key_of_before(files: AuditFiles, key: bytes | None, failure: StoreFailed) -> bytes:
    if isinstance(failure, UnusableDatabase) or not was_begun(files):
        raise failure
    with translated():
        return key or read_key(files.key, may_make=False)


def _found_key(files: AuditFiles) -> bytes:
    with suppress(StoreFailed), translated():
        return read_key(files.key, may_make=False)
    return b""


def audit_files(url: str) -> tuple[Path, Path]:
    """Where the database and its write-ahead log are; ValueError if in no file."""
    files = _files(url)
    return files.database, files.wal


def default_state_dir(url: str) -> Path:
    """The folder of an instance that names none: the one of the audit database."""
    return _files(url).database.parent


def _files(url: str) -> AuditFiles:
    try:
        address = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise ValueError("the audit URL is no URL") from None
    path = address.database
    if address.get_backend_name() != "sqlite" or path in (None, "", ":memory:"):
        raise ValueError("the audit URL must be sqlite:///path/to/a/file")
    return AuditFiles(Path(str(path)).absolute())


def _reading_engine(files: AuditFiles) -> sa.Engine:
    return sa.create_engine(
        "sqlite://",
        creator=lambda: connect_reader(files.database),
        poolclass=sa.NullPool,  # the file may be replaced at any time
    )
