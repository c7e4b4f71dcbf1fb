"""PostgresStore: one worker's way to write, on a lane of its own.

Workers do not wait for one another: each has its lane, and one that is cut off stops
nobody else.
"""

import logging
import os
import secrets
from contextlib import suppress
from time import monotonic, time

from app.storage.audit.errors import RowRefused, StoreFailed
from app.storage.audit.orphans import Orphans
from app.storage.audit.store import Compose
from app.storage.backend import MOST_BYTES, Host
from app.storage.chain.knots import is_due, knot, naming
from app.storage.chain.links import ClockWatch, Head
from app.storage.chain.retention import FOR_EVER, Keep
from app.storage.postgres import statements as sql
from app.storage.postgres.connections import Parameters, Session, translated
from app.storage.postgres.head_notes import HeadNotes
from app.storage.postgres.lane import Lane
from app.storage.postgres.past import LOSS
from app.storage.postgres.preparation import check_server, prepare
from app.storage.postgres.retention import Retention, commit_on
from app.storage.postgres.shared.answers import KeptAnswers
from app.storage.retention.pruner import Plan

log = logging.getLogger(__name__)


class PostgresStore:
    """Fulfils `Store`; one thread's. It begins a trail if it `may_begin`."""

    def __init__(
        self,
        parameters: Parameters,
        key: bytes,
        host: Host,
        *,
        keep_bytes: int = MOST_BYTES,
        keep: Keep = FOR_EVER,
        may_begin: bool = False,
        watch: ClockWatch | None = None,
    ) -> None:
        self._answers = KeptAnswers(keep_bytes)
        self._instance = f"{host.name}-{os.getpid()}-{secrets.token_hex(4)}"
        self._parameters, self._key, self._may_begin = parameters, key, may_begin
        self._session = Session(parameters, self._instance)
        self._watch = watch or ClockWatch()
        self._notes = HeadNotes(host.state_dir)
        self._lane = Lane(
            self._session,
            key,
            self._instance,
            self._notes,
            name=host.name,
            about=host.about,
            watch=self._watch,
        )
        self._retention = Retention(
            self._session, self._lane, key, keep, self._instance
        )
        self._orphans = Orphans(sql.ORPHANS, sql.BEFORE_ALL)
        self._sweep_from = 0.0

    @property
    def instance(self) -> str:
        """Name of this worker in the records that it is responsible for."""
        return self._instance

    def open(self) -> None:
        """Connect afresh, after a look at server, schema and head."""
        with translated():
            self._session.open()
            prepare(self._session, self._parameters, self._key, self._may_begin)
            self._may_begin = False  # once it was there it is missed
            self._lane.open()
            # While the server was away nobody could say that he lives.
            self._sweep_from = monotonic() + sql.LEASE

    def write(self, compose: Compose) -> None:
        """Append rows and move the head of the lane, in one statement."""
        drafts = compose()
        with translated():
            self._lane.append(drafts)
        self._answers.wrote(drafts)

    def probe(self) -> str | None:
        """Say that this worker lives, and look whether its records are kept safe."""
        with translated():
            if found := self._lane.beat():
                has_orphans, *settings = found
                check_server(settings)
                if has_orphans:
                    self._seal_orphans()
            return None

    def sweep(self) -> int:
        """Return how many open rows must not be sealed; `probe` seals the others."""
        return self._orphans.unsigned

    def tie(self) -> Head | None:
        """Append a knot if the last one is a minute old; see Store."""
        with translated():
            own, now = self._lane.head, self._watch.now()
            if not is_due(own, now):
                return None
            heads = [sql.head_of(row)[0] for row in self._session.run(sql.HEADS)]
            others = [head for head in heads if head.lane != own.lane]
            self._lane.append([knot(others, self._instance, now)], is_knot=True)
            return self._lane.head

    def accept_loss(self) -> int:
        """Put on record that lanes may go on from where they end; return how many."""
        with translated():
            heads = [sql.head_of(row)[0] for row in self._session.run(sql.HEADS)]
            draft = naming(LOSS, heads, self._instance, self._watch.now())
            self._lane.append([draft])
            return len(heads)

    def prune(self, *, is_idle: bool) -> float:
        """Erase or prune a batch of what is over its time; see Store."""
        with translated():
            return self._retention.turn(is_idle=is_idle)

    def commit(self, plan: Plan) -> Head | None:
        """Commit what a plan makes of the head of the lane; see `retention.Commit`."""
        with translated():
            return commit_on(self._session, self._lane, plan)

    def maintain(self) -> None:
        """Delete kept answers that are too many; the server does the rest."""
        if self._answers.is_due():
            with translated(), self._session.transaction():
                self._answers.tidy(self._session, time())

    def close(self) -> None:
        """Leave the lane and let go of everything."""
        with suppress(StoreFailed, RowRefused), translated():
            self._lane.release()
        self._session.close()
        self._notes.close()

    def leave_to_parent(self) -> None:
        """In a forked child: close our copy of the note, and nothing else."""
        self._notes.close()

    def _seal_orphans(self) -> None:
        """Seal what dead workers left open, one page, if nobody else does so now."""
        if monotonic() < self._sweep_from:
            return
        head = None
        try:
            with translated(), self._session.transaction():
                if self._session.run(sql.TRY_TO_SWEEP)[0][0]:
                    head = self._sealed_page()
        except RowRefused:  # its worker lives, and was faster
            return
        if head is not None:
            self._lane.committed(head)

    def _sealed_page(self) -> Head | None:
        living = {name for (name,) in self._session.run(sql.LIVING)}
        drafts = self._orphans.next_page(
            self._session,
            self._key,
            living,
            time(),
            tells=self._instance == min(living, default=""),
        )
        if not drafts:
            return None
        rows, head = self._lane.sealed(drafts)
        if not self._lane.send(rows, head):
            raise RowRefused("the lane was taken over")
        log.warning("Audit: %d interrupted chats put on record", len(drafts))
        return head
