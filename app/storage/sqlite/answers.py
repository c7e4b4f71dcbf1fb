"""Answers in SQLite: written in the commit of their record, read beside the writer."""

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any

from app.gateway.errors import AuditUnavailable
from app.gateway.kept.answers import Kept
from app.host.forks import at_fork
from app.storage.audit.entry import RETRY_AFTER
from app.storage.audit.errors import RowRefused, StoreFailed
from app.storage.audit.rows import Draft
from app.storage.backend import MOST_BYTES
from app.storage.kept.rows import (
    CHANGES,
    COLUMNS,
    FOUND,
    SHARES,
    SIZE,
    SOONEST,
    Row,
    Share,
    SizeGauge,
    TidyTimes,
    keys_of,
    row_of,
    soonest_of,
)
from app.storage.sqlite.statements import connect_reader, translated

FIND = f"SELECT {FOUND} FROM answers WHERE key = ? AND until > ?"  # noqa: S608
# Of an Idempotency-Key the first answer counts until it has expired.
_KEEP = (
    f"INSERT INTO answers ({', '.join(COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    f" ON CONFLICT (key) DO UPDATE SET {CHANGES}"
    " WHERE answers.until <= excluded.said_at OR answers.mark = x''"
)
_SOONEST_OF = soonest_of("?")
_FORGET = "DELETE FROM answers WHERE key = ?"


class KeptAnswers:
    """The write side: keeps answers with their records, and deletes what is too much.

    It belongs to the writer's thread.
    """

    def __init__(
        self, most_bytes: int = MOST_BYTES, clock: Callable[[], float] = monotonic
    ) -> None:
        self._times = TidyTimes(most_bytes, clock)
        self.is_due = self._times.is_due

    def write(self, connection: sqlite3.Connection, drafts: Iterable[Draft]) -> None:
        """Keep and forget what the drafts say, in their transaction."""
        kept = [row_of(one) for draft in drafts for one in draft.kept]
        if kept:
            connection.executemany(_KEEP, kept)
            self._times.kept_some()
        forgotten = [(key,) for draft in drafts for key in draft.forgotten]
        if forgotten:
            connection.executemany(_FORGET, forgotten)

    def tidy(self, connection: sqlite3.Connection, now: float) -> None:
        """Delete some, in a transaction; what is left is due at once, or later."""
        (size,) = connection.execute(SIZE).fetchone()
        if not size:
            self._times.nothing_there()
            return
        doomed = self._times.doomed(size, _Rows(connection), now)
        connection.executemany(_FORGET, [(key,) for key in doomed])


class _Rows:
    """Fulfils `Rows` (see there)."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def soonest(self) -> Iterable[Row]:
        """See Rows."""
        return self._connection.execute(SOONEST)

    def shares(self) -> Iterable[Share]:
        """See Rows."""
        return self._connection.execute(SHARES)

    def soonest_of(self, owner: bytes) -> Iterable[Row]:
        """See Rows."""
        return self._connection.execute(_SOONEST_OF, keys_of(owner))


class SqliteAnswers:
    """Fulfils `Answers`, on one connection; threads take turns.

    A file that was replaced is opened anew, as it is by the writer.
    """

    has_records = True

    def __init__(self, database: Path, clock: Callable[[], float] = monotonic) -> None:
        self._database = database
        self._size = SizeGauge(lambda: self._fetch(SIZE, ())[0], clock)
        self._lock = Lock()  # guards the connection
        self._connection: sqlite3.Connection | None = None
        self._inode = -1
        self._inherited: list[sqlite3.Connection] = []  # kept from being collected
        at_fork(in_child=self._leave_to_parent)

    def find(self, key: bytes, now: float) -> Kept | None:
        """See Answers."""
        found = self._fetch(FIND, (key, now))
        return Kept(*found) if found else None

    def put(self, kept: Kept) -> None:
        """Nothing: the writer has kept it with its record."""

    def size(self) -> int | None:
        """See Answers; as of a minute ago."""
        if self._connection is None:
            return None  # nobody has asked for a kept answer
        return self._size.read()

    def close(self) -> None:
        """See Answers."""
        with self._lock:
            self._disconnect()

    def _fetch(self, query: str, values: tuple[object, ...]) -> Any:
        """Return the first row, None if there is none."""
        try:
            with self._lock, translated():
                return self._connected().execute(query, values).fetchone()
        except (StoreFailed, RowRefused) as failure:
            with self._lock:
                self._disconnect()
            reason = getattr(failure, "reason", "unreadable")
            raise AuditUnavailable(reason, retry_after=RETRY_AFTER) from failure

    def _connected(self) -> sqlite3.Connection:
        inode = self._database.stat().st_ino
        if self._connection is None or inode != self._inode:
            self._disconnect()
            self._connection, self._inode = connect_reader(self._database), inode
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _leave_to_parent(self) -> None:
        """Begin afresh in a child, which must not close its parent's connection."""
        if self._connection is not None:
            self._inherited.append(self._connection)
        self._lock, self._connection = Lock(), None
