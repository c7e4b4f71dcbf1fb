"""Worker: gunicorn's gthread, with an end to every wait on a caller.

Measured on gunicorn 27: a caller who stalls inside a head or a body, or never reads
his answer, holds a thread for ever, and one who does not close his connection holds
up the accepting loop for two seconds. Here the loop waits for first bytes and for
last goodbyes of all connections at once, and threads read and write against a clock.
"""

import errno
import logging
import os
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from selectors import EVENT_READ
from socket import MSG_DONTWAIT, SHUT_WR, socket
from time import monotonic, sleep
from types import FrameType
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

from app.gateway import correlation
from app.gateway.access.tally import Tally
from app.gateway.chain.drain import Drain
from app.server.connection import (
    HEAD_LIMIT,
    Ahead,
    CallerSocket,
    Connection,
    closing,
    refusal,
    status_of,
)
from app.server.scoreboard import MOST, Scoreboard
from app.server.slow_callers import SlowCallers
from app.server.thread_pool import LifoThreadPool

log = logging.getLogger(__name__)

# All in seconds.
TICK = 0.25  # how often the loop looks at its clock and for its parent
FIRST_BYTE_LIMIT = 10.0  # costs a file descriptor and no thread
LINGER = 2.0  # RFC 9112, section 9.6: else a reset destroys the answer
ORPHAN_GRACE = 1  # a new master must find the port free
SHORTAGE_PAUSE = 0.5  # before accepting again where no file could be had
BOOT_PAUSE = 3.0  # before a worker that cannot boot makes room for the next one
BOOT_FAILED = 1  # its exit code; at 3 and 4 gunicorn's master stops all workers

# A worker with so many requests more than another one leaves new connections to that
# for a moment. All wake for each one, and the same one is the fastest every time:
# measured, 756 of 1,000 went to one of two workers.
LEAD = 4
YIELD = 0.005
# How often in a row. One whose slots are taken has nothing to offer but its queue.
YIELDS, YIELDS_IF_FULL = 1, 20

REFUSED_HEADS = {
    Ahead.BROKEN: HTTPStatus.BAD_REQUEST,
    Ahead.TOO_MUCH: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
}

KEPT: "Future[bool]" = Future()  # what the library wants to be told of all the same
KEPT.set_result(True)

LINGER_READ = 65536
LINGER_BYTES = 4 * 1024 * 1024  # of an unread body, four times the default limit
SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Worker(ThreadWorker):
    """The worker class of `gunicorn.conf.py`.

    That sets `drain`, `board`, `place`, and the number of `slots`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.drain = Drain()
        self.board = Scoreboard(places=0)
        self.place: int | None = None
        self._slow = SlowCallers(max(1, self.cfg.threads // 2))
        # Of both, those that end first are first.
        self._in_head: deque[Connection] = deque()
        self._lingering: deque[Connection] = deque()
        self._accepts_from = 0.0
        self._accepts_until = 0.0
        self.slots = self.cfg.threads
        self._unparsed = Tally(_log_sum)
        self._yielded = 0  # times in a row

    def get_thread_pool(self) -> LifoThreadPool:  # type: ignore[override]
        """Make the request threads."""
        return LifoThreadPool(self.cfg.threads)

    def load_wsgi(self) -> None:
        """Load the application."""
        super().load_wsgi()
        self.wsgi = closing(self.wsgi)  # type: ignore[assignment, arg-type]

    # ---- the beginning

    def init_process(self) -> None:
        """Boot and serve.

        A worker that cannot boot ends all of them, as gunicorn has it, at the start of
        the gateway only. Later the others go on, and the next one tries in a while.
        """
        try:
            super().init_process()
        except Exception as error:
            if self.booted or not self.board.has_booted:
                raise
            known = getattr(error, "problems", None)
            self.log.error(
                "A worker does not start: %s", error, exc_info=None if known else error
            )
            self._wait_for_better_times()
            raise SystemExit(BOOT_FAILED) from None

    def _wait_for_better_times(self) -> None:
        until = monotonic() + BOOT_PAUSE
        while self.alive and self.ppid == os.getppid() and monotonic() < until:
            sleep(TICK)

    def run(self) -> None:
        """Serve until the end."""
        self.board.booted()
        super().run()
        self._unparsed.close()

    # ---- connections that come

    def accept(self, listener: socket) -> None:
        """Take a connection; where no file is left, leave it in the kernel's queue."""
        if self._yields():
            return
        try:
            sock, address = listener.accept()
        except OSError as error:
            self._not_accepted(error)
            return
        self.nr_conns += 1
        ours = CallerSocket.of(sock, self._slow)
        conn = Connection(self.cfg, ours, address, listener.getsockname())
        conn.end_within(FIRST_BYTE_LIMIT)
        self.pending_conns.append(conn)
        self.poller.register(ours, EVENT_READ, partial(self._read_head, conn))

    def _not_accepted(self, error: OSError) -> None:
        if error.errno in (errno.EAGAIN, errno.ECONNABORTED):
            return
        if error.errno not in SHORTAGES:
            raise error
        log.error("No connection can be accepted: %s", error.strerror)
        self._accept_no_more_for(SHORTAGE_PAUSE)

    def _yields(self) -> bool:
        """Whether to leave a connection to somebody with less to do.

        Not for ever, in case that he does not take it.
        """
        most = YIELDS_IF_FULL if self.busy >= self.slots else YIELDS
        is_ahead = self.place and self.busy - self.board.least_busy() > LEAD
        if not is_ahead or self._yielded >= most:
            self._yielded = 0
            return False
        self._yielded += 1
        self._accept_no_more_for(YIELD)
        return True

    def _accept_no_more_for(self, seconds: float) -> None:
        self._accepts_from = monotonic() + seconds
        super().set_accept_enabled(False)

    @property
    def busy(self) -> int:
        """How many connections have a request under way, or are about to."""
        return self.nr_conns - len(self.keepalived_conns) - len(self._lingering)

    def enqueue_req(self, conn: TConn) -> None:
        """Hand a connection to a thread; where none can be started, say so."""
        try:
            self.tpool.submit(partial(self._serve, conn))
        except RuntimeError:
            log.exception("No thread can be started")
            self._refuse(conn.sock, HTTPStatus.SERVICE_UNAVAILABLE)
            self._linger(conn)

    # ---- a head, in the loop

    def on_client_socket_readable(self, conn: TConn, client: Any) -> None:
        """A connection that was kept has its next request."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._expect_head(conn)

    def _expect_head(self, conn: Any) -> None:
        """Hand on what is whole already; else wait for it here, not in a thread."""
        conn.end_within(HEAD_LIMIT)
        self._in_head.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self._read_head, conn))
        self._read_head(conn, conn.sock)

    def _read_head(self, conn: Connection, _fileobj: object) -> None:
        found = conn.sock.read_ahead()
        if found is Ahead.SOME and conn in self.pending_conns:
            self.pending_conns.remove(conn)
            conn.end_within(HEAD_LIMIT)
            self._in_head.append(conn)
        elif found is Ahead.ENOUGH:
            self._forget_head(conn)
            conn.data_ready = True
            self.enqueue_req(conn)
        elif status := REFUSED_HEADS.get(found):
            self._end_head(conn, status)

    def _end_head(self, conn: Connection, status: HTTPStatus) -> None:
        self._forget_head(conn)
        self._refuse(conn.sock, status)
        self._linger(conn)

    def _forget_head(self, conn: Connection) -> None:
        self.poller.unregister(conn.sock)
        waiting = self._in_head if conn in self._in_head else self.pending_conns
        waiting.remove(conn)

    # ---- a request, in a thread

    def _serve(self, conn: TConn) -> None:
        is_kept = False
        try:
            is_kept = self.handle(conn)
        finally:
            self.method_queue.defer(self.finish_request, conn, is_kept)

    def handle(self, conn: TConn) -> bool:
        """Serve one request; the caller has so long for its head."""
        if not isinstance(conn, Connection):
            return False
        conn.sock.expect_head()
        is_kept = super().handle(conn)
        if conn.sock.ran_out:
            self._refuse(conn.sock, HTTPStatus.REQUEST_TIMEOUT)
        return is_kept

    def handle_request(self, req: Any, conn: TConn) -> bool:
        """Serve a request whose head has been read."""
        conn.sock.expect_body()  # type: ignore[attr-defined]
        try:
            return super().handle_request(req, conn)
        except TimeoutError:
            shown = dict(req.headers).get("X-CORRELATION-ID", "-")
            known = shown if correlation.is_well_formed(shown) else "-"
            log.warning("client_slow: an answer was not read [request=%s]", known)
            return False

    def handle_error(
        self,
        req: Any,  # noqa: ARG002  # gunicorn's signature
        client: socket,
        addr: Any,
        exc: BaseException,
    ) -> None:
        """Answer what cannot be parsed in JSON, without a word of what was sent."""
        status = status_of(exc)
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("A request broke the server", exc_info=exc)
        elif self._unparsed.add(kind := type(exc).__name__):
            source = addr[0] if isinstance(addr, tuple) else "unix"
            log.warning("Refused a request: %s, source=%s", kind, source)
        self._refuse(client, status)

    def _refuse(self, sock: socket, status: HTTPStatus) -> None:
        with suppress(OSError):
            sock.sendall(refusal(status, getattr(sock, "begins", b"")))

    # ---- connections that go

    def finish_request(self, conn: TConn, is_kept: bool) -> None:  # type: ignore[override]
        """Keep the connection, or end it without making anybody wait."""
        if is_kept and isinstance(conn, Connection):
            # What came of the next request is waited for like any other head.
            conn.put_back()
            if conn.sock.ahead() is Ahead.NOTHING:
                super().finish_request(conn, KEPT)
            else:
                self._expect_head(conn)
        else:
            self._linger(conn)

    def _linger(self, conn: Any) -> None:
        try:
            conn.sock.shutdown(SHUT_WR)
            conn.end_within(LINGER)
            self.poller.register(conn.sock, EVENT_READ, partial(self._drain, conn))
            self._lingering.append(conn)
        except (OSError, ValueError):  # the caller has closed it already
            self._let_go(conn)

    def _drain(self, conn: Connection, _fileobj: object) -> None:
        try:
            data = conn.sock.recv(LINGER_READ, MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        conn.drained += len(data)
        if not data or conn.drained > LINGER_BYTES:
            self._lingering.remove(conn)
            self._let_go(conn)

    def _let_go(self, conn: Connection) -> None:
        with suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def wait_for_and_dispatch_events(self, timeout: float | None) -> None:
        """Wait no longer than a tick, or until connections are accepted again."""
        if self.place is not None:
            self.board.tell(self.place, self.busy)
        limit = min(TICK, timeout or 0.0)
        if (pause := self._accepts_from - monotonic()) > 0:
            limit = min(limit, pause)
        super().wait_for_and_dispatch_events(limit)

    def murder_pending(self) -> None:
        """Close what is overdue; the loop calls it after each wait."""
        super().murder_pending()
        while self._in_head and self._in_head[0].is_overdue:
            self._end_head(self._in_head[0], HTTPStatus.REQUEST_TIMEOUT)
        while self._lingering and self._lingering[0].is_overdue:
            self._let_go(self._lingering.popleft())
        if not self.alive and monotonic() >= self._accepts_until:
            self._stop_listening()

    # ---- the end

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM: end what is under way within the grace."""
        if self.alive and self.booted:
            self._accepts_until = monotonic() + LINGER
            self.drain.begin(self.cfg.graceful_timeout, lambda: self.board.is_stopping)
            self._look_busy()
        super().handle_exit(sig, frame)

    def set_accept_enabled(self, enabled: bool | None) -> None:
        """Accept or not.

        While the whole gateway stops, callers who come now are answered a little
        longer, above all those who ask whether it is ready; then they are refused
        by the kernel instead of waiting in a queue that nobody looks at.
        """
        if enabled and monotonic() < self._accepts_from:
            return
        if not enabled and not self.alive and self.board.is_stopping:
            return
        super().set_accept_enabled(enabled)

    def is_parent_alive(self) -> bool:
        """Whether gunicorn's master is; without it, give up the port at once."""
        if super().is_parent_alive():
            return True
        self.alive = False
        self.cfg.set("graceful_timeout", ORPHAN_GRACE)
        self.drain.begin(ORPHAN_GRACE, lambda: True)
        self._stop_listening()
        return False

    @property
    def is_cut_short(self) -> bool:
        """Whether requests are left over that did not end within the grace."""
        waiting = len(self.pending_conns) + len(self._in_head)
        return self.nr_conns > waiting + len(self._lingering)

    def _look_busy(self) -> None:
        """Let nobody leave a connection to us any more, nor leave one to others."""
        if self.place is not None:
            self.board.tell(self.place, MOST)
            self.place = None

    def _stop_listening(self) -> None:
        super().set_accept_enabled(False)
        for listener in self.sockets:
            listener.close()

    def _cap_keepalive(self, deadline: float) -> None:
        """Wait no longer than that for connections on which nothing is going on."""
        super()._cap_keepalive(deadline)  # type: ignore[misc]
        if self.board.is_stopping:
            super().set_accept_enabled(True)  # it may just have been yielding
        for conn in (*self.pending_conns, *self._in_head):
            conn.timeout = min(conn.timeout or deadline, deadline)


def _log_sum(kind: str, count: int) -> None:
    log.warning("Refused %d more requests within a minute: %s", count, kind)
