"""The key of a trail, its folder, and the newest head beyond the workers' lives."""

import os
import shutil
import sqlite3
from contextlib import closing

import pytest

from app.storage.audit.errors import UnusableDatabase
from app.storage.chain.links import key_fingerprint
from tests.storage.making import is_refusing, record_one, until


@pytest.fixture
def key_file(trail, path):
    record_one(trail)
    trail.close()
    return path.with_name("audit.db.key")


@pytest.mark.parametrize("mode", [0o666, 0o640, 0o604, 0o620, 0o601])
def test_a_key_that_others_may_have_is_refused_and_says_what_to_do(
    mode, key_file, backend
):
    key_file.chmod(mode)

    for use in (backend.trail, backend.verify):
        with pytest.raises(UnusableDatabase, match="chmod 600") as refused:
            use()
        assert refused.value.reason == "open_key"

    key_file.chmod(0o600)
    assert backend.verify().ok


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_of_somebody_else_is_refused_and_one_of_the_folders_owner_is_not(
    key_file, backend
):
    os.chown(key_file, 65534, -1)
    with pytest.raises(UnusableDatabase, match="somebody else"):
        backend.verify()

    os.chown(key_file.parent, 65534, -1)
    assert backend.verify().ok


@pytest.mark.parametrize(("mode", "is_told"), [(0o777, True), (0o700, False)])
def test_a_folder_that_others_may_write_to_is_warned_of(
    mode, is_told, key_file, open_a_trail, caplog
):
    key_file.parent.chmod(mode)

    open_a_trail()

    assert ("Others may write" in caplog.text) is is_told


def test_the_fingerprint_tells_one_key_from_another(key_file, open_a_trail):
    key = bytes.fromhex(key_file.read_text())
    shown = open_a_trail().key_id()

    assert shown == key_fingerprint(key) != key_fingerprint(b"another")
    assert len(shown) == 16
    assert shown not in key.hex()


def put_back(copy, path):
    with (
        closing(sqlite3.connect(copy)) as one,
        closing(sqlite3.connect(path)) as other,
    ):
        one.backup(other)


def test_an_older_copy_is_refused_by_workers_that_come_later(
    trail, open_a_trail, backend, path, tmp_path, url
):
    record_one(trail)
    copy = tmp_path / "copy.db"
    put_back(path, copy)
    record_one(trail)
    newest = backend.newest_head([os.getpid()], None)
    trail.close()  # and all that it knew is gone with it
    put_back(copy, path)

    later = open_a_trail(is_known=True, newest=newest)
    later.start()

    assert until(lambda: is_refusing(later)) == "replaced"
    record_one(open_a_trail(is_known=True))  # nobody had told this one


def test_the_newest_head_is_kept_when_workers_know_less_or_nothing(
    trail, backend, path
):
    record_one(trail)
    newest = backend.newest_head([os.getpid()], None)

    assert newest.startswith("1 ")
    assert backend.newest_head([os.getpid()], "7 00ff") == "7 00ff"
    assert backend.newest_head([], newest) == newest
    assert backend.newest_head([1], None) is None
    for odd in path.with_name("audit.db.workers").iterdir():
        odd.write_bytes(b"\xff odd")
    assert backend.newest_head([os.getpid()], newest) == newest
    shutil.rmtree(path.parent)
    assert backend.newest_head([os.getpid()], newest) == newest
