import os
import signal

import pytest

from tests.support.fakes import FakeClock


def pytest_configure():
    """Let what tests start be interrupted, also where we run in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


LONG = ("openapi", "system", "tests")  # the folders whose files take minutes


def pytest_collection_modifyitems(items):
    """Begin with the long ones: two processes then end at about the same time.

    xdist keeps to that order if it is told `--no-loadscope-reorder`.
    """
    places = {folder: place for place, folder in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.parent.name, len(LONG)))
    for item in items:  # `make test` looks for them nowhere else
        if item.get_closest_marker("alone"):
            assert item.path.parent.name == "system", item.nodeid


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No setting of the machine reaches a test."""
    for name in [n for n in os.environ if n.startswith("VX11_")]:
        monkeypatch.delenv(name)
