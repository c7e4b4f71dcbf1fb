"""Modules that workers share with the master, until a file of theirs is another."""

import importlib
import os
import sys

import pytest

from app.server.sources import Sources

NAME = "package_of_a_test"


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / NAME
    folder.mkdir()
    for name in ("__init__", "first", "second"):
        (folder / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in loaded():
        del sys.modules[name]


def load(*names):
    for name in names:
        importlib.import_module(f"{NAME}.{name}")


def loaded():
    return [name for name in sys.modules if name.partition(".")[0] == NAME]


@pytest.fixture
def sources(package):
    sources = Sources(NAME)
    load("first")
    sources.note()
    return sources


def test_while_nothing_has_changed_all_stay(sources):
    before = loaded()

    assert not sources.forget_if_changed()
    assert loaded() == before


def longer(file):
    file.write_text("a = 1")


def as_long_and_as_old(file):
    """As a tree is that was unpacked over the one of before."""
    before = file.stat()
    other = file.with_name("other")
    other.write_text("")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)


def newer(file):
    os.utime(file, ns=(1, 1))


def gone(file):
    file.unlink()


@pytest.mark.parametrize("change", [longer, as_long_and_as_old, newer, gone])
def test_one_file_that_changed_lets_all_be_loaded_anew(sources, package, change):
    change(package / "first.py")

    assert sources.forget_if_changed()
    assert loaded() == []


def test_a_module_that_came_later_is_known_from_then_on(sources, package):
    load("second")
    sources.note()

    (package / "second.py").write_text("a = 1")

    assert sources.forget_if_changed()


def test_a_package_of_a_name_that_begins_alike_is_left_alone(sources, package):
    (package / "first.py").unlink()
    sys.modules[f"{NAME}s"] = sys

    sources.forget_if_changed()

    assert sys.modules.pop(f"{NAME}s") is sys
