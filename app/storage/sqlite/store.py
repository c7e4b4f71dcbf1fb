"""SqliteStore: the trail in one SQLite file that all workers of a host share.

Every write transaction and every checkpoint happens under one flock, so workers
queue in the kernel instead of polling, and SQLite before 3.51.3 never meets the
moment in which it could corrupt the log (two connections resetting it at once).
"""

import logging
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from time import time

from app.host.file_lock import FileLock
from app.storage.audit.errors import RowRefused, StoreFailed
from app.storage.audit.orphans import Orphans
from app.storage.audit.rows import Draft, trial_draft
from app.storage.audit.store import Compose
from app.storage.chain.knots import is_due, knot
from app.storage.chain.links import ClockWatch, Head, head_mac, is_signed, seal
from app.storage.sqlite.answers import KeptAnswers
from app.storage.sqlite.files import AuditFiles, read_key
from app.storage.sqlite.live_workers import LiveWorkers
from app.storage.sqlite.preparation import prepare_again, refuse_if_gone
from app.storage.sqlite.rollback_detector import RollbackDetector
from app.storage.sqlite.statements import (
    check_guards,
    checkpoint,
    connect_reader,
    connect_writer,
    read_head,
    reason_of,
    translated,
    write_head,
    write_rows,
)
from app.storage.sqlite.wal import WriteAheadLog

log = logging.getLogger(__name__)

# Below this much free space new chats are refused; it is what those in flight
# have left to be put on record (docs/faults.md, row 73).
RESERVE = 4 * 1024 * 1024


class SqliteStore:
    """Fulfils `Store`; one thread's. `key` None means the key file.

    `newest` is a head of before; `reserve` is in bytes. It never begins a trail.
    """

    def __init__(
        self,
        files: AuditFiles,
        key: bytes | None = None,
        *,
        reserve: int = RESERVE,
        answers: KeptAnswers | None = None,
        watch: ClockWatch | None = None,
        newest: str | None = None,
    ) -> None:
        self._files, self._given_key, self._reserve = files, key, reserve
        self._answers, self._watch = answers or KeptAnswers(), watch or ClockWatch()
        self._lock = FileLock(files.lock)
        self._roster = LiveWorkers(files.workers)
        self._witness = RollbackDetector(self._roster, newest)
        self._orphans = Orphans()
        self._connection: sqlite3.Connection | None = None
        self._key = b""
        self._inodes: tuple[int, int] | None = None  # of the database and its log
        self._size = 0
        self._wal = WriteAheadLog(files.wal)
        self._is_dirty = self._was_dirty = False
        self._is_suspect = False  # so its pages are looked at once more

    @property
    def instance(self) -> str:
        """Name of this worker in the records that it is responsible for."""
        return self._roster.instance

    def open(self) -> None:
        """Connect afresh, after looking at the database as closely as at start."""
        with translated():
            known, self._inodes = self._inodes, None
            self._disconnect()
            refuse_if_gone(self._files)
            self._lock.open()
            with self._lock.held():
                is_known = known is not None and known[0] == self._inode()
                thoroughly = self._is_suspect or not is_known
                prepare_again(self._files, self._lock, thoroughly=thoroughly)
                self._key = self._given_key or read_key(self._files.key, may_make=False)
                self._connection = connect_writer(self._files.database)
                self._roster.join()
                self._witness.saw(self._head(self._connection))
                self._given_key = self._key  # the right one, whatever the file will say
                self._inodes = (self._inode(), self._files.wal.stat().st_ino)
                self._size, self._is_suspect = 0, False

    def write(self, compose: Compose) -> None:
        """Append rows and move the chain's head, in one durable transaction."""
        with translated(), self._lock.held():
            with self._transaction() as connection:
                head = self._append(connection, compose())
            self._committed(head)

    def probe(self) -> str | None:
        """Look at the file, its place and the free space, and rehearse a write."""
        with translated():
            self._check_in_place()
            self._check_writable()
            with self._lock.held():
                self._rehearse()
                self._look_afresh()
            self._check_point_when_idle()
            return self._shortage()

    def sweep(self) -> int:
        """Seal what dead workers left open, if it is what they wrote; see Store.

        Living ones' rows are not touched.
        """
        with translated(), self._lock.held():
            self._check_in_place()  # or the roster would be made elsewhere
            living = self._roster.living()
            tells = self.instance == min(living)  # one of them is enough
            with self._transaction() as connection:
                orphans = self._orphans.next_page(
                    connection, self._key, living, time(), tells=tells
                )
                head = self._append(connection, orphans) if orphans else None
            if head is not None:
                self._committed(head)
                log.warning("Audit: %d interrupted chats put on record", len(orphans))
            return self._orphans.unsigned

    def tie(self) -> Head | None:
        """Append a knot if the last one is a minute old; see Store."""
        with translated(), self._lock.held():
            with self._transaction() as connection:
                if not is_due(self._head(connection), self._watch.now()):
                    return None
                # There is one lane, so there is no other head to be named.
                drafts = [knot((), self.instance, self._watch.now())]
                head = self._append(connection, drafts, is_knot=True)
            self._committed(head)
            return head

    def maintain(self) -> None:
        """Bring the log into the database once it has grown by 4 MB; tidy up."""
        if self._wal.is_long:
            with translated(), self._lock.held():
                self._check_point()
        if self._answers.is_due():
            with translated(), self._lock.held(), self._transaction() as connection:
                self._answers.tidy(connection, time())

    def close(self) -> None:
        """Empty the log, leave the roster and let go of all files."""
        with suppress(StoreFailed, RowRefused), translated():
            self._disconnect(for_good=True)
        self._lock.close()

    def leave_to_parent(self) -> None:
        """In a forked child: close our copies of the locks, and nothing else."""
        self._lock.close()
        self._roster.leave_to_parent()

    # ---- the transaction

    @contextmanager
    def _transaction(self, end: str = "COMMIT") -> Iterator[sqlite3.Connection]:
        """Do one, with the writers' lock held."""
        if self._connection is None:
            raise StoreFailed("unreadable", "not connected")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection
            self._connection.execute(end)
        except BaseException as error:
            if isinstance(error, sqlite3.Error):
                self._is_suspect = reason_of(error) == "corrupt"
            with suppress(sqlite3.Error):  # SQLite may have done so itself
                self._connection.execute("ROLLBACK")
            raise

    def _append(
        self,
        connection: sqlite3.Connection,
        drafts: Sequence[Draft],
        *,
        is_knot: bool = False,
    ) -> Head:
        head = self._head(connection)
        now, step = self._watch.read(head.sealed_at)
        rows, new_head = seal(drafts, head, self._key, now=now, clock_step=step)
        write_rows(connection, rows)
        self._answers.write(connection, drafts)
        if new_head != head:
            self._watch.marked()
        if is_knot:
            new_head = replace(new_head, knotted_at=now)
        write_head(connection, new_head, head_mac(self._key, new_head))
        return new_head

    def _head(self, connection: sqlite3.Connection) -> Head:
        """The head of the chain; raises StoreFailed if nothing may follow it.

        Signing what follows a forged head would make the forgery good.
        """
        found = read_head(connection)
        if found is None or not is_signed(self._key, *found):
            raise StoreFailed("corrupt", "the chain's head is missing or forged")
        self._witness.check(connection, found[0])
        return found[0]

    def _committed(self, head: Head) -> None:
        self._is_dirty = True
        # A deleted file takes writes as before, and they lead nowhere.
        self._check_in_place()
        self._witness.saw(head)

    def _rehearse(self) -> None:
        """Write a record as a batch would, and take it back."""
        with self._transaction("ROLLBACK") as connection:
            head = self._head(connection)
            self._witness.check_with_others(connection, head)
            check_guards(connection)
            draft = trial_draft(self.instance, time())
            rows, _ = seal([draft], head, self._key, now=time())
            try:
                write_rows(connection, rows)
            except (RowRefused, sqlite3.IntegrityError) as error:
                raise StoreFailed("corrupt", f"no record fits: {error}") from error
        self._witness.saw(head)

    def _look_afresh(self) -> None:
        """Read the head as a newcomer would: our own cache hides a damaged file."""
        with closing(connect_reader(self._files.database)) as connection:
            self._head(connection)

    # ---- the file

    def _inode(self) -> int:
        with suppress(FileNotFoundError):
            return self._files.database.stat().st_ino
        return -1

    def _check_in_place(self) -> None:
        try:
            database, wal = os.stat(self._files.database), os.stat(self._files.wal)
        except FileNotFoundError as error:
            raise StoreFailed("deleted", str(error)) from error
        if (database.st_ino, wal.st_ino) != self._inodes:
            raise StoreFailed("replaced", str(self._files.database))
        if database.st_size < self._size:
            raise StoreFailed("replaced", f"{self._files.database} was cut short")
        self._size, self._wal.size = database.st_size, wal.st_size

    def _check_writable(self) -> None:
        # Root could write all the same, but whoever took the bit away means it.
        mode = os.stat(self._files.database).st_mode
        is_read_only = os.statvfs(self._files.database).f_flag & os.ST_RDONLY
        if is_read_only or not mode & stat.S_IWUSR:
            raise StoreFailed("read_only", str(self._files.database))
        if not self._lock.is_in_place():
            raise StoreFailed("replaced", str(self._files.lock))

    def _shortage(self) -> str | None:
        disk = os.statvfs(self._files.database)
        return "disk_full" if disk.f_bavail * disk.f_frsize < self._reserve else None

    # ---- the log

    def _check_point_when_idle(self) -> None:
        if self._was_dirty and not self._is_dirty:
            with self._lock.held():
                self._check_point()
        self._was_dirty, self._is_dirty = self._is_dirty, False

    def _check_point(self) -> None:
        if self._connection is not None:
            self._wal.check_point(self._connection)

    def _disconnect(self, *, for_good: bool = False) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # Closing may checkpoint, so it needs the lock as well.
        with self._lock.held():
            if for_good:
                with suppress(sqlite3.Error):
                    checkpoint(connection, "TRUNCATE")
                self._roster.leave()
            connection.close()
