import os

import pytest

from tests.fakes import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No setting of the machine reaches a test."""
    for name in [n for n in os.environ if n.startswith("VX11_")]:
        monkeypatch.delenv(name)
