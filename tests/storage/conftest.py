import sqlite3
import subprocess
from contextlib import closing, contextmanager

import pytest

from app.storage.trail import open_backend
from tests.support.postgres import PostgresServer


@pytest.fixture
def path(tmp_path):
    return tmp_path / "var" / "audit.db"


@pytest.fixture
def url(path):
    return f"sqlite:///{path}"


@pytest.fixture
def backend(url):
    return open_backend(url)


@pytest.fixture
def open_a_trail(backend, url):
    """Open trails on the test's records and close them at its end."""
    trails = []

    def opening(key=None, **options):
        place = open_backend(url, key) if key else backend
        trails.append(place.trail(**options))
        return trails[-1]

    yield opening
    for trail in trails:
        trail.close()


@pytest.fixture
def trail(open_a_trail):
    return open_a_trail()


@pytest.fixture
def reader(backend):
    return backend.records()


@pytest.fixture
def sql(path):
    """Do to the database what only someone with the disk can do."""

    def execute(*statements):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            rows = [connection.execute(text).fetchall() for text in statements]
        return rows[-1]

    return execute


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of its own; skipped where only root could."""

    @contextmanager
    def mounted(size):
        where = tmp_path / "disk"
        where.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(where)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("may not mount a file system here")
        try:
            yield where
        finally:
            subprocess.run(["umount", "-l", str(where)], check=True)

    return mounted


@pytest.fixture(scope="session")
def postgres():
    """One real server for all tests of a process."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres):
    """The URL of a database that has the tables, as if a gateway had just begun."""
    with postgres.database(postgres.prepared()) as name:
        yield postgres.url(name)


@pytest.fixture
def empty_url(postgres):
    """The URL of an empty database."""
    with postgres.database() as name:
        yield postgres.url(name)
