"""One accepted connection, served by a thread of its own."""

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Thread, current_thread

from sandbox.exchange import ClientLeft, Exchange
from sandbox.journal import Journal
from sandbox.service import BROKEN, Service
from sandbox.wire import Answer, Client, NotHttp

log = logging.getLogger(__name__)

INVALID = Answer(400, b"Invalid HTTP request received.", "text/plain; charset=utf-8")
JOIN_LIMIT = 1.0  # seconds; a thread that packs a gzip bomb can not be hurried

Serve = Callable[[Exchange], None]


class Connection:
    """Serves one request after the other until either side ends the connection.

    Only `drop` and `join` may be called from other threads.
    """

    def __init__(
        self, client: Client, service: Service, serve: Serve, journal: Journal
    ) -> None:
        self._client = client
        self._service = service
        self._serve = serve
        self._journal = journal
        self._dropped = False
        self._thread = Thread(target=self._run, name="sandbox-connection", daemon=True)

    def start(self, done: Callable[["Connection"], None]) -> None:
        """Begin to serve, and say when it is over."""
        self._done = done
        self._thread.start()

    def drop(self) -> None:
        """End the connection at once, whatever it is doing, unless that is us."""
        if self._thread is current_thread():
            return
        self._dropped = True
        with suppress(OSError):
            self._client.sock.shutdown(socket.SHUT_RDWR)

    def join(self) -> None:
        """Wait until a dropped connection's thread is through."""
        if self._thread is not current_thread():
            self._thread.join(JOIN_LIMIT)

    def _run(self) -> None:
        try:
            self._serve_all()
        except ClientLeft:
            if not self._dropped:
                self._journal.left()
        except NotHttp:
            with suppress(OSError):
                self._client.sock.sendall(INVALID.head() + INVALID.body)
        except OSError:
            pass  # the client left between requests, or in the middle of one
        finally:
            self._client.sock.close()
            self._done(self)

    def _serve_all(self) -> None:
        turn = 0
        while (request := self._client.head()) is not None:
            exchange = Exchange(self._client, request, turn, self._service)
            self._serve_one(exchange)
            if exchange.is_last:
                return
            turn += 1

    def _serve_one(self, exchange: Exchange) -> None:
        try:
            self._serve(exchange)
        except (ClientLeft, NotHttp, OSError):
            raise
        except Exception:
            log.exception("The sandbox itself broke")
            exchange.is_last = True
            exchange.respond(BROKEN)
