"""The contract of the audit: what holds here holds for every backend."""

import pytest

from app.storage.trail import open_backend
from tests.support.memory_audit import MemoryBackend


@pytest.fixture(params=["sqlite", "memory"])
def backend(request, url):
    return MemoryBackend() if request.param == "memory" else open_backend(url)


@pytest.fixture
def sql(backend, sql):
    """Do to the records what only someone who may write to them can do."""
    return backend.execute if isinstance(backend, MemoryBackend) else sql
