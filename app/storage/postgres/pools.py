"""PostgresPools: quotas and places that hosts share, in two tables without a log.

A crash of the server empties them, on purpose: a quota that begins anew does less harm
than a disk that each request waits for.
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

from app.gateway.access.pools import LEASE, Piece, Wish
from app.storage.postgres.connections import Parameters, Session

log = logging.getLogger(__name__)

WAIT = 0.05  # seconds that a request waits for an answer, at most
REST = 1.0  # seconds that a server which refused us is left alone
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

    `holder` names this host among those who hold places, `wait` is in seconds. Until
    it was started nobody is answered.
    """

    def __init__(
        self, parameters: Parameters, holder: str, *, wait: float = WAIT
    ) -> None:
        self.sharers = 1
        self._wait = wait
        self._overdue: Future[Any] | None = None
        self._holder = holder
        self._session = Session(parameters, "pools")
        self._asked: SimpleQueue[tuple[Ask, Future[Any]] | None] = SimpleQueue()
        self._rests_until = 0.0
        self._sweep_at = monotonic() + SWEEP
        self._lock = Lock()  # guards the starting of the thread
        self._thread: Thread | None = None

    def start(self) -> None:
        """Connect, in a thread. Raises RuntimeError if there is none to be had."""
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._run, name="pools", daemon=True)
                self._thread.start()

    def take(self, wish: Wish, late: Callable[[Piece], None]) -> Piece | None:
        """See Pools."""

        def ask(session: Session) -> Piece:
            key, quota, cost, want, back, window = wish
            ((count, left, number, reset),) = session.run(
                _TAKE, (key, quota, cost, want, self.sharers, back, window)
            )
            return Piece(count, left, reset, number)

        found: Piece | None = self._answer(ask, late)
        return found

    def hold(self, key: str, limit: int, used: int, want: int) -> int | None:
        """See Pools."""

        def ask(session: Session) -> int:
            ((count,),) = session.run(_HOLD, (key, self._holder, limit, used, want))
            return int(count)

        found: int | None = self._answer(ask, lambda _: None)
        return found

    def close(self) -> None:
        """End the thread and the connection."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._asked.put(None)
            thread.join(WAIT)

    def _answer(self, ask: Ask, late: Callable[[Any], None]) -> Any:
        """Have it asked; None if there is no answer soon enough.

        While one is overdue nobody else waits.
        """
        overdue = self._overdue
        if self._thread is None or monotonic() < self._rests_until:
            return None
        if overdue is not None and not overdue.done():
            return None
        answer: Future[Any] = Future()
        self._asked.put((ask, answer))
        try:
            found = answer.result(self._wait)
        except TookTooLong:
            self._overdue = answer
            answer.add_done_callback(lambda done: _tell(done, late))
            log.info("What hosts share takes too long to be had")
        except Exception as error:
            if self._rests_until == 0.0:
                log.warning("What hosts share is not to be had: %s", error)
            self._rests_until = monotonic() + REST
        else:
            self._rests_until = 0.0
            return found
        return None

    # ---- the thread

    def _run(self) -> None:
        beat_at = monotonic()
        self._do(lambda _: None, Future())  # connects
        while True:
            with suppress(Empty):
                asked = self._asked.get(timeout=BEAT)
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


def _tell(done: "Future[Any]", late: Callable[[Any], None]) -> None:
    if not done.cancelled() and done.exception() is None:
        late(done.result())
