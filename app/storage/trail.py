"""Opening a trail by its URL: the front door of this room."""

import logging
from pathlib import Path

import sqlalchemy as sa

from app.storage.activity import ActivityReader
from app.storage.chain import Head
from app.storage.errors import StoreFailed, UnusableDatabase
from app.storage.files import AuditFiles, FileLock, read_key
from app.storage.preparation import prepare
from app.storage.queued_trail import QueuedTrail
from app.storage.reader import AuditReader
from app.storage.sqlite import connect_reader, translated
from app.storage.sqlite_store import RESERVE, SqliteStore
from app.storage.verification import Verification, verify

log = logging.getLogger(__name__)

# How long starting waits for other workers that are migrating.
PREPARE_TIMEOUT = 10.0


def open_trail(
    url: str, key: bytes | None = None, *, reserve: int = RESERVE
) -> QueuedTrail:
    """Open the audit trail, making and migrating it if need be.

    Without a key the one in the file beside the database is used. `reserve` is the
    free space in bytes below which new chats are refused. Raises UnusableDatabase
    for a file that must not be written to, which is left as it is, and ValueError
    for a URL that is none of ours. Where writing is impossible just now (locked,
    full, read-only) the trail opens, refuses chats, and comes back by itself;
    StoreFailed is raised only if it has never been there and can't be made.
    """
    files = _files(url)
    fault = None
    try:
        key = _prepare(files, key)
    except UnusableDatabase:
        raise
    except StoreFailed as failure:
        log.error("Audit trail unavailable: %s", failure)
        fault = failure.reason
        key = key or _key_of_before(files, failure)
    return QueuedTrail(
        lambda: SqliteStore(files, key, reserve=reserve), key=key, fault=fault
    )


def open_reader(url: str) -> AuditReader:
    """Open the read side. Raises ValueError as `open_trail` does."""
    return AuditReader(_reading_engine(_files(url)))


def open_activity(url: str) -> ActivityReader:
    """Open the view of the recent past. Raises ValueError as `open_trail` does."""
    return ActivityReader(_reading_engine(_files(url)))


def verify_trail(
    url: str, key: bytes | None = None, *, noted: Head | None = None
) -> Verification:
    """Check the whole chain; works while workers write. Raises StoreFailed.

    `noted` is a head that an earlier check returned and that was kept elsewhere.
    """
    files = _files(url)
    with translated():
        key = key or read_key(files.key, may_make=False)
    return verify(_reading_engine(files), key, noted)


def _prepare(files: AuditFiles, key: bytes | None) -> bytes:
    lock = FileLock(files.lock)
    try:
        with translated():
            files.database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock.open()
            with lock.held_within(PREPARE_TIMEOUT):
                return prepare(files, lock, key)
    finally:
        lock.close()


def _key_of_before(files: AuditFiles, failure: StoreFailed) -> bytes:
    if not files.key.exists():
        raise failure
    with translated():
        return read_key(files.key, may_make=False)


def audit_files(url: str) -> tuple[Path, Path]:
    """Where the database and its write-ahead log are; ValueError if in no file."""
    files = _files(url)
    return files.database, files.wal


def _files(url: str) -> AuditFiles:
    address = sa.make_url(url)
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
