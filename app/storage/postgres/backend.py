"""PostgresBackend: the audit records in a PostgreSQL database that hosts share."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from app.gateway.records.signs import AuditSpace
from app.storage.audit.activity import ActivityReader
from app.storage.audit.errors import RowRefused, StoreFailed, UnusableDatabase
from app.storage.audit.queued_trail import QueuedTrail
from app.storage.audit.reader import AuditReader
from app.storage.backend import MOST_BYTES, THIS_HOST, AuditBackend, Host, Moved
from app.storage.chain.anchors import Anchors
from app.storage.chain.knots import Place
from app.storage.chain.retention import FOR_EVER, Keep
from app.storage.chain.verification import OnProgress, Verification, ignore, verify
from app.storage.postgres import statements as sql
from app.storage.postgres.commands import PostgresCommands, engine_of
from app.storage.postgres.connections import (
    Parameters,
    Session,
    connect_reader,
    parameters_of,
    place_of,
    translated,
)
from app.storage.postgres.moving import copy_trail
from app.storage.postgres.past import place_of as place_of_head
from app.storage.postgres.preparation import check_server, flaw_of_schema, prepare
from app.storage.postgres.shared.answers import PostgresAnswers
from app.storage.postgres.shared.pools import PostgresPools
from app.storage.postgres.store import PostgresStore

log = logging.getLogger(__name__)


class PostgresBackend(PostgresCommands):
    """Fulfils `AuditBackend` (see there) with one database.

    `url` is postgresql://USER@HOST/DATABASE, with several hosts if need be; what libpq
    takes may follow behind a question mark. `key` is the same on all hosts. Raises
    ValueError for another URL; making one connects to nobody.
    """

    def __init__(self, url: str, key: bytes) -> None:
        super().__init__(parameters_of(url), key)

    @property
    def place(self) -> str:
        """Hosts and database, without user and password."""
        return place_of(self._parameters)

    @property
    def folder(self) -> None:
        """There is none: an instance has to name its state folder."""
        return

    def trail(
        self,
        *,
        anchor_file: Path | None = None,
        is_known: bool = False,
        keep_bytes: int = MOST_BYTES,
        may_begin: bool = True,
        newest: str | None = None,  # noqa: ARG002  # each lane's is in the state folder
        keep: Keep = FOR_EVER,
        host: Host = THIS_HOST,
    ) -> QueuedTrail:
        """Open the write side; without a server it opens, and refuses chats."""
        may_begin = may_begin and not is_known
        fault = None
        try:
            _prepare(self._parameters, self._key, may_begin=may_begin)
        except StoreFailed as failure:
            if isinstance(failure, UnusableDatabase) and not is_known:
                raise
            log.error("Audit trail unavailable: %s", failure)
            fault = failure.reason

        make_store = partial(
            PostgresStore,
            self._parameters,
            self._key,
            host,
            keep_bytes=keep_bytes,
            keep=keep,
            may_begin=may_begin,
        )
        return QueuedTrail(
            make_store,
            key=lambda: self._key,
            fault=fault,
            on_anchor=Anchors(anchor_file),
        )

    def newest_head(self, pids: Iterable[int], known: str | None) -> str | None:  # noqa: ARG002  # see HeadNotes
        """Return `known`: each lane's newest head is noted in the state folder."""
        return known

    def require_readable(self) -> None:
        """Raise StoreFailed if the server cannot be had, or lets us not in."""
        with translated():
            connect_reader(self._parameters).close()

    def records(self) -> AuditReader:
        """Open the read side."""
        return AuditReader(engine_of(self._parameters))

    def activity(self) -> ActivityReader:
        """Open the view of the recent past."""
        return ActivityReader(engine_of(self._parameters))

    def look(self) -> list[str]:
        """Look whether the server can be had and would keep its word."""
        session = Session(self._parameters, "look")
        try:
            with translated():
                session.open()
                check_server(session.run(sql.SETTINGS)[0])
        finally:
            session.close()
        return []

    def answers(self) -> PostgresAnswers:
        """Open the view of the kept answers."""
        return PostgresAnswers(self._parameters)

    def verify(
        self, *, noted: Iterable[Place] = (), on_progress: OnProgress = ignore
    ) -> Verification:
        """Check all lanes; works while workers write. Raises StoreFailed."""
        self.require_readable()
        # One connection for all its short transactions.
        engine = engine_of(self._parameters, sa.QueuePool)
        try:
            result = verify(engine, self._key, noted, on_progress)
        except sa.exc.SQLAlchemyError as failure:
            raise StoreFailed("unreadable", f"{self.place} cannot be read") from failure
        finally:
            engine.dispose()
        if not result.ok:
            return result
        session = Session(self._parameters, "verification")
        try:
            with translated():
                session.open()
                why = flaw_of_schema(session)
        finally:
            session.close()
        return replace(result, ok=False, reason=why) if why else result

    def take_over(
        self, source: AuditBackend, on_progress: OnProgress = ignore
    ) -> Moved:
        """Copy the trail of another backend, which nobody writes to any more.

        Both are verified. Raises StoreFailed; then nothing was moved.
        """
        _require_whole(source.verify(), source.place)
        session = Session(self._parameters, "move")
        try:
            with translated():
                session.open()
                prepare(session, self._parameters, self._key, may_begin=True)
                moved = copy_trail(
                    source.records().engine,
                    session,
                    self._key,
                    source.place,
                    on_progress,
                )
        except RowRefused as refusal:
            raise StoreFailed("unsuitable", f"a record is refused: {refusal}") from None
        finally:
            session.close()
        _require_whole(self.verify(noted=map(place_of_head, moved.heads)), self.place)
        return moved

    def pools(self, state_dir: Path) -> PostgresPools:
        """Open what the hosts share."""
        return PostgresPools(self._parameters, f"{THIS_HOST.name} {state_dir}")

    def space(self) -> AuditSpace:
        """What nobody here can tell: the disk is the server's."""
        return AuditSpace()


def _prepare(parameters: Parameters, key: bytes, *, may_begin: bool) -> None:
    session = Session(parameters, "start")
    try:
        with translated():
            session.open()
            prepare(session, parameters, key, may_begin)
    finally:
        session.close()


def _require_whole(found: Verification, place: str) -> None:
    if not found.ok:
        raise StoreFailed("corrupt", f"{place}: {found.reason}")
