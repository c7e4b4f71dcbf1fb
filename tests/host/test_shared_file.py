"""A private file of several processes: begun by the first, gone with the last."""

import os
import subprocess
import sys

import pytest

from app.host.shared_file import SharedFile

KILLED = """
import os, sys
from pathlib import Path
from app.host.shared_file import SharedFile
file = SharedFile(Path(sys.argv[1]), lambda fd: os.write(fd, b"begun"))
file.try_lock(7)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shared"


def opened(path, begun=None):
    return SharedFile(path, lambda fd: begun.append(fd) if begun is not None else None)


def test_the_first_user_begins_it_and_the_last_one_removes_it(path):
    begun = []
    first, second = opened(path, begun), opened(path, begun)

    assert len(begun) == 1
    first.leave()
    assert path.exists()
    second.leave()
    assert not path.exists()


def test_a_user_that_nobody_refers_to_has_left(path):
    file = opened(path)
    del file

    assert not path.exists()


def test_one_byte_is_locked_by_one_user_at_a_time(path):
    first, second = opened(path), opened(path)

    assert first.try_lock(3)
    assert not second.try_lock(3)
    assert second.try_lock(4)
    first.unlock(3)
    assert second.try_lock(3)


def test_a_killed_user_leaves_no_lock_and_the_next_begins_anew(path):
    subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    begun = []

    file = opened(path, begun)

    assert len(begun) == 1
    assert file.try_lock(7)


def test_a_file_left_half_made_is_not_taken_for_ready(path):
    ready = []

    def begin(fd):
        ready.append(os.write(fd, b"x"))

    file = SharedFile(path, begin, is_ready=lambda fd: os.fstat(fd).st_size == 1)

    assert file.is_in_place()
    assert ready == [1]


def test_a_forked_child_that_ends_frees_nothing_of_its_parent(path):
    file = opened(path)
    if (child := os.fork()) == 0:
        del file
        os._exit(0)
    os.waitpid(child, 0)

    assert path.exists()
    other = opened(path)
    other.leave()
    assert path.exists(), "the parent is still there"


def test_a_file_that_others_may_read_or_that_is_a_link_is_refused(path, tmp_path):
    path.touch(mode=0o644)
    with pytest.raises(PermissionError):
        opened(path)

    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        opened(path)
