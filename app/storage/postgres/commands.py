"""PostgresCommands: what an operator's commands do to records that hosts share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import sqlalchemy as sa

from app.storage.audit.errors import RowRefused, StoreFailed
from app.storage.backend import Host
from app.storage.chain.retention import Erased, Whose
from app.storage.chain.verification import OnProgress, Verification, ignore
from app.storage.postgres.connections import Parameters, connect_reader
from app.storage.postgres.store import PostgresStore
from app.storage.retention.erasure import Erasure, demand

# The lane of commands; those that run at the same time have one each.
_HOST = Host("command")
_BACKUPS = (
    "PostgreSQL is backed up by its own tools (pg_dump and pg_restore, or base backups "
    "and the log; docs/several-hosts.md). Save VX11_AUDIT_KEY and the file of tokens "
    "too: they are in no backup of the database."
)
# What is said of erased words, which the server keeps until it needs the room.
LEFT = (
    "The server's files may still hold some until `VACUUM FULL records`; its log and "
    "your backups keep theirs."
)


class PostgresCommands:
    """The part of a backend that commands use. See AuditBackend for each."""

    def __init__(self, parameters: Parameters, key: bytes) -> None:
        self._parameters, self._key = parameters, key

    def erase(
        self, whose: Whose, *, is_rehearsal: bool, on_progress: OnProgress = ignore
    ) -> Erased:
        """Take the words of all records of somebody out; see AuditBackend."""
        of_them = demand(engine_of(self._parameters), whose, on_progress)
        if is_rehearsal or not of_them.found:
            return Erased(of_them.records, of_them.open)
        with self._opened_store() as store:
            erasure = Erasure(store.commit, store.instance, whose.named(self._key))
            count = sum(erasure.of(*one) for one in of_them.found.items())
        return Erased(count, of_them.open, LEFT)

    def accept_loss(self) -> int:
        """Let all lanes go on from where they end now; return how many they are.

        An event of the chain says so. Raises StoreFailed.
        """
        with self._opened_store() as store:
            return store.accept_loss()

    def backup(self, folder: Path) -> Verification:  # noqa: ARG002  # see AuditBackend
        """Refuse: the server's own tools do that (docs/several-hosts.md)."""
        raise StoreFailed("unsuitable", _BACKUPS)

    def restore(self, folder: Path, *, sets_aside: bool = False) -> Verification:  # noqa: ARG002
        """Refuse, as `backup` does."""
        raise StoreFailed("unsuitable", _BACKUPS)

    @contextmanager
    def _opened_store(self) -> Iterator[PostgresStore]:
        """A writer of our own beside the workers."""
        store = PostgresStore(self._parameters, self._key, _HOST)
        try:
            store.open()
            yield store
        except RowRefused as refusal:
            raise StoreFailed("locked", f"the lane was lost: {refusal}") from None
        finally:
            store.close()


def engine_of(parameters: Parameters, pool: type[sa.Pool] = sa.NullPool) -> sa.Engine:
    """Return an engine for reading."""

    def connect() -> psycopg.Connection[tuple[object, ...]]:
        return connect_reader(parameters)

    return sa.create_engine("postgresql+psycopg://", creator=connect, poolclass=pool)
