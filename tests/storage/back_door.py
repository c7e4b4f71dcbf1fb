"""What only someone who may write to a PostgreSQL database can do to its records."""

import re

import psycopg
import pytest


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
