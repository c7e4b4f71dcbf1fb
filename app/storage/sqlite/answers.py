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
from app.storage.sqlite.statements import connect_reader, translated

AROUND = 250  # bytes of a row beside its body, with its place in the index, about
TIDY_INTERVAL = 60.0  # seconds
AT_ONCE = 500  # rows that one transaction deletes: 12 ms

FIND = (
    "SELECT key, mark, record, said_at, until, body FROM answers"
    " WHERE key = ? AND until > ?"
)
# Of an Idempotency-Key the first answer counts until it has expired.
_KEEP = (
    "INSERT INTO answers (key, mark, record, said_at, until, size, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET mark = excluded.mark, record = excluded.record,"
    " said_at = excluded.said_at, until = excluded.until, size = excluded.size,"
    " body = excluded.body"
    " WHERE answers.until <= excluded.said_at OR excluded.mark = x''"
)
_SIZE = "SELECT coalesce(sum(size), 0) FROM answers"
_SOONEST = f"SELECT key, until, size FROM answers ORDER BY until LIMIT {AT_ONCE}"  # noqa: S608
_FORGET = "DELETE FROM answers WHERE key = ?"


def _row(kept: Kept) -> tuple[object, ...]:
    *facts, body = kept
    return (*facts, len(body or b"") + AROUND, body)


class KeptAnswers:
    """The write side: keeps answers with their records, and deletes what is too much.

    First what has expired, then what would expire soonest. Nothing is looked at while
    nothing was kept. It belongs to the writer's thread.
    """

    def __init__(
        self, most_bytes: int = MOST_BYTES, clock: Callable[[], float] = monotonic
    ) -> None:
        self._most, self._clock = most_bytes, clock
        # Once at the start, too: a worker of before may have kept some.
        self._due: float | None = clock()

    def write(self, connection: sqlite3.Connection, drafts: Iterable[Draft]) -> None:
        """Keep and forget what the drafts say, in their transaction."""
        kept = [_row(one) for draft in drafts for one in draft.kept]
        if kept:
            connection.executemany(_KEEP, kept)
            if self._due is None:
                self._due = self._clock() + TIDY_INTERVAL
        forgotten = [(key,) for draft in drafts for key in draft.forgotten]
        if forgotten:
            connection.executemany(_FORGET, forgotten)

    def is_due(self) -> bool:
        """Whether it is time; asked after each write."""
        return self._due is not None and self._clock() >= self._due

    def tidy(self, connection: sqlite3.Connection, now: float) -> None:
        """Delete some, in a transaction; what is left is due at once, or later."""
        (size,) = connection.execute(_SIZE).fetchone()
        if not size:
            self._due = None
            return
        doomed = []
        for key, until, its_size in connection.execute(_SOONEST):
            if until > now and size <= self._most:
                break
            doomed.append((key,))
            size -= its_size
        if doomed:
            connection.executemany(_FORGET, doomed)
        if len(doomed) < AT_ONCE:
            self._due = self._clock() + TIDY_INTERVAL


class SqliteAnswers:
    """Fulfils `Answers`, on one connection; threads take turns.

    A file that was replaced is opened anew, as it is by the writer.
    """

    has_records = True

    def __init__(self, database: Path, clock: Callable[[], float] = monotonic) -> None:
        self._database, self._clock = database, clock
        self._size: int | None = None
        self._size_due = 0.0
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
        if self._clock() >= self._size_due:
            self._size_due = self._clock() + TIDY_INTERVAL
            with suppress(AuditUnavailable):
                (self._size,) = self._fetch(_SIZE, ()) or (None,)
        return self._size

    def close(self) -> None:
        """See Answers."""
        with self._lock:
            self._disconnect()

    def _fetch(self, query: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        try:
            with self._lock, translated():
                row: tuple[Any, ...] | None
                row = self._connected().execute(query, values).fetchone()
                return row
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
