"""QueryThread: a connection that the threads of a process share, and wait for shortly.

A server that hangs answers nobody, and a query cannot be given a time limit from the
outside; so one thread asks, and those who wait go on without an answer.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TookTooLong
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any

from app.storage.audit.errors import RowRefused, StoreFailed
from app.storage.postgres.connections import Parameters, Session, translated

log = logging.getLogger(__name__)

REST = 1.0  # seconds that a server which refused us is left alone
BEAT = 1.0  # seconds between two beats
JOIN = 0.05  # seconds that closing waits for the thread
MOST_TOLD = 1000  # queries that nobody waits for

Query = Callable[[Session], Any]


class Unanswered(Exception):
    """There was no answer in time. `reason` is a word of StoreFailed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class QueryThread:
    """Runs queries of other threads one after another. Threads may share it.

    `name` tells the connection from others, and says in the log what cannot be had.
    `beat` is run each second, and behind each new connection. Where `is_repeatable`, a
    query whose connection was lost is run once more on a new one.
    """

    def __init__(
        self,
        parameters: Parameters,
        name: str,
        *,
        beat: Query | None = None,
        is_repeatable: bool = False,
    ) -> None:
        self._name, self._beat, self._is_repeatable = name, beat, is_repeatable
        self._session = Session(parameters, name)
        self._asked: SimpleQueue[tuple[Query, Future[Any]] | None] = SimpleQueue()
        self._overdue: Future[Any] | None = None
        self._rests_until, self._reason = 0.0, ""
        self._lock = Lock()  # guards the starting of the thread
        self._thread: Thread | None = None

    def start(self) -> None:
        """Connect, in a thread. Raises RuntimeError if there is none to be had."""
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    @property
    def is_started(self) -> bool:
        """Whether anybody asks; until then nobody is answered."""
        return self._thread is not None

    def ask(
        self,
        query: Query,
        wait: float,
        late: Callable[[Any], None] = lambda _: None,
    ) -> Any:
        """Return what a query returns, if that takes `wait` seconds at most.

        Raises Unanswered. An answer that comes later is told to `late`, in the other
        thread. While one is overdue, and for a second after one that failed, nobody
        waits at all.
        """
        self._require_hope()
        answer: Future[Any] = Future()
        self._asked.put((query, answer))
        try:
            found = answer.result(wait)
        except TookTooLong:
            self._overdue = answer
            answer.add_done_callback(lambda done: _tell(done, late))
            log.info("PostgreSQL takes too long for %s", self._name)
            raise Unanswered("stuck") from None
        except Exception as error:
            if not self._reason:
                log.warning("PostgreSQL cannot be had for %s: %s", self._name, error)
            self._reason = getattr(error, "reason", "io_error")
            self._rests_until = monotonic() + REST
            raise Unanswered(self._reason) from error
        self._reason = ""
        return found

    def tell(self, query: Query) -> None:
        """Have a query run, behind those that wait; nobody hears what comes of it.

        It is dropped where an answer could not be had either.
        """
        with suppress(Unanswered):
            self._require_hope()
            if self._asked.qsize() < MOST_TOLD:
                self._asked.put((query, Future()))

    def close(self) -> None:
        """End the thread and the connection."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._asked.put(None)
            thread.join(JOIN)

    def _require_hope(self) -> None:
        overdue = self._overdue
        if self._thread is None:
            raise Unanswered("closed")
        if monotonic() < self._rests_until:
            raise Unanswered(self._reason)
        if overdue is not None and not overdue.done():
            raise Unanswered("stuck")

    # ---- the thread

    def _run(self) -> None:
        beat_at = monotonic()
        self._do(lambda _: None, Future())  # connects
        while True:
            with suppress(Empty):
                asked = self._asked.get(timeout=BEAT if self._beat else None)
                if asked is None:
                    self._session.close()
                    return
                self._do(*asked)
            if self._beat and monotonic() >= beat_at:
                beat_at = monotonic() + BEAT
                self._do(self._beat, Future())

    def _do(self, query: Query, answer: "Future[Any]") -> None:
        if not answer.set_running_or_notify_cancel():
            return  # nobody waits any more
        try:
            answer.set_result(self._result(query))
        except Exception as error:
            answer.set_exception(error)

    def _result(self, query: Query) -> Any:
        was_lost = self._session.is_lost
        try:
            return self._once(query)
        except (StoreFailed, RowRefused):
            if was_lost or not (self._is_repeatable and self._session.is_lost):
                raise
        return self._once(query)

    def _once(self, query: Query) -> Any:
        with translated():
            if self._session.is_lost:
                self._session.open()
                if self._beat:
                    self._beat(self._session)
            return query(self._session)


def _tell(done: "Future[Any]", late: Callable[[Any], None]) -> None:
    if not done.cancelled() and done.exception() is None:
        late(done.result())
