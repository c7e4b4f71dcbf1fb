"""Migrations and schema say the same, however many workers start at once."""

import sqlite3
from contextlib import closing

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from app.storage.audit.errors import UnusableDatabase
from app.storage.audit.reader import Record
from app.storage.audit.rows import closed_draft, interrupted, opened
from app.storage.audit.schema import COLUMNS, CONTENT, DIGESTED, RECORD, metadata
from app.storage.trail import open_backend
from tests.storage.making import a_closing, an_intent, record_one, run_python


def test_the_migrations_make_what_the_schema_says(trail, path):
    record_one(trail)
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_rows_drafts_and_records_have_the_columns_of_the_table():
    opening = opened(an_intent(), "worker")

    draft = closed_draft(opening, interrupted(0.0))

    assert len(draft.values) == len(CONTENT)
    assert tuple(Record.__dataclass_fields__) == RECORD
    assert {*DIGESTED, "request", "reply"} == {*CONTENT}
    assert COLUMNS[: len(CONTENT)] == CONTENT


def test_a_record_reads_back_as_it_was_given(trail, reader):
    intent = an_intent(caller="köln", request='{"messages":[["user","日本"]]}')
    closing = a_closing(
        outcome="failed",
        code="upstream_unavailable",
        status=503,
        degraded_by="read_timeout",
        attempts='[{"upstream":"switch"}]',
        input_tokens=3,
        output_tokens=0,
        source="a" * 32,
        reuse="cache",
    )
    trail.begin(intent)
    trail.finish(intent, closing, 10.0)

    record = reader.get(intent.id)

    for source in (intent, closing):
        for name in set(source._fields) - {"kept"}:
            assert getattr(record, name) == getattr(source, name), name


def test_workers_that_start_at_once_migrate_once_and_share_a_key(url):
    code = """
import sys
from app.storage.trail import open_backend
from tests.storage.making import record_one
trail = open_backend(sys.argv[1]).trail()
record_one(trail)
sys.exit(not trail.close())
"""
    workers = [run_python(code, url) for _ in range(4)]

    assert [worker.wait(60) for worker in workers] == [0] * 4
    assert open_backend(url).verify().rows == 4
    for worker in workers:
        worker.stdout.close()


@pytest.mark.parametrize("person", ["'ada'", "'eve'", "NULL", "''"])
def test_whom_a_record_is_for_can_not_be_changed(open_a_trail, sql, url, person):
    trail = open_a_trail()
    for_whom = None if person == "'ada'" else "ada"
    record_one(trail, person=for_whom)
    trail.close()

    sql("DROP TRIGGER records_sealed", f"UPDATE records SET person = {person}")

    assert open_backend(url).verify().reason == "the record was changed or moved"


def test_a_schema_from_the_future_is_refused_untouched(url, path):
    open_backend(url).trail().close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(UnusableDatabase, match="9999"):
        open_backend(url).trail()


def test_a_file_of_chain_format_1_is_refused_with_a_word_of_what_to_do(url, path):
    open_backend(url).trail().close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0003'")
    before = path.read_bytes()

    with pytest.raises(UnusableDatabase, match=r"format 1.* Move it aside"):
        open_backend(url).trail()

    assert path.read_bytes() == before
