"""Statements: SQLite's connections and SQL, and what its errors mean."""

import errno
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import cast

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert

from app.storage.audit.errors import RowRefused, StoreFailed
from app.storage.audit.rows import Values
from app.storage.audit.schema import ERASED, GUARDS, WRITTEN, records
from app.storage.chain.links import LANE, Head

# Seconds that SQLite itself waits for a lock. Among our own workers the flock has
# queued us before, so this is only met when somebody else holds the database.
BUSY_TIMEOUT = 0.9
# Past this size the write-ahead log is cut back to it whenever it starts afresh.
WAL_LIMIT = 4 * 1024 * 1024

_TRUST_NO_SCHEMA = "PRAGMA trusted_schema=OFF"
_WRITER = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA wal_autocheckpoint=0",
    f"PRAGMA journal_size_limit={WAL_LIMIT}",
    "PRAGMA mmap_size=0",
    "PRAGMA cache_size=-16000",
    "PRAGMA secure_delete=ON",  # the default of some builds only
    _TRUST_NO_SCHEMA,
)
_REASONS = {
    "BUSY": "locked",
    "LOCKED": "locked",
    "FULL": "disk_full",
    "READONLY": "read_only",
    "CORRUPT": "corrupt",
    "ERROR": "corrupt",  # no such table or column
    "NOTADB": "corrupt",
    "CANTOPEN": "unreadable",
    "IOERR": "io_error",
}
# The index of the log could not be made as large as it must be.
_NO_ROOM = ("SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_SHMMAP")
_OS_REASONS = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EROFS: "read_only",
    errno.ENOENT: "deleted",
    errno.EACCES: "unreadable",
    errno.EPERM: "unreadable",
}


_HEAD_FIELDS = tuple(Head.__dataclass_fields__)
_HEAD_COLUMNS = ", ".join((*_HEAD_FIELDS, "mac")).replace("lane", "id")
_HEADS = f"SELECT {_HEAD_COLUMNS} FROM chain"  # noqa: S608
_WRITE_HEAD = (
    f"REPLACE INTO chain ({_HEAD_COLUMNS}) VALUES"  # noqa: S608
    f" (?{', ?' * len(_HEAD_FIELDS)})"
)


def connect_writer(path: Path) -> sqlite3.Connection:
    """Connect to write, durable to the last commit; never makes the file."""
    connection = _connect(path, "rw")
    for pragma in _WRITER:
        connection.execute(pragma)
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """Connect to read only; works while others write, and disturbs nobody."""
    connection = _connect(path, "ro")
    connection.execute(_TRUST_NO_SCHEMA)
    return connection


def connect_looker(path: Path) -> sqlite3.Connection:
    """Connect to read, and leave no file behind where nobody else is connected."""
    is_in_use = path.with_name(f"{path.name}-wal").exists()
    connection = _connect(path, "ro" if is_in_use else "ro&immutable=1")
    connection.execute(_TRUST_NO_SCHEMA)
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,  # we say BEGIN IMMEDIATE ourselves
        check_same_thread=False,  # made, used and closed one after the other
    )
    connection.text_factory = _text
    return connection


def _text(raw: bytes) -> str:
    """Read a text, which need be no UTF-8 where somebody else has written it."""
    return raw.decode(errors="backslashreplace")


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the driver and the system raise into our own errors."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError) as error:
        if "records.seq" in str(error):  # the next row would meet it as well
            raise StoreFailed("corrupt", f"a place is taken: {error}") from error
        raise RowRefused(str(error)) from error
    except (sqlite3.ProgrammingError, OverflowError, UnicodeError) as error:
        raise RowRefused(type(error).__name__) from error
    except sqlite3.Error as error:
        raise StoreFailed(reason_of(error), str(error)) from error
    except sa.exc.DBAPIError as error:  # of a migration
        cause = error.orig
        reason = reason_of(cause) if isinstance(cause, sqlite3.Error) else "io_error"
        raise StoreFailed(reason, str(cause)) from error
    except TimeoutError as error:
        raise StoreFailed("locked", str(error)) from error
    except OSError as error:
        reason = _OS_REASONS.get(error.errno or 0, "io_error")
        raise StoreFailed(reason, str(error)) from error


def reason_of(error: sqlite3.Error) -> str:
    """Name in one word what went wrong, by SQLite's primary error code."""
    name = getattr(error, "sqlite_errorname", "")
    if name in _NO_ROOM:
        return "disk_full"
    return _REASONS.get(name.removeprefix("SQLITE_").split("_")[0], "io_error")


@cache
def upsert() -> str:
    """Return the statement that writes a row.

    One that is there unsealed is completed; a sealed one is left alone, and then
    counts as not written. Compiled once from the schema and handed to the driver
    as it is: SQLAlchemy's own executemany costs 8 to 20 us more per row, and one
    statement of many VALUES or over json_each gains nothing, with 32 threads
    competing for the GIL neither (measured).
    """
    row = insert(records).values({name: sa.bindparam(name) for name in WRITTEN})
    columns = {name: row.excluded[name] for name in WRITTEN if name != "id"}
    whole = columns | dict.fromkeys(ERASED, sa.null())
    unsealed = records.c.seq.is_(None)
    statement = row.on_conflict_do_update(["id"], set_=whole, where=unsealed)
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark")))


def write_rows(connection: sqlite3.Connection, rows: Sequence[Values]) -> None:
    """Insert rows or complete them. Raises RowRefused if one is sealed already."""
    if rows and connection.executemany(upsert(), rows).rowcount != len(rows):
        raise RowRefused("a record of that id is sealed already")


def read_head(connection: sqlite3.Connection) -> tuple[Head, bytes] | None:
    """Return the head of the chain and its signature; None before there is one."""
    row = connection.execute(f"{_HEADS} WHERE id = {LANE}").fetchone()
    return row and (Head(*row[:-1]), row[-1])


def write_head(connection: sqlite3.Connection, head: Head, mac: bytes) -> None:
    """Store the head of a lane of the chain."""
    connection.execute(_WRITE_HEAD, (*map(head.__getattribute__, _HEAD_FIELDS), mac))


def digest_at(connection: sqlite3.Connection, seq: int) -> bytes | None:
    """Return the digest of the record that has this place in the chain."""
    query = "SELECT digest FROM records WHERE seq = ? AND lane = ?"
    row = connection.execute(query, (seq, LANE)).fetchone() or (None,)
    return cast("bytes | None", row[0])


def check_guards(connection: sqlite3.Connection) -> None:
    """Raise StoreFailed unless the triggers are those that we made."""
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    found = {name: plain(sql) for name, sql in connection.execute(query)}
    if found != GUARDS:
        odd = dict(found.items() ^ GUARDS.items())
        raise StoreFailed("corrupt", f"the guards of the records: {', '.join(odd)}")


def plain(sql: str) -> str:
    """Return a statement of the schema without its layout and needless quotes."""
    return " ".join(re.sub(r'"(\w+)"', r"\1", sql).split())  # ALTER TABLE quotes names


def checkpoint(connection: sqlite3.Connection, mode: str) -> bool:
    """Bring the log into the database; return whether all of it went.

    Waits for nobody. Call it with the writers' lock held.
    """
    with _no_wait(connection):
        pragma = f"PRAGMA wal_checkpoint({mode})"
        busy, pages, moved = connection.execute(pragma).fetchone()
    return not busy and pages == moved


def begin(connection: sqlite3.Connection, waited: float) -> None:
    """Begin to write, with the writers' lock held, for which so long was waited.

    Whoever had it may have waited for somebody else's lock on the database all that
    time; to wait for that as long again, one worker after the other, helps nobody.
    """
    with nullcontext() if waited < BUSY_TIMEOUT / 2 else _no_wait(connection):
        connection.execute("BEGIN IMMEDIATE")


@contextmanager
def _no_wait(connection: sqlite3.Connection) -> Iterator[None]:
    """Let SQLite wait for no lock."""
    connection.execute("PRAGMA busy_timeout=0")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT * 1000)}")
