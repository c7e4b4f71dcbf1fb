"""Connections to PostgreSQL: what a URL gets by default, and what errors mean.

Whatever lives in a session (a `SET`, a lock, a prepared statement) is left out, so
that a pooler may stand between (docs/several-hosts.md).
"""

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import conninfo, errors

from app.storage.audit.errors import RowRefused, StoreFailed

# A server that is cut off without a word is noticed within two seconds, waiting or
# sending; libpq's own defaults take many minutes. Times in seconds, but the last one.
DEFAULTS = {
    "connect_timeout": "2",
    "target_session_attrs": "read-write",
    "keepalives": "1",
    "keepalives_idle": "1",
    "keepalives_interval": "1",
    "keepalives_count": "2",
    "tcp_user_timeout": "2000",
}
# What no URL may choose otherwise.
FIXED = {"client_encoding": "UTF8"}

# By the beginning of the SQLSTATE, the longest that fits.
_REASONS = {
    "08": "unreachable",
    "57P": "unreachable",  # shutting down, crashed, starting
    "53300": "unreachable",  # too many connections
    "53100": "disk_full",
    "53": "io_error",
    "58": "io_error",
    "25006": "read_only",
    "55P03": "locked",
    "57014": "locked",  # cancelled by somebody
    "40": "locked",
    "28": "unreadable",
    "3D": "unreadable",
    "42501": "unreadable",
    "42": "corrupt",  # no such table or column
    "XX": "corrupt",
}
_PLACE_TAKEN = "uq_records_place"

Parameters = Mapping[str, str]
Row = tuple[Any, ...]


def parameters_of(url: str) -> Parameters:
    """Return what libpq is given for this URL.

    Raises ValueError, which says what a URL must look like and never what this one
    does.
    """
    scheme, _, rest = url.partition("://")
    try:
        given = conninfo.conninfo_to_dict(f"postgresql://{rest}")
    except psycopg.Error:
        given = {}
    if scheme.partition("+")[0] != "postgresql" or not given.get("dbname"):
        raise ValueError("must be postgresql://USER@HOST/DATABASE")
    said = {name: str(value) for name, value in given.items()}
    return {**DEFAULTS, **said, **FIXED}


def place_of(parameters: Parameters) -> str:
    """Name hosts and database for people; user and password are left out."""
    hosts = parameters.get("host", "").split(",")
    ports = parameters.get("port", "").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    pairs = (f"{h}:{p}" if p else h for h, p in zip(hosts, ports, strict=False))
    return f"postgresql://{','.join(pairs)}/{parameters['dbname']}"


class ReadingConnection(psycopg.Connection[Row]):
    """A connection that another thread may end, as it may one to SQLite."""

    def interrupt(self) -> None:
        """End what is being done, however little the server answers."""
        with suppress(psycopg.Error):
            self.cancel_safe(timeout=0.5)
        with suppress(psycopg.Error, OSError, ValueError):
            descriptor = os.dup(self.pgconn.socket)
            with socket.socket(fileno=descriptor) as cut:
                cut.shutdown(socket.SHUT_RDWR)


def connect_reader(parameters: Parameters, name: str = "reader") -> ReadingConnection:
    """Connect to read only. Raises psycopg.Error."""
    return ReadingConnection.connect(**_named(parameters, name), prepare_threshold=None)


def _named(parameters: Parameters, name: str) -> dict[str, Any]:
    return {"application_name": f"chat-gateway {name}", **parameters}


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the driver raises into our own errors. No value of a row is in them."""
    try:
        yield
    except (errors.IntegrityError, errors.DataError) as error:
        said = error.diag.message_primary or type(error).__name__
        if error.diag.constraint_name == _PLACE_TAKEN:
            raise StoreFailed("corrupt", f"a place is taken: {said}") from error
        raise RowRefused(said) from error
    except errors.CardinalityViolation as error:  # one id twice in a batch
        raise RowRefused("a record of that id is there already") from error
    except psycopg.Error as error:
        raise StoreFailed(reason_of(error), _first_line(error)) from error
    except (OverflowError, UnicodeError) as error:
        raise RowRefused(type(error).__name__) from error
    except OSError as error:
        raise StoreFailed("io_error", str(error)) from error


def reason_of(error: psycopg.Error) -> str:
    """Name in one word what went wrong."""
    state, said = error.sqlstate or "", str(error)
    if not state and ("session is read-only" in said or "hot standby" in said):
        return "read_only"
    if not state and "authentication failed" in said:
        return "unreadable"
    if not state:
        return "unreachable"
    fitting = [begin for begin in _REASONS if state.startswith(begin)]
    return _REASONS[max(fitting, key=len)] if fitting else "io_error"


def _first_line(error: psycopg.Error) -> str:
    lines = (error.diag.message_primary or str(error)).splitlines()
    return lines[0] if lines else type(error).__name__


class Session:
    """The one connection of a writer. It belongs to one thread.

    Every method but `close` raises psycopg.Error, `run` also StoreFailed.
    """

    def __init__(self, parameters: Parameters, name: str) -> None:
        self._parameters = _named(parameters, name)
        self._connection: psycopg.Connection[Row] | None = None
        self._warning = ""

    def open(self) -> None:
        """Connect, afresh if it was connected."""
        self.close()
        self._connection = psycopg.connect(
            **self._parameters, autocommit=True, prepare_threshold=None
        )
        self._connection.add_notice_handler(self._hear)

    @property
    def is_lost(self) -> bool:
        """Whether there is no connection to be used any more."""
        return self._connection is None or self._connection.closed

    def run(
        self, query: str, arguments: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[Row]:
        """Run a statement, by itself in a transaction outside of `transaction`.

        A warning behind it means a failure: a commit whose wait for the standby was
        cancelled ends as a success with one.
        """
        if self._connection is None:
            raise StoreFailed("unreachable", "not connected")
        self._warning = ""
        cursor = self._connection.execute(query, arguments)
        rows = cursor.fetchall() if cursor.description else []
        if self._warning:
            raise StoreFailed("not_replicated", self._warning)
        return rows

    # So that `Orphans` reads by it as by any connection.
    def execute(self, query: str, arguments: Sequence[Any]) -> "_Rows":
        """Run a statement; return its rows behind `fetchall`."""
        return _Rows(self.run(query, arguments))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run what is inside in one transaction, which a lost client soon ends."""
        if self._connection is None:
            raise StoreFailed("unreachable", "not connected")
        self._warning = ""
        with self._connection.transaction():
            self.run("SET LOCAL idle_in_transaction_session_timeout = '2s'")
            yield
        if self._warning:
            raise StoreFailed("not_replicated", self._warning)

    def close(self) -> None:
        """Let go of the connection; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def _hear(self, notice: errors.Diagnostic) -> None:
        if (notice.sqlstate or "").startswith("01"):
            self._warning = notice.message_primary or "a warning"


class _Rows:
    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows

    def fetchall(self) -> list[Row]:
        return self._rows
