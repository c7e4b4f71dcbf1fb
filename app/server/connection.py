"""A caller's connection as the worker sees it, and what he is told when refused."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from socket import MSG_DONTWAIT, socket
from time import monotonic
from typing import TYPE_CHECKING, Any

from gunicorn.http import errors
from gunicorn.workers.gthread import TConn

from app.gateway import correlation
from app.web.request.caller_error import CallerError, is_openai_path

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer
    from _typeshed.wsgi import WSGIApplication

# All in seconds.
HEAD_LIMIT = 3.0
BODY_LIMIT = 10.0  # as nginx's client_body_timeout, but for the whole body
PAUSE_LIMIT = 5.0  # inside a body
SEND_LIMIT = 10.0

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


class CallerSocket(socket):
    """A caller's socket whose every wait has an end. It belongs to one thread at once.

    A limit on each single read would let a caller drip for ever, so head and body
    have a deadline each. What can be had without a wait is taken by one system call:
    each one costs a thread its turn, and a time limit of Python's would make it two.
    `begins` is what came first of the present request.
    """

    __slots__ = ("_deadline", "_is_in_head", "begins", "ran_out")

    @classmethod
    def of(cls, plain: socket) -> "CallerSocket":
        """Take over a connection; the one that was given cannot be used any more."""
        family, kind, protocol = plain.family, plain.type, plain.proto
        ours = cls(family, kind, protocol, fileno=plain.detach())
        ours._deadline, ours._is_in_head, ours.ran_out = 0.0, True, False
        ours.begins = b""
        return ours

    def expect_head(self) -> None:
        """Give the caller his time for a request line and headers."""
        self._is_in_head, self._deadline = True, monotonic() + HEAD_LIMIT
        self.begins = b""

    def expect_body(self) -> None:
        """Give the caller his time for a body."""
        self._is_in_head, self._deadline = False, monotonic() + BODY_LIMIT

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Read what comes; TimeoutError, or NoMoreData inside a head, if too late."""
        if flags:
            return super().recv(size, flags)
        data = self._recv(size)
        self.begins = self.begins or data
        return data

    def _recv(self, size: int) -> bytes:
        with suppress(BlockingIOError):
            return super().recv(size, MSG_DONTWAIT)
        left = self._deadline - monotonic()
        try:
            with self._limited(max(0.001, min(PAUSE_LIMIT, left))):
                return super().recv(size)
        except TimeoutError:
            self.ran_out = self._is_in_head
            if self._is_in_head:
                raise errors.NoMoreData from None
            raise

    def sendall(self, data: "Buffer", flags: int = 0) -> None:
        """Send all of it; TimeoutError if the caller does not read it in time."""
        if self.gettimeout() is not None:
            super().sendall(data, flags)  # somebody has set a limit of his own
            return
        sent = 0
        with suppress(BlockingIOError):
            sent = self.send(data, flags | MSG_DONTWAIT)
        if sent < (rest := memoryview(data)).nbytes:
            with self._limited(SEND_LIMIT):
                super().sendall(rest[sent:], flags)

    @contextmanager
    def _limited(self, seconds: float) -> Iterator[None]:
        before = self.gettimeout()
        self.settimeout(seconds)
        try:
            yield
        finally:
            self.settimeout(before)


class Connection(TConn):
    """A caller's connection; `drained` counts bytes that came after its end."""

    sock: CallerSocket
    drained = 0

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

    `begins` is the beginning of the request: OpenAI's clients want OpenAI's words.
    """
    correlation_id = correlation.new_id()
    reason = RENAMED.get(status, status.phrase)
    phrase = reason.lower()
    code = re.sub("[^a-z]", "_", phrase)
    told = CallerError(status, code, phrase)
    body = {"detail": phrase, "code": code, "correlation_id": correlation_id}
    path = begins[:100].partition(b" ")[2].decode("latin-1")
    text = json.dumps(told.openai() if is_openai_path(path.split(" ")[0]) else body)
    lines = [
        f"HTTP/1.1 {status.value} {reason}",
        "Content-Type: application/json",
        f"Content-Length: {len(text)}",
        f"X-Correlation-ID: {correlation_id}",
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
