"""HTTP/1.1 by hand: requests read from a socket, answers made into bytes.

By hand because the sandbox must be able to stop between any two bytes.
"""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple

# Sizes beyond which a request is no longer one that a gateway would send.
HEAD_LIMIT = 256 * 1024
BODY_LIMIT = 64 * 1024 * 1024
BLOCK = 64 * 1024

JSON = "application/json"
REASONS = {status.value: status.phrase for status in HTTPStatus}


class NotHttp(ValueError):
    """What came over the wire is not an HTTP/1.1 request that is served here."""


class Request(NamedTuple):
    """One request as it was seen; `connection` numbers connections from 1.

    `headers` are pairs in the order and spelling of the wire, repeats included.
    `body` is empty if it was never read.
    """

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def header(self, name: str, default: str = "") -> str:
        """The first value under this lower-case name."""
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return default

    def json(self) -> Any:
        """The body as JSON; raises ValueError or RecursionError if it is none."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with proper framing; `headers` come after the usual ones."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: object, status: int = 200, **headers: str) -> "Answer":
        """Answer with a JSON value; `retry_after="1"` becomes `retry-after: 1`."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(status, encode(value), headers=named)

    def head(self, *, closes: bool = False) -> bytes:
        """The status line and all headers, up to and with the blank line."""
        lines = f"HTTP/1.1 {self.status} {REASONS.get(self.status, '')}\r\n"
        lines += f"server: sandbox\r\ncontent-type: {self.content_type}\r\n"
        for name, value in self.headers.items():
            lines += f"{name}: {value}\r\n"
        if closes:
            lines += "connection: close\r\n"
        return f"{lines}content-length: {len(self.body)}\r\n\r\n".encode("latin-1")


def encode(value: object) -> bytes:
    """JSON as the real services write it: compact, UTF-8, nothing escaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class Client:
    """The other end of a connection: its address, and one request after the other.

    One thread reads from it. `connection` is the connection's number.
    """

    def __init__(self, sock: socket.socket, connection: int, peer: str) -> None:
        self.sock = sock
        self.peer = peer
        self._connection = connection
        self._buffer = b""

    def head(self) -> Request | None:
        """The next request without its body; None once the client is done.

        Raises NotHttp for anything else, OSError when the connection breaks.
        """
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > HEAD_LIMIT:
                raise NotHttp("head too long")
            if not (data := self.sock.recv(BLOCK)):
                return None
            self._buffer += data
        head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        return _parse(head, self._connection)

    def body(self, request: Request) -> bytes:
        """The body that belongs to this head, whole. Raises as `head` does."""
        if "100-continue" in request.header("expect").lower():
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request.header("transfer-encoding").lower() == "chunked":
            return self._chunks()
        return self._exactly(_length(request.header("content-length", "0")))

    def _exactly(self, size: int) -> bytes:
        if size > BODY_LIMIT:
            raise NotHttp("body too long")
        parts, have = [self._buffer], len(self._buffer)
        while have < size:
            parts.append(self._more())
            have += len(parts[-1])
        data = b"".join(parts)
        self._buffer = data[size:]
        return data[:size]

    def _chunks(self) -> bytes:
        body = bytearray()
        while size := _length(self._line().split(b";")[0].decode("latin-1"), base=16):
            body += self._exactly(size)
            self._line()
            if len(body) > BODY_LIMIT:
                raise NotHttp("body too long")
        while self._line():  # trailers
            pass
        return bytes(body)

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._buffer += self._more()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _more(self) -> bytes:
        if data := self.sock.recv(BLOCK):
            return data
        raise ConnectionError("the client left in the middle of its request")


def _parse(head: bytes, connection: int) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    try:
        method, target, version = first.split(" ")
        pairs = [line.split(":", 1) for line in lines]
        headers = [(name, value.strip()) for name, value in pairs]
    except ValueError:
        raise NotHttp("not a request") from None
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise NotHttp("not HTTP/1")
    return Request(method, target, headers, b"", connection)


def _length(text: str, base: int = 10) -> int:
    try:
        length = int(text, base)
    except ValueError:
        raise NotHttp("not a length") from None
    if length < 0:
        raise NotHttp("not a length")
    return length
