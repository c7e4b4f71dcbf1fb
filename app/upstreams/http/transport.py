"""Transport: one exchange with an upstream, under a budget, and nothing beside it.

What it never does: follow a redirect, keep a cookie, use a proxy or netrc, wait longer
than the budget, read or unpack more than the cap.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from types import TracebackType
from typing import Self, cast
from urllib.parse import urlsplit

from requests import PreparedRequest

from app.gateway.budget import Budget
from app.gateway.errors import BadReply, ConnectFailed, NeverSent, UpstreamError
from app.upstreams.http.codings import unpacked, window_of
from app.upstreams.http.connections import (
    IDLE_LIMIT,
    DeadlineAdapter,
    PooledResponse,
)
from app.upstreams.http.deadline import ExchangeDeadline
from app.upstreams.http.resolver import Lookup, Resolver, system_lookup
from app.upstreams.http.sockets import DeadlineSocket, connect, tls_context
from app.upstreams.http.statuses import require_ok
from app.upstreams.http.translate import translate

MAX_BODY = 2 * 1024 * 1024  # bytes (docs/faults.md, row 24)
JSON = "application/json"
WITH_BODY = frozenset({200, 201, 202, 203})  # statuses of an answer that is all there


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole 200. `received` counts its body's bytes."""

    status: int
    body: bytes
    received: int


class Exchange:
    """An answer whose head is in hand and whose body is still to be read.

    A context manager that belongs to one thread. Closed before its end it closes
    the socket; read to its end it gives the connection back.
    """

    def __init__(
        self, raw: PooledResponse, watch: ExchangeDeadline, max_body: int
    ) -> None:
        self._raw = raw
        self._watch = watch
        self._max_body = max_body
        self._unpacked: Iterator[bytes] | None = None
        self.received = 0

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._raw.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, by name in lower case; repeated ones are joined by commas."""
        return self._raw.fields

    @property
    def media_type(self) -> str:
        """What the body says it is, in lower case and without parameters."""
        return _media_type(self.headers)

    def rearm(self, budget: Budget) -> None:
        """Obey another budget from now on; a stream's words have their own limits."""
        self._watch.rearm(budget)

    def require(self, content_type: str | None) -> Self:
        """Return self if this is a plain 200 of that type; else raise what it is.

        None takes any type, and the other statuses of an answer that is all there:
        servers answer a POST with 201, too. What the body is, its reader must see. A
        body that is packed in a way that can be undone is taken then as well.
        """
        try:
            if content_type or self.status not in WITH_BODY:
                require_ok(self.status, self.headers)
            coding = self.headers.get("content-encoding", "identity")
            if content_type and coding.lower() != "identity":
                raise BadReply("bad_encoding")
            window_of(coding)
            if content_type and self.media_type != content_type:
                raise BadReply("bad_content_type")
            if (self._raw.length or 0) > self._max_body:
                raise BadReply("too_large")
        except UpstreamError as error:
            raise self._marked(error) from None
        return self

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it comes in and unpacked, up to the cap.

        Raises BadReply for one that is too large, packed in a way that cannot be
        undone, or ends early, NoAnswer when time is up, and whatever the budget's
        checks raise.
        """
        if self._unpacked is None:
            window = window_of(self.headers.get("content-encoding", ""))
            if not window:
                return self._pieces()
            # It holds what is unpacked and not yet read.
            self._unpacked = unpacked(self._pieces(), window, self._max_body)
        return self._unpacked

    def _pieces(self) -> Iterator[bytes]:
        while not self._raw.is_over:
            try:
                piece = self._raw.read_piece()
            except Exception as error:
                raise self._marked(translate(error, self._watch)) from None
            self.received += len(piece)
            if self.received > self._max_body:
                raise self._marked(BadReply("too_large"))
            if piece:
                yield piece

    def holds_more(self) -> bool:
        """Whether the next piece of the body is in hand already."""
        return self._raw.holds_more()

    def read(self, most: int | None = None) -> bytes:
        """Return the whole body, or the first bytes of one that has more than `most`.

        Raises as `pieces` does.
        """
        body = BytesIO()  # a list of pieces would outgrow the cap if they are tiny
        for piece in self.pieces():
            body.write(piece)
            if most is not None and body.tell() > most:
                break
        return body.getvalue()[:most]

    def whole(self) -> Answer:
        """Return the whole answer; raises as `pieces` does."""
        body = self.read()
        return Answer(self.status, body, self.received)

    def _marked(self, error: BaseException) -> BaseException:
        if isinstance(error, UpstreamError):
            error.status, error.received = self.status, self.received
        return error

    def close(self) -> None:
        """Give up what was not read. May be called twice."""
        self._raw.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Transport:
    """Talks HTTP to upstreams. Threads may share it; processes may not.

    `verify` is a CA bundle's path, True for certifi's, or False to verify nothing;
    `max_body` is in bytes; `pool_size` connections per origin are kept, for
    `idle_limit` seconds; `lookup` finds the addresses of names.
    """

    def __init__(
        self,
        *,
        verify: bool | str = True,
        max_body: int = MAX_BODY,
        pool_size: int = 64,
        idle_limit: float = IDLE_LIMIT,
        lookup: Lookup = system_lookup,
    ) -> None:
        self._max_body = max_body
        self._resolver = Resolver(lookup)
        self._adapter = DeadlineAdapter(
            self._dial, tls_context(verify), pool_size, idle_limit
        )

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], budget: Budget
    ) -> Answer:
        """Send a JSON body and return the whole JSON answer.

        Raises an UpstreamError, or whatever the budget's checks raise.
        """
        with self.open("POST", url, body, headers, budget) as exchange:
            return exchange.require(JSON).whole()

    def open(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        budget: Budget,
        max_body: int | None = None,
    ) -> Exchange:
        """Send a request and return once the head of the answer is in, whatever it is.

        `max_body` is in bytes; None stands for the transport's own. Raises an
        UpstreamError, or whatever the budget's checks raise.
        """
        _require_time(budget)
        watch = ExchangeDeadline(budget)
        request = _prepared(method, url, body, headers)
        try:
            response = self._adapter.send(request, watch)
        except Exception as error:
            failure = translate(error, watch)
            if isinstance(failure, ConnectFailed) and watch.dialled:
                self._resolver.doubt(*watch.dialled)  # it may have moved
            raise failure from None
        raw = cast(PooledResponse, response.raw)
        return Exchange(raw, watch, max_body or self._max_body)

    def close(self) -> None:
        """Close the pooled connections; exchanges under way may end first."""
        self._adapter.close()

    def _dial(self, host: str, port: int, watch: ExchangeDeadline) -> DeadlineSocket:
        watch.dialled = host, port
        return connect(self._resolver.addresses(host, port, watch), watch)


def _require_time(budget: Budget) -> None:
    """An upstream that is not even asked is not to blame for the lack of time."""
    if budget.remaining() <= 0:
        raise NeverSent("deadline")


def _prepared(
    method: str, url: str, body: bytes | None, headers: Mapping[str, str]
) -> PreparedRequest:
    """What requests would prepare, without its 0.3 ms for what upstreams never need."""
    request = PreparedRequest.__new__(PreparedRequest)
    request.method, request.url, request.body = method, url, body
    request.headers = {  # type: ignore[assignment]  # send() only reads them
        "Host": urlsplit(url).netloc,
        "Accept": JSON,
        "Accept-Encoding": "identity",
        "User-Agent": "vx11-gateway",
        **headers,
    }
    if body is not None:
        request.headers.setdefault("Content-Type", JSON)
    return request


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()
