"""Migrations: bring a schema up to date with Alembic, without an alembic.ini."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from app.storage.sqlite.statements import connect_writer, plain

MIGRATIONS = Path(__file__).with_name("migrations")


def migrate(database: Path) -> None:
    """Run the migrations that are missing, all or none of them."""
    with transactional_engine(database).begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def schema_of(connection: sqlite3.Connection) -> dict[str, tuple[str, str, str]]:
    """Return kind, table and statement of all that a database has, by its name.

    Statistics of ANALYZE are left out.
    """
    query = "SELECT name, type, tbl_name, sql FROM sqlite_master"
    return {
        str(name): (str(kind), str(table), plain(str(sql)))
        for name, kind, table, sql in connection.execute(query)
        if not (kind == "table" and str(name).startswith("sqlite_stat"))
    }


@cache
def newest_schema() -> Mapping[str, tuple[str, str, str]]:
    """Return what the migrations make of an empty database, as `schema_of` does."""
    driver = sqlite3.connect(":memory:", isolation_level=None)
    engine = sa.create_engine(
        "sqlite://", creator=lambda: driver, poolclass=sa.StaticPool
    )
    with closing(driver), engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return schema_of(driver)


def transactional_engine(database: Path) -> sa.Engine:
    """Make an engine whose transactions hold DDL too, unlike the driver's own."""

    def connect() -> sqlite3.Connection:
        return connect_writer(database)

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.NullPool)
    sa.event.listen(engine, "begin", _begin_immediate)
    return engine


def is_newest_revision(revision: str | None) -> bool:
    """Whether nothing is left to be migrated."""
    return revision == _scripts().get_current_head()


def is_known_revision(revision: str) -> bool:
    """Whether this version of the program has the migration that made it."""
    return revision in {script.revision for script in _scripts().walk_revisions()}


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    options: dict[str, Any] = {"script_location": str(MIGRATIONS)}
    config = Config()
    for name, value in options.items():
        config.set_main_option(name, value.replace("%", "%%"))
    return config
