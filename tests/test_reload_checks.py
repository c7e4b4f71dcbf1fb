"""What is looked at before a reload, where it names another audit database."""

import sqlite3
from contextlib import closing

import pytest

from app.settings import Settings, SettingsError
from app.storage.trail import open_backend
from app.wiring import check_all
from tests.storage.conftest import small_disk
from tests.storage.making import record_one

__all__ = ["small_disk"]


def settings(folder, **others):
    return Settings(audit_url=f"sqlite:///{folder}/audit.db", **others)


@pytest.fixture
def before(tmp_path):
    return settings(tmp_path / "before")


def test_a_database_that_takes_writes_is_taken_up(before, tmp_path):
    check_all(settings(tmp_path), before)


def test_a_disk_without_room_is_refused_where_it_is_another(before, small_disk):
    with small_disk("3m") as folder:
        after = settings(folder)

        with pytest.raises(SettingsError) as refused:
            check_all(after, before)

        assert refused.value.problems == [
            "VX11_AUDIT_URL: the database cannot be written to now (disk_full)"
        ]
        # What is in force may be full: the glass must break, for example.
        check_all(settings(folder, audit_mode="best_effort"), after)


def test_a_database_that_somebody_holds_is_refused(before, tmp_path):
    after = settings(tmp_path)
    trail = open_backend(after.audit_url).trail()
    record_one(trail)
    trail.close()

    where = sqlite3.connect(tmp_path / "audit.db", isolation_level=None)
    with closing(where) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SettingsError, match=r"VX11_AUDIT_URL.*locked"):
            check_all(after, before)
