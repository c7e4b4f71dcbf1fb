"""Checking a SQLite trail: the chain over its records, and the file around it."""

import sqlite3
from collections.abc import Iterable
from dataclasses import replace

import sqlalchemy as sa

from app.storage.audit.errors import StoreFailed
from app.storage.chain.knots import Place
from app.storage.chain.verification import OnProgress, Verification, ignore, verify
from app.storage.sqlite.files import AuditFiles, read_key, require_readable
from app.storage.sqlite.soundness import flaw_of_file
from app.storage.sqlite.statements import connect_reader, translated


def verify_files(
    files: AuditFiles,
    key: bytes | None,
    noted: Iterable[Place] = (),
    on_progress: OnProgress = ignore,
) -> Verification:
    """Check the whole chain; works while workers write. Raises StoreFailed.

    Without a `key` that of the file beside the database is used.
    """
    require_readable(files.database, files.wal, files.shm)
    if key is None:
        require_readable(files.key)
    with translated():
        key = key or read_key(files.key, may_make=False)
    failure: Exception | None = None
    try:
        result = verify(reading_engine(files), key, noted, on_progress)
    except sa.exc.SQLAlchemyError as error:
        result, failure = Verification(0, ok=False), error
    return _with_file_checked(files, result, failure)


def reading_engine(files: AuditFiles) -> sa.Engine:
    """Make an engine that only reads; each connection is a new one."""
    return sa.create_engine(
        "sqlite://",
        creator=lambda: connect_reader(files.database),
        poolclass=sa.NullPool,  # the file may be replaced at any time
    )


def _with_file_checked(
    files: AuditFiles, result: Verification, failure: Exception | None
) -> Verification:
    """Look at the file around a chain that is whole, or could not be read."""
    if not (result.ok or failure):
        return result
    detail = f"{files.database} cannot be read"
    try:
        why = flaw_of_file(files.database)
    except sqlite3.Error as error:
        raise StoreFailed("unreadable", detail) from error
    if why:
        return replace(result, ok=False, reason=why)
    if failure:
        raise StoreFailed("unreadable", detail) from failure
    return result
