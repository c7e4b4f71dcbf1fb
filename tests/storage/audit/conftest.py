"""The contract of the audit: what holds here holds for every backend."""

import pytest

from app.storage.trail import open_backend
from tests.storage.back_door import postgres_sql
from tests.storage.making import KEY
from tests.support.memory_audit import MemoryBackend


@pytest.fixture(params=["sqlite", "memory", "postgresql"])
def backend(request, url):
    if request.param == "memory":
        return MemoryBackend()
    if request.param == "sqlite":
        return open_backend(url)
    return open_backend(request.getfixturevalue("postgres_url"), KEY)


@pytest.fixture
def sql(request, backend, sql):
    """Do to the records what only someone who may write to them can do."""
    if isinstance(backend, MemoryBackend):
        return backend.execute
    if backend.folder is None:
        return postgres_sql(request.getfixturevalue("postgres_url"))
    return sql
