"""Preparing a SQLite trail: look before writing, then migrate, then check the key.

Runs under the writers' lock, so workers that start at once migrate once.
"""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from app.storage.chain import GENESIS, head_mac
from app.storage.errors import StoreFailed, UnusableDatabase
from app.storage.files import (
    AuditFiles,
    FileLock,
    make_private,
    read_key,
    sync_folder,
)
from app.storage.migrating import is_known_revision, is_newest_revision, migrate
from app.storage.sqlite import (
    connect_reader,
    connect_writer,
    read_head,
    translated,
    write_head,
)

# Checking every page takes about 0.2 s at this size; larger files get the header,
# the schema and the head of the chain looked at.
QUICK_CHECK_LIMIT = 32 * 1024 * 1024


def prepare(
    files: AuditFiles, lock: FileLock, key: bytes | None, *, is_known: bool = False
) -> bytes:
    """Make the database ready to be written to; return the chain's key.

    `lock` is open and held; `is_known` spares a file that was checked before.
    Raises UnusableDatabase, leaving the file alone, or StoreFailed.
    """
    with translated():
        if _is_missing(files.database):
            _begin(files, lock)
        else:
            _inspect(files.database, thoroughly=not is_known)
        revision = _revision(files.database)
        if not is_newest_revision(revision):
            migrate(files.database)
        key = key or read_key(files.key, may_make=not lock.says_begun())
        _check_head(files.database, key, may_make=not lock.says_begun())
        if not lock.says_begun():
            lock.say_begun()
        return key


def _is_missing(database: Path) -> bool:
    return not database.exists() or database.stat().st_size == 0


def _begin(files: AuditFiles, lock: FileLock) -> None:
    if lock.says_begun():
        raise UnusableDatabase(
            "deleted",
            f"{files.database} is gone, though {files.lock} shows that it was there. "
            f"Restore it, or delete {files.lock} and {files.key} to begin a new trail.",
        )
    make_private(files.database)
    sync_folder(files.database.parent)


def _inspect(database: Path, *, thoroughly: bool) -> None:
    """Read the file, changing nothing. Raises UnusableDatabase."""
    try:
        with closing(connect_reader(database)) as connection:
            _check_pages(connection, database, thoroughly)
            _check_tables(connection, database)
    except sqlite3.DatabaseError as error:
        _refuse_if_corrupt(error, database)
        raise


def _check_pages(
    connection: sqlite3.Connection, database: Path, thoroughly: bool
) -> None:
    connection.execute("PRAGMA schema_version").fetchone()
    if not thoroughly or database.stat().st_size > QUICK_CHECK_LIMIT:
        return
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise _corrupt(database, verdict)


def _check_tables(connection: sqlite3.Connection, database: Path) -> None:
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    tables = {name for (name,) in connection.execute(query)}
    if tables and "alembic_version" not in tables:
        raise UnusableDatabase(
            "corrupt",
            f"{database} is a database of something else. Give the audit trail a "
            "file of its own.",
        )


def _refuse_if_corrupt(error: sqlite3.DatabaseError, database: Path) -> None:
    if getattr(error, "sqlite_errorname", "").startswith(
        ("SQLITE_NOTADB", "SQLITE_CORRUPT")
    ):
        raise _corrupt(database, str(error)) from error


def _corrupt(database: Path, detail: str) -> UnusableDatabase:
    return UnusableDatabase(
        "corrupt",
        f"{database} can't be used ({detail}). It was left as it is. Restore it from "
        "a backup, or move it aside together with its companion files.",
    )


def _revision(database: Path) -> str | None:
    """Return the schema's revision, None for a new file. Raises UnusableDatabase."""
    with closing(connect_reader(database)) as connection:
        revision = _read_revision(connection)
    if revision is not None and not is_known_revision(revision):
        raise UnusableDatabase(
            "corrupt",
            f"{database} has the schema {revision}, which this version does not know. "
            "Run the version that made it, or a later one.",
        )
    return revision


def _read_revision(connection: sqlite3.Connection) -> str | None:
    with suppress(sqlite3.OperationalError):  # no such table: a new file
        query = "SELECT version_num FROM alembic_version"
        for (revision,) in connection.execute(query):
            return str(revision)
    return None


def _check_head(database: Path, key: bytes, *, may_make: bool) -> None:
    with closing(connect_writer(database)) as connection:
        found = read_head(connection)
        if found is None and may_make:
            write_head(connection, GENESIS, head_mac(key, GENESIS))
            return
    if found is None:
        raise StoreFailed("corrupt", f"{database}: the chain has no head")
    head, mac = found
    if head_mac(key, head) != mac:
        raise UnusableDatabase(
            "wrong_key",
            f"{database} was signed with another key, or its chain was tampered with. "
            "Give the key that it was begun with (VX11_AUDIT_KEY, or the key file).",
        )
