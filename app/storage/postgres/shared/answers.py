"""Kept answers in PostgreSQL: written in the statement of their record, for all hosts.

See `statements.WRITE_WITH_ANSWERS` for how they are written.
"""

from collections.abc import Callable, Iterable
from threading import Lock
from time import monotonic
from typing import Any

from app.gateway.errors import AuditUnavailable
from app.gateway.kept.answers import Kept
from app.storage.audit.entry import RETRY_AFTER
from app.storage.audit.rows import Draft
from app.storage.backend import MOST_BYTES
from app.storage.kept.rows import (
    FOUND,
    SHARES,
    SIZE,
    SOONEST,
    Share,
    SizeGauge,
    TidyTimes,
    keys_of,
    soonest_of,
)
from app.storage.kept.rows import Row as KeptRow
from app.storage.postgres.connections import Parameters, Row, Session
from app.storage.postgres.shared.query_thread import QueryThread, Unanswered

WAIT = 1.0  # seconds that a request waits for an answer, at most

_FIND = f"SELECT {FOUND} FROM answers WHERE key = %s AND until > %s"  # noqa: S608
# Of all hosts one tidies up at a time, and it waits for nobody who writes.
_TRY_TO_TIDY = "SELECT pg_try_advisory_xact_lock(7521193)"
_UNLOCKED = "FOR UPDATE SKIP LOCKED"
_SOONEST = f"{SOONEST} {_UNLOCKED}"
_SOONEST_OF = f"{soonest_of('%s')} {_UNLOCKED}"
_DELETE = "DELETE FROM answers WHERE key = ANY(%s)"


class KeptAnswers:
    """The house work of a writer: deletes what is too much. It is one thread's."""

    def __init__(
        self, most_bytes: int = MOST_BYTES, clock: Callable[[], float] = monotonic
    ) -> None:
        self._times = TidyTimes(most_bytes, clock)
        self.is_due = self._times.is_due

    def wrote(self, drafts: Iterable[Draft]) -> None:
        """Take note of what was written."""
        if any(draft.kept for draft in drafts):
            self._times.kept_some()

    def tidy(self, session: Session, now: float) -> None:
        """Delete some, in a transaction; what is left is due at once, or later."""
        ((may_tidy,),) = session.run(_TRY_TO_TIDY)
        ((size,),) = session.run(SIZE)
        if not size:
            self._times.nothing_there()
            return
        if not may_tidy:
            self._times.later()
        elif doomed := self._times.doomed(int(size), _Rows(session), now):
            session.run(_DELETE, (doomed,))


class _Rows:
    """Fulfils `Rows` (see there), but for those that somebody else has locked."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def soonest(self) -> Iterable[KeptRow]:
        """See Rows."""
        found: list[Any] = self._session.run(_SOONEST)
        return found

    def shares(self) -> Iterable[Share]:
        """See Rows."""
        return [
            (whose, int(all_), end) for whose, all_, end in self._session.run(SHARES)
        ]

    def soonest_of(self, owner: bytes) -> Iterable[KeptRow]:
        """See Rows."""
        found: list[Any] = self._session.run(_SOONEST_OF, keys_of(owner))
        return found


class PostgresAnswers:
    """Fulfils `Answers`, on a connection that is made when the first one is looked for.

    Threads may share it. A server that does not answer within a second is as one that
    cannot be had.
    """

    has_records = True

    def __init__(
        self,
        parameters: Parameters,
        clock: Callable[[], float] = monotonic,
        *,
        wait: float = WAIT,
    ) -> None:
        self._thread = QueryThread(parameters, "answers", is_repeatable=True)
        self._wait = wait
        self._size = SizeGauge(lambda: int(self._fetch(SIZE, ())[0][0]), clock)
        self._is_closed, self._lock = False, Lock()  # guards it

    def find(self, key: bytes, now: float) -> Kept | None:
        """See Answers."""
        found = self._fetch(_FIND, (key, now))
        return Kept(*found[0]) if found else None

    def put(self, kept: Kept) -> None:
        """Nothing: the writer has kept it with its record."""

    def size(self) -> int | None:
        """See Answers; as of a minute ago."""
        return self._size.read() if self._thread.is_started else None

    def close(self) -> None:
        """See Answers."""
        with self._lock:
            self._is_closed = True
        self._thread.close()

    def _fetch(self, query: str, values: tuple[object, ...]) -> list[Row]:
        try:
            self._start()
            found: list[Row]
            found = self._thread.ask(lambda s: s.run(query, values), self._wait)
        except Unanswered as silence:
            raise AuditUnavailable(silence.reason, retry_after=RETRY_AFTER) from silence
        except RuntimeError as no_thread:
            raise AuditUnavailable("no_thread", retry_after=1.0) from no_thread
        return found

    def _start(self) -> None:
        with self._lock:
            if not self._is_closed:
                self._thread.start()
