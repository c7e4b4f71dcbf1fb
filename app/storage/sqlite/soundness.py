"""Soundness of the file: what the chain cannot show, for it lies around the records.

An index that lacks a record, a view or a trigger hides records from every search, and
the chain over the records is whole all the same.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from app.storage.audit.rows import shown_id
from app.storage.sqlite.migrate import newest_schema, schema_of
from app.storage.sqlite.statements import connect_reader


def flaw_of_file(database: Path) -> str | None:
    """Return what is wrong with schema, pages or indexes, None if all is well.

    Reads the whole file. Raises sqlite3.Error for one that cannot be read.
    """
    try:
        with closing(connect_reader(database)) as connection:
            return _flaw_of_schema(connection) or _flaw_of_pages(connection)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorname", "").startswith("SQLITE_CORRUPT"):
            return f"the file is damaged ({error})"
        raise


def _flaw_of_schema(connection: sqlite3.Connection) -> str | None:
    found, ours = schema_of(connection), newest_schema()
    for name in sorted({*found, *ours}):
        if found.get(name) != ours.get(name):
            kind = (ours.get(name) or found[name])[0]
            word = _difference(name in found, name in ours)
            return (
                f"the schema is not ours: the {shown_id(kind)} {shown_id(name)} {word}"
            )
    return None


def _difference(is_found: bool, is_ours: bool) -> str:
    if is_found and is_ours:
        return "was changed"
    return "was added" if is_found else "is gone"


def _flaw_of_pages(connection: sqlite3.Connection) -> str | None:
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    return None if verdict == "ok" else f"the file is damaged ({ascii(verdict)[:200]})"
