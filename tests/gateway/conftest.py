"""What the tests of the core have in common."""

import pytest

from app.gateway import tracing


@pytest.fixture(autouse=True)
def _no_trace():
    """A request of another test may have left its trace to this thread."""
    tracing.current.set(None)
