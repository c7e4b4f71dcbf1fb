"""What the tests of this folder share: a database, trails on it, and its back door."""

import psycopg
import pytest

from app.storage.backend import Host
from app.storage.trail import open_backend
from tests.storage.making import KEY


@pytest.fixture
def backend(postgres_url):
    return open_backend(postgres_url, KEY)


@pytest.fixture
def open_trail(backend, tmp_path):
    """Open trails and close them at the test's end."""
    trails = []

    def opening(place=backend, **options):
        trails.append(place.trail(**{"host": Host(state_dir=tmp_path), **options}))
        return trails[-1]

    yield opening
    for trail in trails:
        trail.close()


@pytest.fixture
def do(postgres_url):
    """Do to the database what no gateway does."""

    def execute(text, *arguments):
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            cursor = connection.execute(text, arguments or None)
            return cursor.fetchall() if cursor.description else []

    return execute
