"""Migrations under load: short locks, one step after the other, and who may write.

Hosts are upgraded one by one, so a schema grows in one version (columns that may be
empty, new tables) and loses what is old in a later one. The table `compat` names the
oldest schema whose programs may still write.

An `ALTER TABLE` that waits for its lock makes all who come after it wait, too, so each
step waits for a tenth of a second only and is tried again. Indexes are made
CONCURRENTLY, in an `autocommit_block`.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from time import monotonic, sleep

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from app.storage.audit.errors import StoreFailed, UnusableDatabase
from app.storage.postgres.connections import (
    Parameters,
    Session,
    connect_reader,
)

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).with_name("migrations")
SCHEMA = 1  # of this program; `compat` says which may still write

LOCK_TIMEOUT = "100ms"
PATIENCE = 60.0  # seconds for one step, and for another host that migrates
PAUSE = 0.2

_LOCK = "SELECT pg_advisory_xact_lock(7521191)"


def require_known_schema(
    session: Session, *, may_begin: bool, migrations: Path = MIGRATIONS
) -> bool:
    """Return whether a migration is missing.

    Raises UnusableDatabase for what is none of ours, or of a version that lets this
    one no longer write; without `may_begin` also where there is no trail.
    """
    revision = _revision(session)
    scripts = _scripts(migrations)
    if revision is None:
        if not may_begin:
            raise UnusableDatabase("deleted", "the database holds no audit trail")
        return True
    if revision in {script.revision for script in scripts.walk_revisions()}:
        return revision != scripts.get_current_head()
    ((oldest,),) = session.run("SELECT oldest FROM compat")
    if oldest > SCHEMA:
        raise UnusableDatabase(
            "unsuitable",
            f"the schema {revision} is of a later version, which this one may not "
            "write to. Run that version.",
        )
    return False


def is_of_later_version(session: Session) -> bool:
    """Whether the schema is one that this program does not know."""
    revision = _revision(session)
    known = {one.revision for one in _scripts(MIGRATIONS).walk_revisions()}
    return revision is not None and revision not in known


def _revision(session: Session) -> str | None:
    tables = {
        name
        for (name,) in session.run(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        )
    }
    if "alembic_version" in tables:
        for (revision,) in session.run("SELECT version_num FROM alembic_version"):
            return str(revision)
    elif tables:
        raise UnusableDatabase(
            "corrupt",
            "the database holds tables of something else. Give the audit trail a "
            "database, or a schema (`search_path` of its role), of its own.",
        )
    return None


def migrate(
    parameters: Parameters,
    migrations: Path = MIGRATIONS,
    *,
    patience: float = PATIENCE,
) -> None:
    """Run the migrations that are missing, each in a transaction of its own.

    Others write meanwhile; other hosts wait for us. Raises StoreFailed where a lock
    cannot be had within `patience` seconds, or psycopg.Error.
    """
    with _alone(parameters):
        engine = _engine(parameters)
        try:
            for revision in _missing(engine, migrations):
                _in_time(engine, migrations, revision, patience)
                log.warning("Audit: the schema is %s now", revision)
        finally:
            engine.dispose()


@contextmanager
def _alone(parameters: Parameters) -> Iterator[None]:
    """Hold the migrators' lock, in a transaction, as a pooler keeps no other."""
    with connect_reader(parameters, "migration") as connection:
        connection.execute("SET LOCAL lock_timeout = '60s'")
        connection.execute(_LOCK)
        yield


def _missing(engine: sa.Engine, migrations: Path) -> list[str]:
    with engine.connect() as connection:
        has_table = sa.inspect(connection).has_table("alembic_version")
        current = (
            connection.execute(sa.text("SELECT version_num FROM alembic_version"))
            if has_table
            else None
        )
        now = current.scalar() if current else None
    scripts = _scripts(migrations)
    steps = scripts.iterate_revisions("head", now or "base")
    return [step.revision for step in steps][::-1]


def _in_time(
    engine: sa.Engine, migrations: Path, revision: str, patience: float
) -> None:
    until = monotonic() + patience
    while True:
        try:
            with engine.connect() as connection:
                config = _config(migrations)
                config.attributes["connection"] = connection
                command.upgrade(config, revision)
        except sa.exc.OperationalError as error:
            if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
                raise error.orig or error from error
            if monotonic() > until:
                raise StoreFailed("locked", "a table cannot be migrated") from error
            sleep(PAUSE)
        except sa.exc.DBAPIError as error:
            raise error.orig or error from error
        else:
            return


def _engine(parameters: Parameters) -> sa.Engine:
    engine = sa.create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect_reader(parameters, "migration"),
        poolclass=sa.NullPool,
    )
    sa.event.listen(engine, "begin", _wait_shortly)
    return engine


def _wait_shortly(connection: sa.Connection) -> None:
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")


@cache
def _scripts(migrations: Path) -> ScriptDirectory:
    return ScriptDirectory.from_config(_config(migrations))


def _config(migrations: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    return config
