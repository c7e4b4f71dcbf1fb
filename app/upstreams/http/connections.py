"""Connections: requests' adapter and urllib3's pools, on sockets that obey a watch.

Each class fills in the places that its library keeps for subclasses. What is left
out is what a gateway must not do (proxies, cookies, redirects, retries, sleeping) or
need not do for every call. This leans on their insides, so both are pinned, and the
fault tests guard an upgrade.
"""

import ssl
from collections.abc import Callable
from functools import partial
from io import BufferedReader
from time import monotonic
from typing import Any, cast
from urllib.parse import urlsplit

import urllib3.connection
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool

from app.upstreams.http.bodies import StreamedResponse
from app.upstreams.http.deadline import ExchangeDeadline, Phase
from app.upstreams.http.heads import write_head
from app.upstreams.http.sockets import DeadlineSocket

CONNECT_LIMIT = 2.0  # seconds for name, TCP and TLS (docs/faults.md, rows 2 to 5)

# Seconds. FastAPI's server closes an idle connection after 5: one that is younger is
# rarely closed in the moment in which we use it (docs/faults.md, row 13).
IDLE_LIMIT = 4.0

# Seconds after sending in which a kept connection fails if it was closed while idle.
STALE_SHOWS = 0.2

Dial = Callable[[str, int, ExchangeDeadline], DeadlineSocket]


class PooledResponse(StreamedResponse):
    """An answer on a connection that goes back to its pool after the last byte.

    One that is abandoned, or that ends early, takes its connection with it. It
    belongs to one thread.
    """

    connection: "_Connection"
    pool: "_Pool"
    is_released = False

    def holds_more(self) -> bool:
        """Whether some of the body has come in already and can be read at once."""
        return not self.is_over and self.holds(self._here())

    def _here(self) -> bytes:
        """Return what has come in already; the socket is asked for nothing."""
        watch = self.connection.watch
        phase, watch.phase = watch.phase, Phase.OVER
        try:
            return self.file.peek()
        finally:
            watch.phase = phase

    def end(self) -> None:
        """Give the connection back if it is in order, else part with its socket.

        Bytes behind the answer, where nothing was asked for, would be lost here, or
        taken for the answer to the next question.
        """
        is_reusable = not (
            self.will_close or self._here() or self.connection.sock.pending()
        )
        super().end()
        if is_reusable:
            self.is_released = True
            self.pool.release(self.connection)
        else:
            self.file.close()

    def abandon(self) -> None:
        """Close the socket, unless the connection was given back."""
        if not self.is_released:
            self.is_over = True
            self.file.close()
            self.connection.close()


class _Connection(urllib3.connection.HTTPConnection):
    """A connection whose every wait obeys `watch`. One exchange at a time."""

    watch: ExchangeDeadline
    dial: Dial
    idle_since = 0.0
    reader: BufferedReader | None = None  # of the socket, for all of its answers
    sock: Any  # a DeadlineSocket or DeadlineTLSSocket; None while not connected

    def _new_conn(self) -> DeadlineSocket:
        return self.dial(self._dns_host, self.port, self.watch)

    def exchange(self, request: PreparedRequest) -> PooledResponse:
        """Send a request and read the answer's head; connect first if need be."""
        body = cast(bytes | None, request.body)
        length = None if body is None else len(body)
        head = write_head(
            str(request.method), request.path_url, request.headers, length
        )
        message = head + (body or b"")
        if self.sock is None:
            with self.watch.narrowed(CONNECT_LIMIT):
                self.connect()
            self.reader = cast(Any, self.sock).makefile("rb")
        self.sock.watch = self.watch
        self._send(message)
        return self._receive()

    def _send(self, message: bytes) -> None:
        self.watch.phase = Phase.SEND
        try:
            self.sock.sendall(message)
        except ConnectionError:
            # It may have answered before it hung up: with a 413, for example.
            if self.watch.ended_by is not None:
                raise
        self.watch.phase = Phase.RECEIVE

    def _receive(self) -> PooledResponse:
        response = PooledResponse(cast(BufferedReader, self.reader))
        response.connection = self
        response.begin()
        if response.will_close:
            self.reader = None  # the response keeps the socket until it is read
            self.close()
        return response

    def close(self) -> None:
        """Close the socket, and what reads it."""
        if self.reader is not None:
            self.reader.close()
            self.reader = None
        super().close()


class _TLSConnection(_Connection, urllib3.connection.HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    """Connections to one origin, the last used first. Threads may share it."""

    ConnectionCls = _Connection

    def __init__(
        self, *args: Any, most: int, dial: Dial, idle_limit: float, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._dial = dial
        self._most, self._idle_limit = most, idle_limit
        # In place of the library's queue and its locks: adding to a list, and taking
        # from its end, is atomic.
        self._idle: list[_Connection] = []
        self._is_closed = False

    def _new_conn(self) -> Any:
        connection: Any = super()._new_conn()
        connection.dial = self._dial
        return connection

    def release(self, connection: _Connection) -> None:
        """Take back a connection whose exchange is over."""
        connection.idle_since = monotonic()
        if self._is_closed or len(self._idle) >= self._most:
            connection.close()
        else:
            self._idle.append(connection)

    def exchange(
        self, request: PreparedRequest, watch: ExchangeDeadline
    ) -> PooledResponse:
        """Make one exchange, without a redirect, a retry or a sleep.

        The one thing that is sent again is a request whose pooled connection turned
        out to be closed before one byte of answer came; once, on a new connection.
        Whoever hangs up later may have been at work on it: that one is not asked twice.
        """
        connection = self._take()
        if connection.sock is None:
            return self._exchange(connection, request, watch)
        began = monotonic()
        try:
            return self._exchange(connection, request, watch)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            is_late = monotonic() - began > STALE_SHOWS
            if watch.received or watch.ended_by is not None or is_late:
                raise
        return self._exchange(self._new_conn(), request, watch)

    def _take(self) -> _Connection:
        try:
            connection = self._idle.pop()
        except IndexError:
            return cast(_Connection, self._new_conn())
        is_old = monotonic() - connection.idle_since > self._idle_limit
        if is_old or not connection.is_connected:
            connection.close()
        return connection

    def close(self) -> None:
        """Close the connections that nobody is using; the others when released."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()
        super().close()

    def _exchange(
        self,
        connection: _Connection,
        request: PreparedRequest,
        watch: ExchangeDeadline,
    ) -> PooledResponse:
        connection.watch = watch
        try:
            response = connection.exchange(request)
        except BaseException:
            connection.close()
            raise
        response.pool = self
        return response


class _TLSPool(_Pool, HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = _TLSConnection


class DeadlineAdapter(HTTPAdapter):
    """requests' adapter for upstreams. Threads may share it.

    Certificates are verified by the TLS context that is given here.
    """

    def __init__(
        self, dial: Dial, context: ssl.SSLContext, pool_size: int, idle_limit: float
    ) -> None:
        super().__init__(max_retries=0, pool_block=False)
        self._new_pool = partial(
            _Pool, dial=dial, most=pool_size, idle_limit=idle_limit
        )
        self._new_tls_pool = partial(
            _TLSPool,
            dial=dial,
            most=pool_size,
            idle_limit=idle_limit,
            ssl_context=context,
        )
        self._pools: dict[tuple[str, str], _Pool] = {}

    def send(  # type: ignore[override]  # what it leaves out, nobody may choose
        self, request: PreparedRequest, watch: ExchangeDeadline
    ) -> Response:
        """Make one exchange; the answer's `raw` is a PooledResponse.

        No proxy is looked for, and cookies are not looked at. Raises what ended the
        exchange, as it is.
        """
        response = Response.__new__(Response)  # a cookie jar costs 6 of 160 us
        response.raw = self._pool(str(request.url)).exchange(request, watch)
        response.request, response.status_code = request, response.raw.status
        return response

    def _pool(self, address: str) -> _Pool:
        url = urlsplit(address)
        origin = (url.scheme, url.netloc)
        if origin not in self._pools:
            new = self._new_tls_pool if url.scheme == "https" else self._new_pool
            self._pools.setdefault(origin, new(url.hostname, url.port))
        return self._pools[origin]

    def close(self) -> None:
        """Close the connections that nobody is using; the others when released."""
        for pool in self._pools.values():
            pool.close()
        super().close()
