"""`backup` and `restore`: nothing is lost or overwritten, and nobody else reads it."""

import json
import os
import stat
import threading

import pytest
from click.testing import CliRunner

from app.cli import main
from app.storage.trail import open_backend
from tests.storage.conftest import small_disk
from tests.storage.making import is_refusing, record_one, until

__all__ = ["small_disk"]


def run(*words):
    return CliRunner().invoke(main, list(map(str, words)))


@pytest.fixture
def home(tmp_path):
    """The folder of the records, which belongs to the gateway's user."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(folder, 4321, 4322)
    return folder


@pytest.fixture
def url(home, monkeypatch):
    monkeypatch.setenv("VX11_AUDIT_URL", f"sqlite:///{home}/audit.db")
    return f"sqlite:///{home}/audit.db"


@pytest.fixture
def recorded(url):
    """Three records, written by a gateway that has stopped."""
    trail = open_backend(url).trail()
    ids = [record_one(trail).id for _ in range(3)]
    trail.close()
    return ids


@pytest.fixture
def copy(tmp_path, recorded):
    assert run("backup", tmp_path / "copy").exit_code == 0
    return tmp_path / "copy"


def modes(folder):
    return {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (folder, *folder.iterdir())
    }


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_copy_is_whole_and_for_its_owner_alone(copy, home):
    assert modes(copy) == {"copy": 0o700, "audit.db": 0o600, "audit.db.key": 0o600}
    assert (copy / "audit.db.key").read_bytes() == (home / "audit.db.key").read_bytes()
    assert all(path.stat().st_uid == os.geteuid() for path in copy.iterdir())
    assert files(home) == [
        "audit.db",
        "audit.db.key",
        "audit.db.lock",
        "audit.db.workers",
    ]


def test_what_was_copied_is_told(tmp_path, recorded):
    done = run("backup", tmp_path / "copy")

    assert done.stdout.startswith(f"Copied 3 records to {tmp_path}/copy; the chain is")
    assert "Head 1:3:" in done.stdout
    told = json.loads(run("backup", tmp_path / "again", "--json").stdout)
    assert (told["ok"], told["rows"]) == (True, 3)


def test_a_copy_that_is_made_while_records_are_written_is_of_one_moment(tmp_path, url):
    trail = open_backend(url).trail()
    trail.start()
    stopping, written = threading.Event(), []

    def write():
        while not stopping.is_set():
            written.append(record_one(trail).id)

    writers = [threading.Thread(target=write) for _ in range(4)]
    try:
        for writer in writers:
            writer.start()
        until(lambda: len(written) > 20)
        before = len(written)
        for number in range(3):
            done = run("backup", tmp_path / f"copy-{number}", "--json")
            told = json.loads(done.stdout)
            assert (done.exit_code, told["ok"]) == (0, True), done.output
            assert told["rows"] >= before
            before = len(written)
    finally:
        stopping.set()
        for writer in writers:
            writer.join()
        trail.close()
    assert open_backend(url).verify().ok
    assert len(written) >= before


@pytest.mark.parametrize("what", ["folder", "file"])
def test_nothing_is_overwritten_by_a_copy(tmp_path, recorded, what):
    there = tmp_path / "copy"
    there.mkdir() if what == "folder" else there.write_text("mine")

    done = run("backup", there)

    assert (done.exit_code, "is there already" in done.stderr) == (74, True)
    assert there.is_dir() or there.read_text() == "mine"


def test_a_disk_without_room_leaves_nothing_behind(small_disk, recorded):
    with small_disk("32k") as folder:
        done = run("backup", folder / "copy")

        assert (done.exit_code, "of room" in done.stderr) == (74, True)
        assert files(folder) == []


def test_there_is_nothing_to_copy(tmp_path, url):
    done = run("backup", tmp_path / "copy")

    assert (done.exit_code, "is not there" in done.stderr) == (74, True)
    assert not (tmp_path / "copy").exists()


def test_what_was_tampered_with_is_copied_and_told(tmp_path, recorded, url, home):
    (home / "audit.db.key").write_text("ab" * 32)

    done = run("backup", tmp_path / "copy", "--json")

    assert done.exit_code == 1
    assert "key is not this file's" in json.loads(done.stdout)["error"]
    assert files(tmp_path / "copy") == ["audit.db", "audit.db.key"]


def lose(home):
    for path in home.iterdir():
        if path.is_file() and path.name != "audit.db.lock":
            path.unlink()


def test_a_copy_is_put_in_the_place_of_what_is_gone(copy, home, url, recorded):
    lose(home)

    done = run("restore", copy)

    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(
        f"Restored 3 records to {home}/audit.db; the chain is"
    )
    owner = home.stat()
    for name in ("audit.db", "audit.db.key", "audit.db.lock"):
        found = (home / name).stat()
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert (found.st_uid, found.st_gid) == (owner.st_uid, owner.st_gid)
    trail = open_backend(url).trail()
    try:
        assert is_refusing(trail) is None
        record_one(trail)
    finally:
        trail.close()
    assert open_backend(url).verify().rows == 4
    assert files(copy) == ["audit.db", "audit.db.key"]


def test_records_that_are_in_place_are_set_aside_and_never_overwritten(
    copy, home, url, recorded
):
    trail = open_backend(url).trail()
    later = record_one(trail).id
    trail.close()

    refused = run("restore", copy)
    assert (refused.exit_code, "audit.db is there" in refused.stderr) == (74, True)
    assert open_backend(url).verify().rows == 4

    assert run("restore", copy, "--set-aside").exit_code == 0
    assert open_backend(url).verify().rows == 3
    (aside,) = home.glob("audit.db.before-*")
    assert open_backend(f"sqlite:///{aside}/audit.db").records().get(later)
    kept = {aside.name: 0o700, "audit.db": 0o600, "audit.db.key": 0o600}
    assert kept.items() <= modes(aside).items()
    assert set(modes(aside).values()) == {0o700, 0o600}


def test_nothing_is_restored_while_the_gateway_runs(copy, home, url, recorded):
    trail = open_backend(url).trail()
    trail.start()
    record_one(trail)
    try:
        done = run("restore", copy, "--set-aside")
        assert (done.exit_code, "the gateway runs" in done.stderr) == (74, True)
        record_one(trail)
    finally:
        trail.close()
    assert open_backend(url).verify().rows == 5
    assert run("restore", copy, "--set-aside").exit_code == 0


@pytest.mark.parametrize(
    ("breaks", "words"),
    [
        (lambda copy: (copy / "audit.db").unlink(), "audit.db is not there"),
        (lambda copy: (copy / "audit.db").write_bytes(b"x" * 9000), "not a database"),
        (lambda copy: (copy / "audit.db.key").unlink(), ".key"),
        (lambda copy: (copy / "audit.db.key").write_text("ab" * 32), "is not whole"),
    ],
)
def test_a_copy_that_is_not_whole_is_not_put_anywhere(
    copy, home, url, recorded, breaks, words
):
    breaks(copy)

    done = run("restore", copy, "--set-aside")

    assert (done.exit_code, words in done.stderr) == (74, True), done.output
    assert files(home) == [
        "audit.db",
        "audit.db.key",
        "audit.db.lock",
        "audit.db.workers",
    ]
    assert open_backend(url).verify().rows == 3


def test_a_key_of_the_settings_is_in_no_copy(tmp_path, url, home, monkeypatch):
    monkeypatch.setenv("VX11_AUDIT_KEY", "sixteen-letters.")
    trail = open_backend(url, b"sixteen-letters.").trail()
    record_one(trail)
    trail.close()

    assert run("backup", tmp_path / "copy").exit_code == 0
    assert files(tmp_path / "copy") == ["audit.db"]
    lose(home)
    assert run("restore", tmp_path / "copy").exit_code == 0
    assert open_backend(url, b"sixteen-letters.").verify().rows == 1
