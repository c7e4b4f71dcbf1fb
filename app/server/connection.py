"""A caller's connection as the worker sees it, and what he is told when refused."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from http import HTTPStatus
from socket import MSG_DONTWAIT, SHUT_RD, SHUT_RDWR, socket
from time import monotonic
from typing import TYPE_CHECKING, Any

from gunicorn.http import errors
from gunicorn.http.parser import RequestParser
from gunicorn.workers.gthread import TConn

from app.gateway import correlation
from app.server.slow_callers import SlowCallers
from app.web.request.caller_error import CallerError, id_headers

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer
    from _typeshed.wsgi import WSGIApplication

# All in seconds.
HEAD_LIMIT = 3.0
BODY_LIMIT = 10.0  # as nginx's client_body_timeout, but for the whole body
PAUSE_LIMIT = 5.0  # inside a body
SEND_LIMIT = 10.0

END = b"\r\n\r\n"  # of a head
_LINE = re.compile(rb"[!-~]+ [^ ]+ HTTP/.*", re.DOTALL)
_BARE = re.compile(rb"(?<!\r)\n")  # RFC 9112 lets us take it for an end, or refuse it
LONGEST_LINE = 8190  # bytes; the parser refuses what is longer
LARGEST_HEAD = 65536  # twice what nginx takes
READ_AHEAD = 65536

STATUSES: dict[type[Exception], HTTPStatus] = {
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    errors.ParseException: HTTPStatus.BAD_REQUEST,
}
# What callers are told does not depend on the version of Python: 3.13 changed it.
RENAMED = {HTTPStatus.REQUEST_URI_TOO_LONG: "Request-URI Too Long"}
OUR_FAULT = "InvalidResponse"  # how gunicorn's errors of the application begin


class Ahead(Enum):
    """How far the head of a request has come."""

    NOTHING = "nothing"
    SOME = "some"
    ENOUGH = "enough"  # for a thread, which will not have to wait for it
    BROKEN = "broken"  # none that will ever end
    TOO_MUCH = "too_much"


class CallerSocket(socket):
    """A caller's socket whose every wait has an end. It belongs to one thread at once.

    A limit on each single read would let a caller drip for ever, so head and body
    have a deadline each. What can be had without a wait is taken by one system call:
    each one costs a thread its turn, and a time limit of Python's would make it two.
    A head is read by the accepting loop, and kept for the thread. `begins` is what
    came first of the present request, `since` when its body or answer began to be
    waited for.
    """

    __slots__ = (
        "_ahead",
        "_deadline",
        "_is_given_up",
        "_is_in_head",
        "_is_reading",
        "_slow",
        "begins",
        "ran_out",
        "since",
    )
    _ahead: bytearray
    _slow: SlowCallers | None

    @classmethod
    def of(cls, plain: socket, slow: SlowCallers | None = None) -> "CallerSocket":
        """Take over a connection; the one that was given cannot be used any more."""
        family, kind, protocol = plain.family, plain.type, plain.proto
        ours = cls(family, kind, protocol, fileno=plain.detach())
        ours._deadline, ours._is_in_head, ours.ran_out = 0.0, True, False
        ours.begins, ours._ahead = b"", bytearray()
        ours._slow, ours._is_given_up, ours.since = slow, False, 0.0
        ours._is_reading = True
        return ours

    def expect_head(self) -> None:
        """Give the caller his time for a request line and headers."""
        self._is_in_head, self._deadline = True, monotonic() + HEAD_LIMIT
        self.begins = b""

    def expect_body(self) -> None:
        """Give the caller his time for a body."""
        self.since, self._is_reading = monotonic(), True
        self._is_in_head, self._deadline = False, self.since + BODY_LIMIT

    def read_ahead(self) -> Ahead:
        """Keep what has come of a head, without a wait, and say how far it is."""
        before = len(self._ahead)
        try:
            self._ahead += (data := super().recv(READ_AHEAD, MSG_DONTWAIT))
        except BlockingIOError:
            return self.ahead() if before else Ahead.NOTHING
        except OSError:
            data = b""
        return self.ahead(before) if data else Ahead.ENOUGH

    def ahead(self, seen: int = 0) -> Ahead:
        """Say how far the head is; its end is looked for behind what was `seen`."""
        if not self._ahead:
            return Ahead.NOTHING
        if self._ahead.find(END, max(0, seen + 1 - len(END))) >= 0:
            return Ahead.ENOUGH
        if _BARE.search(self._ahead, max(0, seen - 1)):
            return Ahead.BROKEN
        line, is_over, _ = self._ahead[: LONGEST_LINE + 2].partition(b"\r\n")
        if len(line) > LONGEST_LINE or (is_over and not _LINE.fullmatch(line)):
            return Ahead.ENOUGH  # to be refused
        return Ahead.SOME if len(self._ahead) < LARGEST_HEAD else Ahead.TOO_MUCH

    def put_back(self, data: bytes) -> None:
        """Keep what was read of the next request already."""
        self._ahead[:0] = data

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Read what comes; TimeoutError, or NoMoreData inside a head, if too late."""
        if flags:
            return super().recv(size, flags)
        data = self._recv(size)
        self.begins = self.begins or data
        return data

    def _recv(self, size: int) -> bytes:
        if self._ahead:
            data = bytes(self._ahead[:size])
            del self._ahead[:size]
            return data
        with suppress(BlockingIOError):
            return super().recv(size, MSG_DONTWAIT)
        left = self._deadline - monotonic()
        try:
            with self._limited(max(0.001, min(PAUSE_LIMIT, left))):
                data = super().recv(size)
            if self._is_given_up:
                raise TimeoutError
        except TimeoutError:
            self.ran_out = self._is_in_head
            if self._is_in_head:
                raise errors.NoMoreData from None
            raise
        return data

    def sendall(self, data: "Buffer", flags: int = 0) -> None:
        """Send all of it; TimeoutError if the caller does not read it in time."""
        if self.gettimeout() is not None:
            super().sendall(data, flags)  # somebody has set a limit of his own
            return
        sent = 0
        with suppress(BlockingIOError):
            sent = self.send(data, flags | MSG_DONTWAIT)
        if sent < (rest := memoryview(data)).nbytes:
            self.since, self._is_reading = monotonic(), False
            with self._limited(SEND_LIMIT):
                super().sendall(rest[sent:], flags)

    def give_up(self) -> None:
        """See Slow. What is read or sent from now on comes to an end at once."""
        self._is_given_up = True
        with suppress(OSError):
            self.shutdown(SHUT_RD if self._is_reading else SHUT_RDWR)

    @contextmanager
    def _limited(self, seconds: float) -> Iterator[None]:
        before = self.gettimeout()
        self.settimeout(seconds)
        try:
            with self._waited_for():
                yield
        finally:
            self.settimeout(before)

    @contextmanager
    def _waited_for(self) -> Iterator[None]:
        """Count among those whom threads wait for; TimeoutError if given up."""
        if self._slow is None:
            yield
            return
        self._slow.enter(self)
        try:
            yield
        except OSError:
            if self._is_given_up:
                raise TimeoutError from None
            raise
        finally:
            self._slow.leave(self)


class Connection(TConn):
    """A caller's connection; `drained` counts bytes that came after its end."""

    sock: CallerSocket
    parser: RequestParser
    drained = 0

    def put_back(self) -> None:
        """Keep what was read of the next request as if it had just come."""
        self.sock.put_back(self.parser.unreader.take_buffered())

    def end_within(self, seconds: float) -> None:
        """Say when the loop is to close it, unless something comes before."""
        self.sock.setblocking(False)
        self.timeout = monotonic() + seconds

    @property
    def is_overdue(self) -> bool:
        """Whether that moment has come."""
        return self.timeout is not None and monotonic() >= self.timeout


def closing(app: "WSGIApplication") -> "WSGIApplication":
    """Let gunicorn announce the end of a connection that cannot be used again.

    It ignores an application's `Connection: close`, and it would wait five seconds
    for a body that nobody wants to read.
    """

    def call(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *exc: Any) -> Any:
            is_over = ("Connection", "close") in headers
            if is_over or _is_unread(environ["wsgi.input"]):
                start_response.__self__.force_close()
            return start_response(status, headers, *exc)

        return app(environ, start)

    return call


def _is_unread(body: Any) -> bool:
    """Whether a rest of the body is still to come; the readers differ."""
    rest = getattr(body.reader, "length", 0)
    return bool(rest) or getattr(body.reader, "parser", None) is not None


def refusal(status: HTTPStatus, begins: bytes = b"") -> bytes:
    """A whole response in the words of this gateway, for what never reached it.

    `begins` is the beginning of the request: its path tells which shape is known.
    """
    correlation_id = correlation.new_id()
    reason = RENAMED.get(status, status.phrase)
    phrase = reason.lower()
    code = re.sub("[^a-z]", "_", phrase)
    error = CallerError(status, code, phrase)
    path = begins[:100].partition(b" ")[2].decode("latin-1").split(" ")[0]
    text = json.dumps(error.body(path, correlation_id))
    lines = [
        f"HTTP/1.1 {status.value} {reason}",
        "Content-Type: application/json",
        f"Content-Length: {len(text)}",
        *(f"{name}: {value}" for name, value in id_headers(path, correlation_id)),
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        lines.append("Retry-After: 1")
    return "\r\n".join([*lines, "", text]).encode("ascii")


def status_of(error: BaseException) -> HTTPStatus:
    """The status for what went wrong before or after the application."""
    known = (s for kind, s in STATUSES.items() if isinstance(error, kind))
    if type(error).__name__.startswith(OUR_FAULT):
        return HTTPStatus.INTERNAL_SERVER_ERROR
    return next(known, HTTPStatus.INTERNAL_SERVER_ERROR)
