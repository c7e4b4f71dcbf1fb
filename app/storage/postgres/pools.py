"""PostgresPools: quotas and places that hosts share, in two tables without a log.

A crash of the server empties them, on purpose: a quota that begins anew does less harm
than a disk that each request waits for.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TookTooLong
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any

import psycopg

from app.gateway.access.pools import LEASE, REST, Piece, Wish
from app.storage.audit.errors import StoreFailed
from app.storage.postgres.connections import Parameters, Session

log = logging.getLogger(__name__)

WAIT = 0.05  # seconds that a request waits for an answer, at most
BEAT = 1.0  # seconds between two looks at who is alive
SWEEP = 60.0  # seconds between two sweeps of what has expired

_TAKE = "SELECT * FROM pool_take(%s, %s, %s, %s, %s, %s, %s)"
_HOLD = f"SELECT pool_hold(%s, %s, %s, %s, %s, {LEASE})"
_SHARERS = "SELECT count(*) FROM chain WHERE alive_until > clock_timestamp()"
_FORGET = (
    "DELETE FROM pools WHERE win < floor(extract(epoch FROM clock_timestamp()) / 60)"
    " - 2",
    "DELETE FROM holdings WHERE until < clock_timestamp() - interval '1 minute'",
)

Ask = Callable[[Session], Any]


class PostgresPools:
    """Fulfils `Pools` on a connection of its own, which one thread uses.

    `holder` names this host among those who hold places.
    """

    def __init__(self, parameters: Parameters, holder: str) -> None:
        self.sharers = 1
        self._holder = holder
        self._session = Session(parameters, "pools")
        self._asked: SimpleQueue[tuple[Ask, Future[Any]] | None] = SimpleQueue()
        self._rests_until = 0.0
        self._sweep_at = monotonic() + SWEEP
        self._lock = Lock()  # guards the starting of the thread
        self._thread: Thread | None = None

    def take(self, wish: Wish) -> Piece | None:
        """See Pools."""

        def ask(session: Session) -> Piece:
            key, quota, cost, want, back, window = wish
            ((count, left, number, reset),) = session.run(
                _TAKE, (key, quota, cost, want, self.sharers, back, window)
            )
            return Piece(count, left, reset, number)

        found: Piece | None = self._answer(ask)
        return found

    def hold(self, key: str, limit: int, used: int, want: int) -> int | None:
        """See Pools."""

        def ask(session: Session) -> int:
            ((count,),) = session.run(_HOLD, (key, self._holder, limit, used, want))
            return int(count)

        found: int | None = self._answer(ask)
        return found

    def close(self) -> None:
        """End the thread and the connection."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._asked.put(None)
            thread.join(WAIT)

    def _answer(self, ask: Ask) -> Any:
        """Have it asked; None if there is no answer soon enough."""
        if monotonic() < self._rests_until:
            return None
        answer: Future[Any] = Future()
        try:
            self._start()
            self._asked.put((ask, answer))
            return answer.result(WAIT)
        except (TookTooLong, psycopg.Error, StoreFailed, RuntimeError) as error:
            answer.cancel()
            if monotonic() >= self._rests_until:
                log.warning("What hosts share is not to be had: %r", error)
            self._rests_until = monotonic() + REST
            return None

    def _start(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = Thread(target=self._run, name="pools", daemon=True)
                    self._thread.start()

    # ---- the thread

    def _run(self) -> None:
        beat_at = monotonic()
        while True:
            try:
                asked = self._asked.get(timeout=BEAT)
            except Empty:
                asked = _NOTHING
            if asked is None:
                self._session.close()
                return
            self._do(*asked)
            if monotonic() >= beat_at:
                beat_at = monotonic() + BEAT
                self._do(self._look, Future())

    def _do(self, ask: Ask, answer: "Future[Any]") -> None:
        if not answer.set_running_or_notify_cancel():
            return  # nobody waits any more
        try:
            if self._session.is_lost:
                self._session.open()
                self._look(self._session)
            answer.set_result(ask(self._session))
        except Exception as error:
            answer.set_exception(error)

    def _look(self, session: Session) -> None:
        """See who is alive; now and then forget what has expired."""
        self.sharers = max(1, session.run(_SHARERS)[0][0])
        if monotonic() >= self._sweep_at:
            self._sweep_at = monotonic() + SWEEP
            for statement in _FORGET:
                session.run(statement)


_NOTHING: tuple[Ask, "Future[Any]"] = (lambda _: None, Future())
_NOTHING[1].cancel()
