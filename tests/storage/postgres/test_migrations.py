"""Migrations: what they make, and how little they hold up those who write."""

import time
from threading import Thread

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from app.storage.audit.errors import UnusableDatabase
from app.storage.audit.schema import metadata
from app.storage.postgres.connections import Session, parameters_of
from app.storage.postgres.migrate import (
    MIGRATIONS,
    _scripts,
    migrate,
    require_known_schema,
)
from app.storage.trail import open_backend
from tests.storage.making import KEY, record_one, until

NEXT = '''
"""A column more."""
import sqlalchemy as sa
from alembic import op

revision, down_revision = "p2_9999", "{head}"
branch_labels = depends_on = None


def upgrade():
    op.add_column("records", sa.Column("more", sa.Text))
'''
# What only this backend has.
OWN_TABLES = {
    *("compat", "pools", "holdings", "claims"),
    *("ix_records_open", "uq_records_place"),
}
OWN = {"owner", "name", "alive_until", "about"}


@pytest.fixture
def next_version(tmp_path):
    """The migrations of the version after this one."""
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text((MIGRATIONS / "env.py").read_text())
    for script in (MIGRATIONS / "versions").glob("*.py"):
        (folder / "versions" / script.name).write_text(script.read_text())
    head = _scripts(MIGRATIONS).get_current_head()
    (folder / "versions" / "p2_9999_more.py").write_text(NEXT.format(head=head))
    return folder


def test_the_migrations_make_what_the_schema_says(open_trail, backend):
    record_one(open_trail())

    with backend.records()._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = compare_metadata(context, metadata)

    odd = [one for one in found if not is_of_this_backend(one)]
    assert odd == []


def is_of_this_backend(difference):
    kind, *rest = difference
    if kind == "remove_column":
        return rest[2].name in OWN
    names = {getattr(part, "name", "") for part in rest}
    return bool(names & OWN_TABLES)


def test_hosts_that_start_at_once_migrate_once(open_trail, empty_url):
    backend, trails, starts = open_backend(empty_url, KEY), [], []
    for _ in range(4):
        starts.append(Thread(target=lambda: trails.append(open_trail(backend))))
        starts[-1].start()
    for start in starts:
        start.join()

    for trail in trails:
        record_one(trail)
    assert (backend.verify().ok, backend.verify().rows) == (True, 4)


def test_a_migration_behind_a_long_search_holds_up_no_writer(
    open_trail, postgres_url, next_version, do
):
    trail = open_trail()
    record_one(trail)
    search = Thread(target=lambda: do("SELECT pg_sleep(1.5) FROM records LIMIT 1"))
    search.start()
    until(lambda: do("SELECT 1 FROM pg_locks WHERE relation = 'records'::regclass"))
    migration = Thread(
        target=lambda: migrate(parameters_of(postgres_url), next_version)
    )
    migration.start()

    longest = 0.0
    while migration.is_alive():
        began = time.monotonic()
        record_one(trail)
        longest = max(longest, time.monotonic() - began)
    search.join()

    assert longest < 1.0  # 0.1 on a quiet machine; as long as the search without it
    assert ("more",) in do(
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_name = 'records'"
    )
    record_one(trail)


def test_an_older_program_writes_on_until_the_schema_forbids_it(
    open_trail, postgres_url, next_version, do, backend
):
    record_one(open_trail())
    migrate(parameters_of(postgres_url), next_version)

    older = open_trail()
    record_one(older)
    assert backend.verify().rows == 2

    do("UPDATE compat SET oldest = 2")
    with pytest.raises(UnusableDatabase, match="later version"):
        backend.trail()


def test_an_empty_database_is_missed_where_there_was_a_trail(empty_url):
    with pytest.raises(UnusableDatabase, match="holds no audit trail"):
        open_backend(empty_url, KEY).trail(may_begin=False)

    session = Session(parameters_of(empty_url), "test")
    session.open()
    assert require_known_schema(session, may_begin=True)
    session.close()


def test_a_table_that_stays_locked_fails_the_migration_and_not_the_writers(
    open_trail, postgres_url, next_version
):
    trail = open_trail()
    record_one(trail)
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT * FROM records")
        with pytest.raises(Exception, match="locked"):
            migrate(parameters_of(postgres_url), next_version, patience=0.3)
        record_one(trail)
