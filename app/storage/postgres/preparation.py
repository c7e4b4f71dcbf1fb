"""Preparing a PostgreSQL trail: look before writing, migrate, check key and server.

A server or role that may forget what it has committed is refused: no answer would be
on record for certain.
"""

from collections.abc import Sequence
from typing import Any

from app.storage.audit.errors import StoreFailed, UnusableDatabase
from app.storage.chain.links import is_signed
from app.storage.postgres import statements as sql
from app.storage.postgres.connections import Parameters, Session
from app.storage.postgres.guards import GUARDS
from app.storage.postgres.migrate import (
    is_of_later_version,
    migrate,
    require_known_schema,
)

OLDEST_SERVER = 150000
# What a commit may wait for. `local` does not wait for a standby that there is, and
# `off` for no disk at all.
SAFE_COMMITS = {"on", "remote_apply", "remote_write"}


def prepare(
    session: Session, parameters: Parameters, key: bytes, may_begin: bool
) -> None:
    """Make the database ready to be written to.

    Raises UnusableDatabase, leaving it as it is, StoreFailed, or psycopg.Error.
    """
    check_server(session.run(sql.SETTINGS)[0])
    if require_known_schema(session, may_begin=may_begin):
        migrate(parameters)
    _check_guards(session)
    _check_key(session, key)


def check_server(settings: Sequence[Any]) -> None:
    """Raise StoreFailed for a server that would not keep what it commits."""
    version, encoding, commit, fsync, is_standby = settings
    if version < OLDEST_SERVER:
        raise UnusableDatabase("unsuitable", "PostgreSQL 15 or later is needed")
    if encoding != "UTF8":
        raise UnusableDatabase("unsuitable", "the database must be one of UTF8")
    if is_standby:
        raise StoreFailed("read_only", "the server is a standby")
    if commit not in SAFE_COMMITS or fsync != "on":
        raise UnusableDatabase(
            "unsuitable",
            f"synchronous_commit is {commit} and fsync is {fsync}, so an answer could "
            "go without its record. Set both to on (ALTER ROLE … SET).",
        )


def flaw_of_schema(session: Session) -> str | None:
    """Return what could hide or change records beside our own statements.

    Of a later version nothing is known, so nothing is said.
    """
    if is_of_later_version(session):
        return None
    found = {text for (text,) in session.run(sql.ODDITIES)}
    odd = sorted(" ".join(text.split()[:3]).strip(":") for text in found ^ GUARDS)
    return f"the schema is not ours: {', '.join(odd)}" if odd else None


def _check_guards(session: Session) -> None:
    if why := flaw_of_schema(session):
        raise StoreFailed("corrupt", why)


def _check_key(session: Session, key: bytes) -> None:
    heads = [sql.head_of(row) for row in session.run(sql.HEADS)]
    if not heads and session.run(sql.HAS_RECORDS)[0][0]:
        raise StoreFailed("corrupt", "the heads of the chain are gone")
    if heads and not any(is_signed(key, *head) for head in heads):
        raise UnusableDatabase(
            "wrong_key",
            "the records were signed with another key. All hosts need the same "
            "VX11_AUDIT_KEY.",
        )
