"""The contract of the audit: what holds here holds for every backend."""

import re

import psycopg
import pytest

from app.storage.trail import open_backend
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


def postgres_sql(url):
    """Say what is said to SQLite to PostgreSQL, where types allow it."""

    def execute(*statements):
        with psycopg.connect(url, autocommit=True) as connection:
            try:
                found = [rows_of(connection.execute(said(text))) for text in statements]
            except (
                psycopg.errors.DatatypeMismatch,
                psycopg.errors.InvalidTextRepresentation,
            ):
                pytest.skip("PostgreSQL keeps values of other types out")
        return found[-1]

    return execute


def rows_of(cursor):
    return cursor.fetchall() if cursor.description else []


def said(text):
    text = re.sub(r"DROP TRIGGER (\w+)", r"DROP TRIGGER \1 ON records", text)
    text = re.sub(r"x'([0-9a-f]*)'", r"'\\\\x\1'::bytea", text)
    return text.replace("zeroblob(32)", f"'\\\\x{'00' * 32}'::bytea")
