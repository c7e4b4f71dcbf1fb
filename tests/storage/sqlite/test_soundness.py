"""What lies around the records: schema, indexes, types, and who may read them."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
import sqlalchemy as sa

from app.storage.audit.errors import StoreFailed
from app.storage.audit.reader import fetch
from app.storage.audit.schema import GUARDS
from app.storage.trail import open_backend
from tests.storage.making import ROOT, record_one

UNGUARD = "DROP TRIGGER records_sealed"
GUARD = GUARDS["records_sealed"]


@pytest.fixture
def five(trail):
    found = [record_one(trail) for _ in range(5)]
    trail.close()
    return found


def checked_by_a_stranger(path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "verify.py"), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode


def hide_from_an_index(path, number):
    """Take a record out of an index, whose statement stays as it was."""
    name = "ix_records_opened_at"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (old,) = connection.execute(
            "SELECT sql FROM sqlite_master WHERE name = ?", (name,)
        ).fetchone()
        connection.execute(f"DROP INDEX {name}")
        connection.execute(f"{old} WHERE seq <> {number}")
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = ? WHERE name = ?", (old, name)
        )


def test_a_record_that_is_hidden_from_an_index_is_found(five, path, backend):
    assert backend.verify().ok
    assert checked_by_a_stranger(path) == 0

    hide_from_an_index(path, 3)

    check = backend.verify()
    assert not check.ok
    assert check.reason.startswith("the file is damaged")
    assert checked_by_a_stranger(path) == 1


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("DROP INDEX ix_records_outcome", "index ix_records_outcome is gone"),
        ("CREATE VIEW seen AS SELECT 1", "view seen was added"),
        ("CREATE TABLE other (a)", "table other was added"),
        ("DROP TRIGGER records_stay", "trigger records_stay is gone"),
        ("ALTER TABLE chain ADD COLUMN a", "table chain was changed"),
    ],
)
def test_a_schema_that_is_not_ours_is_named(change, name, five, sql, backend):
    sql(change)

    check = backend.verify()

    assert (check.ok, check.reason) == (False, f"the schema is not ours: the {name}")


def test_a_table_that_was_renamed_and_is_back_is_ours(five, sql, backend):
    sql("ALTER TABLE records RENAME TO hidden", "ALTER TABLE hidden RENAME TO records")
    sql("ANALYZE")

    assert backend.verify().ok


@pytest.mark.parametrize("column", ["id", "request", "caller", "opened_at", "salt"])
@pytest.mark.parametrize("value", ["x'00ff'", "'a' || char(0)", "9e999", "1"])
def test_values_of_any_type_are_no_traceback(column, value, five, sql, backend, path):
    sql(UNGUARD, f"UPDATE records SET {column} = {value} WHERE seq = 3", GUARD)

    check = backend.verify()

    assert (check.ok, check.first_bad_seq) == (False, 3)
    assert check.bad_id
    assert checked_by_a_stranger(path) == 1


@pytest.mark.parametrize("column", ["seq", "digest", "floor_seq", "mac", "sealed_at"])
@pytest.mark.parametrize("value", ["x'00'", "'é'", "9e999", "3.5"])
def test_a_head_of_any_type_is_forged(column, value, five, sql, backend, path):
    sql(f"UPDATE chain SET {column} = {value}")

    assert not backend.verify().ok
    if column not in ("mac", "sealed_at"):  # a stranger has no key
        assert checked_by_a_stranger(path) == 1


def test_a_place_of_another_type_is_no_traceback(five, sql, backend, path):
    sql(UNGUARD, "UPDATE records SET seq = x'05' WHERE seq = 3", GUARD)

    assert not backend.verify().ok
    assert checked_by_a_stranger(path) == 1


def test_the_first_bad_record_is_told_with_id_and_time(five, sql, backend):
    sql(UNGUARD, "UPDATE records SET caller = 'eve' WHERE seq = 4", GUARD)

    check = backend.verify()

    assert (check.bad_id, check.bad_opened_at) == (five[3].id, five[3].opened_at)


def test_another_key_is_no_proof_of_a_forgery(five, url):
    check = open_backend(url, b"the key of another file").verify()

    assert "or this key is not this file's" in check.reason


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize("closed", ["audit.db", "."])
def test_who_may_not_read_the_records_is_told_whose_they_are(closed, five, path):
    for one in (*path.parent.parents, path.parent):
        if one.stat().st_uid == 0 and one != one.parent and "pytest" in str(one):
            one.chmod(0o755)
    (path.parent / closed).chmod(0o700 if closed == "." else 0o600)
    path.with_name("audit.db.key").chmod(0o600)
    os.seteuid(65534)
    try:
        with pytest.raises(StoreFailed, match="run this as root"):
            open_backend(f"sqlite:///{path}").verify()
    finally:
        os.seteuid(0)


def test_readers_trust_no_schema(five, backend):
    ((trusted,),) = fetch(backend.records()._engine, sa.text("PRAGMA trusted_schema"))

    assert trusted == 0
