"""What only a SQLite file has: its key, its modes, its copies, its forks."""

import contextlib
import os
import sqlite3
from time import monotonic

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from app.gateway.errors import AuditUnavailable, SearchTookTooLong
from app.storage.audit.activity import KINDS, _parts
from app.storage.audit.errors import StoreFailed
from app.storage.audit.reader import fetch
from app.storage.trail import open_backend
from tests.storage.making import place_of, record_one


def test_the_live_writer_syncs_every_commit_and_never_maps_memory(trail):
    record_one(trail)
    connection = trail._writer._store._connection

    def pragma(name):
        return connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert pragma("synchronous") == 2
    assert pragma("journal_mode") == "wal"
    assert pragma("wal_autocheckpoint") == 0
    assert pragma("mmap_size") == 0


def test_files_are_for_our_eyes_only(trail, path):
    record_one(trail)

    modes = {p.name: p.stat().st_mode & 0o777 for p in path.parent.iterdir()}
    assert modes.pop("audit.db.workers") == 0o700
    assert set(modes.values()) == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_forked_child_has_a_writer_of_its_own(trail, reader, url):
    record_one(trail)

    child = os.fork()
    if child == 0:
        try:
            record_one(trail, session_id="child")
            os._exit(0 if trail.close() else 1)
        except BaseException:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    record_one(trail, session_id="parent")

    assert status == 0
    check = open_backend(url).verify()
    assert (check.ok, check.rows) == (True, 3)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://u:secret@h/d",
        "secret",
    ],
)
def test_a_url_of_no_file_is_refused_and_not_repeated(url):
    with pytest.raises(ValueError, match="sqlite") as refusal:
        open_backend(url)

    assert "secret" not in str(refusal.value)


ENDLESS = sa.text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    " SELECT count(*) FROM n"
)


def test_a_search_that_takes_too_long_is_given_up(trail, path):
    record_one(trail)
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    began = monotonic()

    with pytest.raises(SearchTookTooLong):
        fetch(engine, ENDLESS, 0.2)

    assert 0.2 <= monotonic() - began < 2


def test_what_can_not_be_read_at_all_did_not_take_too_long(tmp_path):
    reader = open_backend(f"sqlite:///{tmp_path}/none.db").records()

    with pytest.raises(AuditUnavailable) as refusal:
        reader.get("any")

    assert refusal.value.code == "audit_unavailable"


@pytest.fixture
def activity(trail, backend):
    return backend.activity()


@pytest.fixture
def five_records(trail):
    for _ in range(5):
        record_one(trail)
    trail.close()


def test_a_database_that_is_gone_is_said_to_be_unavailable(activity, trail, path):
    trail.close()
    path.unlink()

    with pytest.raises(AuditUnavailable):
        activity.recent(since=0, limit=10)


@pytest.mark.parametrize(
    ("kind", "index"),
    [
        ("degraded", "USING COVERING INDEX ix_records_degraded"),
        ("unanswered", "USING INDEX ix_records_outcome"),
        ("refused", "USING INDEX ix_records_outcome"),
    ],
)
def test_outages_are_found_without_reading_the_other_records(trail, path, kind, index):
    query = _parts(KINDS[kind], since=0).compile(
        dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}
    )

    with contextlib.closing(sqlite3.connect(path)) as connection:
        plan = str(connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall())

    assert index in plan
    assert "SCAN records" not in plan


def test_a_trail_that_is_not_there_is_no_bug(url):
    with pytest.raises(StoreFailed, match="is not there"):
        open_backend(url).verify()


def test_putting_back_a_copy_shows_only_to_who_noted_the_head(five_records, url, path):
    copy = path.read_bytes()
    trail = open_backend(url).trail()
    record_one(trail)
    trail.close()
    (head,) = open_backend(url).verify().heads
    path.write_bytes(copy)

    assert open_backend(url).verify().ok
    check = open_backend(url).verify(noted=[place_of(head)])
    assert "put back to an earlier state" in check.reason


def test_verifying_needs_the_right_key(five_records, url):
    assert not open_backend(url, key=b"another").verify().ok


def test_a_key_from_the_settings_leaves_no_key_file(url, path):
    trail = open_backend(url, b"from the settings").trail()
    record_one(trail)
    trail.close()

    assert not path.with_name("audit.db.key").exists()
    assert open_backend(url, key=b"from the settings").verify().ok
