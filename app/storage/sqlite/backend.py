"""SqliteBackend: the audit records in one SQLite file, as the rest sees them."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

from app.gateway.records.signs import AuditSpace
from app.host.file_lock import FileLock
from app.storage.audit.activity import ActivityReader
from app.storage.audit.errors import StoreFailed, UnusableDatabase
from app.storage.audit.queued_trail import QueuedTrail
from app.storage.audit.reader import AuditReader
from app.storage.backend import MOST_BYTES, THIS_HOST, Host, OneHost
from app.storage.chain.anchors import Anchors
from app.storage.chain.knots import Place
from app.storage.chain.links import LANE
from app.storage.chain.retention import FOR_EVER, Erased, Keep, Whose
from app.storage.chain.verification import OnProgress, Verification, ignore
from app.storage.retention.erasure import demand
from app.storage.sqlite.answers import KeptAnswers, SqliteAnswers
from app.storage.sqlite.checking import reading_engine, verify_files
from app.storage.sqlite.copies import backup, restore
from app.storage.sqlite.files import (
    RESERVE,
    AuditFiles,
    read_key,
    require_readable,
    warn_of_open_folder,
    was_begun,
)
from app.storage.sqlite.live_workers import LiveWorkers
from app.storage.sqlite.look import look
from app.storage.sqlite.preparation import prepare, refuse_if_gone
from app.storage.sqlite.retention.covered_erasure import PATIENCE, CoveredErasure
from app.storage.sqlite.retention.stale_bytes import StaleBytes
from app.storage.sqlite.rollback_detector import newest_of
from app.storage.sqlite.statements import translated
from app.storage.sqlite.store import SqliteStore

log = logging.getLogger(__name__)

# How long starting waits for other workers that are migrating.
PREPARE_TIMEOUT = 10.0
# What is said of erased words that could not be covered.
LEFT = (
    "Free parts of the file may still hold some: a program that reads it was in the "
    "way. Do this again."
)


class SqliteBackend(OneHost):
    """Fulfils `AuditBackend` (see there) with one SQLite file and those beside it.

    `url` is sqlite:///PATH. Without a key the one in the file beside the database is
    used. `reserve` is the free space in bytes below which new chats are refused, and
    `patience` how many seconds an erasure waits for readers.
    Raises ValueError for a URL that names no file; making one touches no file.
    """

    def __init__(
        self,
        url: str,
        key: bytes | None = None,
        *,
        reserve: int = RESERVE,
        patience: float = PATIENCE,
    ) -> None:
        self._patience = patience
        self._files, self._key, self._reserve = _files(url), key, reserve

    @property
    def place(self) -> str:
        """The path of the database."""
        return str(self._files.database)

    @property
    def folder(self) -> Path:
        """The folder of the database."""
        return self._files.database.parent

    def trail(
        self,
        *,
        anchor_file: Path | None = None,
        is_known: bool = False,
        keep_bytes: int = MOST_BYTES,
        may_begin: bool = True,
        newest: str | None = None,
        host: Host = THIS_HOST,  # noqa: ARG002  # it has a folder, and no other host
        keep: Keep = FOR_EVER,
    ) -> QueuedTrail:
        """Open the write side, making and migrating the file if need be."""
        files, key, fault = self._files, self._key, None
        try:
            key = _prepare(files, key, may_begin=may_begin and not is_known)
        except StoreFailed as failure:
            log.error("Audit trail unavailable: %s", failure)
            fault = failure.reason
            if not is_known:
                key = _key_of_before(files, key, failure)

        def make_store() -> SqliteStore:
            return SqliteStore(
                files,
                key,
                reserve=self._reserve,
                answers=KeptAnswers(keep_bytes),
                newest=newest,
                keep=keep,
            )

        return QueuedTrail(
            make_store,
            key=lambda: key or _found_key(files),
            fault=fault,
            on_anchor=Anchors(anchor_file),
            space=self.space,
        )

    def newest_head(self, pids: Iterable[int], known: str | None) -> str | None:
        """Return the newest of the heads that these workers have noted and `known`."""
        return newest_of(LiveWorkers.notes_of(self._files.workers, pids), known)

    def records(self) -> AuditReader:
        """Open the read side."""
        return AuditReader(reading_engine(self._files))

    def activity(self) -> ActivityReader:
        """Open the view of the recent past."""
        return ActivityReader(reading_engine(self._files))

    def answers(self) -> SqliteAnswers:
        """Open the view of the kept answers."""
        return SqliteAnswers(self._files.database)

    def verify(
        self, *, noted: Iterable[Place] = (), on_progress: OnProgress = ignore
    ) -> Verification:
        """Check the whole chain; works while workers write. Raises StoreFailed."""
        return verify_files(self._files, self._key, noted, on_progress)

    def backup(self, folder: Path) -> Verification:
        """Copy the records, and their key if it is in a file; check the copy."""
        return backup(self._files, self._key, folder)

    def restore(self, folder: Path, *, sets_aside: bool = False) -> Verification:
        """Check a copy, and put it in the place of the records."""
        return restore(self._files, self._key, folder, sets_aside=sets_aside)

    def require_readable(self) -> None:
        """Raise StoreFailed, with whose they are, if this user may not read them."""
        files = self._files
        require_readable(files.database, files.wal, files.shm)

    def look(self) -> list[str]:
        """Look at folder, files and key as a start would, changing nothing."""
        return list(look(self._files, self._key, self._reserve))

    def erase(
        self, whose: Whose, *, is_rehearsal: bool, on_progress: OnProgress = ignore
    ) -> Erased:
        """Take the words of all records of somebody out; see AuditBackend."""
        self.require_readable()
        of_them = demand(reading_engine(self._files), whose, on_progress)
        if is_rehearsal or not of_them.found:
            return Erased(of_them.records, of_them.open)
        found = of_them.found[LANE]
        with _opened_store(self._files, self._key, self._reserve) as (store, key):
            erasure = CoveredErasure(
                store.commit,
                StaleBytes(self._files.database),
                store.instance,
                whose.named(key),
                patience=self._patience,
            )
            count = erasure.of(LANE, found)
            left = "" if erasure.cover(found) else LEFT
            return Erased(count, of_them.open, left)

    def space(self) -> AuditSpace:
        """The size of the write-ahead log, and what is free beside it."""
        disk = os.statvfs(self.folder)
        return AuditSpace(_size(self._files.wal), disk.f_bavail * disk.f_frsize)


@contextmanager
def _opened_store(
    files: AuditFiles, key: bytes | None, reserve: int
) -> Iterator[tuple[SqliteStore, bytes]]:
    """A writer of our own beside the workers, for a command."""
    with translated():
        key = key or read_key(files.key, may_make=False)
    store = SqliteStore(files, key, reserve=reserve)
    store.open()
    try:
        yield store, key
    finally:
        store.close()


def _prepare(files: AuditFiles, key: bytes | None, *, may_begin: bool) -> bytes:
    lock = FileLock(files.lock)
    try:
        with translated():
            if may_begin:
                files.make_folder()
                warn_of_open_folder(files)
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


def _files(url: str) -> AuditFiles:
    scheme, _, rest = url.partition(":///")
    path = rest and sa.make_url(f"sqlite:///{rest}").database
    if scheme.partition("+")[0] != "sqlite" or path in (None, "", ":memory:"):
        raise ValueError("must be sqlite:///PATH")
    return AuditFiles(Path(str(path)).absolute())


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
