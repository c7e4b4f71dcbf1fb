"""Preparing a SQLite trail: look before writing, then migrate, then check the key.

Runs under the writers' lock, so workers that start at once migrate once. A trail is
begun at a start only: one that vanishes later is missed until it is back.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from time import time

from app.host.file_lock import FileLock
from app.host.files import make_private, sync_folder
from app.storage.audit.errors import StoreFailed, UnusableDatabase
from app.storage.chain.links import GENESIS, head_mac, is_signed
from app.storage.sqlite.files import AuditFiles, read_key, say_begun, says_begun
from app.storage.sqlite.migrate import is_known_revision, is_newest_revision, migrate
from app.storage.sqlite.statements import (
    connect_looker,
    connect_reader,
    connect_writer,
    read_head,
    translated,
    write_head,
)

# Checking every page takes about 0.2 s at this size; larger files get the header,
# the schema and the head of the chain looked at.
QUICK_CHECK_LIMIT = 32 * 1024 * 1024

Connect = Callable[[Path], sqlite3.Connection]

# The schema's revisions whose rows this version can neither check nor follow.
FORMAT_1 = {"0001", "0002", "0003", "0004"}


def prepare(
    files: AuditFiles,
    lock: FileLock,
    key: bytes | None,
    *,
    may_begin: bool = True,
) -> bytes:
    """Make the database ready to be written to; return the chain's key.

    `lock` is open and held. Without `may_begin`, or where a trail was begun, none is
    made anew. Raises UnusableDatabase, leaving the file alone, or StoreFailed.
    """
    with translated():
        may_begin = may_begin and not says_begun(lock)
        if files.is_missing:
            _begin(files, may_begin=may_begin)
        _bring_up_to_date(files.database, thoroughly=True, may_begin=may_begin)
        key = key or read_key(files.key, may_make=may_begin)
        _check_head(files.database, key, may_make=may_begin)
        if not says_begun(lock):
            say_begun(lock)
        return key


def prepare_again(files: AuditFiles, lock: FileLock, *, thoroughly: bool) -> None:
    """Make a database ready that was ready before; a trail is never begun.

    As `prepare`, but that key and head are left to the store, which knows them.
    """
    with translated():
        refuse_if_gone(files)
        _bring_up_to_date(files.database, thoroughly=thoroughly, may_begin=False)
        if not says_begun(lock):
            say_begun(lock)


def inspect_begun(files: AuditFiles, key: bytes | None) -> None:
    """Look at a database as a start would, changing nothing.

    Raises UnusableDatabase, or StoreFailed, for one that could not be written to.
    """
    _inspect(files.database, thoroughly=False, connect=connect_looker)
    revision = revision_of(files.database, connect_looker)
    if not is_newest_revision(revision):
        return  # it is migrated at a start, and its head is then looked at
    key = key or read_key(files.key, may_make=False)
    with closing(connect_looker(files.database)) as connection:
        found = read_head(connection)
    if found is not None and not is_signed(key, *found):
        raise _wrong_key(files.database)


def refuse_if_gone(files: AuditFiles) -> None:
    """Raise UnusableDatabase if no database is where there was one."""
    if files.is_missing:
        raise UnusableDatabase("deleted", f"{files.database} is gone; put it back")


def _bring_up_to_date(database: Path, *, thoroughly: bool, may_begin: bool) -> None:
    if database.stat().st_size:
        _inspect(database, thoroughly=thoroughly)
    revision = revision_of(database)
    if revision is None and not may_begin:
        raise UnusableDatabase("replaced", f"{database} holds no audit trail")
    if not is_newest_revision(revision):
        migrate(database)


def _begin(files: AuditFiles, *, may_begin: bool) -> None:
    if not may_begin:
        raise UnusableDatabase(
            "deleted",
            f"{files.database} is gone, though a trail was begun there. "
            f"Restore it, or delete {files.lock} and {files.key} to begin a new trail.",
        )
    make_private(files.database)
    sync_folder(files.database.parent)


def _inspect(
    database: Path, *, thoroughly: bool, connect: Connect = connect_reader
) -> None:
    """Read the file, changing nothing. Raises UnusableDatabase."""
    try:
        with closing(connect(database)) as connection:
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


def revision_of(database: Path, connect: Connect = connect_reader) -> str | None:
    """Return the schema's revision, None for a new file. Raises UnusableDatabase."""
    with closing(connect(database)) as connection:
        revision = _read_revision(connection)
    if revision in FORMAT_1:
        raise UnusableDatabase(
            "corrupt",
            f"{database} holds records of chain format 1, which ended before the first "
            "release. It was left as it is. Move it aside together with its companion "
            "files, and a new trail is begun; the version that made it still reads it.",
        )
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
            begin = replace(GENESIS, knotted_at=time())
            write_head(connection, begin, head_mac(key, begin))
            return
    if found is None:
        raise StoreFailed("corrupt", f"{database}: the chain has no head")
    if not is_signed(key, *found):
        raise _wrong_key(database)


def _wrong_key(database: Path) -> UnusableDatabase:
    return UnusableDatabase(
        "wrong_key",
        f"{database} was signed with another key, or its chain was tampered with. "
        "Give the key that it was begun with (VX11_AUDIT_KEY, or the key file).",
    )
