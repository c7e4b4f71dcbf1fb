"""SqliteStore: the trail in one SQLite file that all workers of a host share.

Every write transaction and every checkpoint happens under one flock, so workers
queue in the kernel instead of polling, and SQLite before 3.51.3 never meets the
moment in which it could corrupt the log (two connections resetting it at once).
"""

import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from time import time
from typing import Any

from app.host.file_lock import FileLock
from app.storage.audit.errors import RowRefused, StoreFailed
from app.storage.audit.orphans import Orphans
from app.storage.audit.rows import Draft, trial_draft
from app.storage.audit.store import Compose
from app.storage.chain.knots import is_due, knot
from app.storage.chain.links import ClockWatch, Head, head_mac, is_signed, seal
from app.storage.chain.retention import FOR_EVER, Keep
from app.storage.retention.pruner import Change, Plan
from app.storage.sqlite.answers import KeptAnswers
from app.storage.sqlite.files import (
    RESERVE,
    AuditFiles,
    inode_of,
    read_key,
    require_writable,
    shortage,
)
from app.storage.sqlite.live_workers import LiveWorkers
from app.storage.sqlite.preparation import prepare_again, refuse_if_gone
from app.storage.sqlite.retention.covering import CoveringPruner, LogInUse
from app.storage.sqlite.rollback_detector import RollbackDetector
from app.storage.sqlite.statements import (
    begin,
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
        keep: Keep = FOR_EVER,
    ) -> None:
        self._files, self._given_key, self._reserve = files, key, reserve
        self._answers, self._watch = answers or KeptAnswers(), watch or ClockWatch()
        self._lock = FileLock(files.lock)
        self._roster = LiveWorkers(files.workers)
        self._witness = RollbackDetector(self._roster, newest)
        self._orphans = Orphans()
        self._pruner = CoveringPruner(keep, files.database, self.instance)
        self._is_eldest = False  # of the workers that live
        self._connection: sqlite3.Connection | None = None
        self._key = b""
        self._inodes: tuple[int, int] | None = None  # of the database and its log
        self._size = 0
        self._wal = WriteAheadLog(files.wal)
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
                is_known = known and known[0] == inode_of(self._files.database)
                thoroughly = self._is_suspect or not is_known
                prepare_again(self._files, self._lock, thoroughly=thoroughly)
                self._key = self._given_key or read_key(self._files.key, may_make=False)
                self._connection = connect_writer(self._files.database)
                self._roster.join()
                self._witness.saw(self._head(self._connection))
                self._given_key = self._key  # the right one, whatever the file will say
                self._inodes = (
                    inode_of(self._files.database),
                    self._files.wal.stat().st_ino,
                )
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
            require_writable(self._files, self._lock)
            with self._lock.held():
                self._rehearse()
                # As a newcomer would: our own cache hides a damaged file.
                with closing(connect_reader(self._files.database)) as newcomer:
                    self._head(newcomer)
            if self._wal.has_come_to_rest():
                with self._lock.held():
                    self._check_point()
            return shortage(self._files, self._reserve)

    def sweep(self) -> int:
        """Seal what dead workers, and no living ones, left open; see Store."""
        with translated(), self._lock.held():
            self._check_in_place()  # or the roster would be made elsewhere
            living = self._roster.living()
            self._is_eldest = tells = self.instance == min(living)
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

        def plan(_: sqlite3.Connection, head: Head) -> Change | None:
            if not is_due(head, now := self._watch.now()):
                return None
            # There is one lane, so there is no other head to be named.
            return Change([knot((), self.instance, now)], {"knotted_at": now})

        return self.commit(plan)

    def prune(self, *, is_idle: bool) -> float:
        """Erase or prune a batch of what is over its time; see Store."""
        if not self._is_eldest:  # one is enough
            return self._pruner.ask_again
        with translated():
            return self._pruner.turn(self.commit, is_idle=is_idle)

    def commit(self, plan: Plan, *, empties_log: bool = False) -> Head | None:
        """Commit what a plan makes of the head; see `FileCommit`."""
        with translated(), self._lock.held():
            if empties_log and not self._check_point("TRUNCATE"):
                raise LogInUse
            with self._transaction() as connection:
                change = plan(connection, self._head(connection))
                if change is None:
                    return None
                head = self._append(connection, change.drafts, **change.head)
                change.then(connection)
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
            begin(self._connection, self._lock.waited)
            yield self._connection
            self._connection.execute(end)
        except BaseException as error:
            if isinstance(error, sqlite3.Error):
                self._is_suspect = reason_of(error) == "corrupt"
            with suppress(sqlite3.Error):  # SQLite may have done so itself
                self._connection.execute("ROLLBACK")
            raise

    def _append(
        self, connection: sqlite3.Connection, drafts: Sequence[Draft], **changes: Any
    ) -> Head:
        head = self._head(connection)
        now, step = self._watch.read(head.sealed_at)
        rows, new_head = seal(drafts, head, self._key, now=now, clock_step=step)
        write_rows(connection, rows)
        self._answers.write(connection, drafts)
        if new_head != head:
            self._watch.marked()
        new_head = replace(new_head, **changes)
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
        self._wal.is_dirty = True
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

    # ---- the file

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

    # ---- the log

    def _check_point(self, mode: str | None = None) -> bool:
        connection = self._connection
        return connection is not None and self._wal.check_point(connection, mode)

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
