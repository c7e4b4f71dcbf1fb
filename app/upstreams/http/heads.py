"""Heads: the lines before a body, written and read strictly.

The library's reader takes a head that was cut off for a whole one, with status 200
(measured), lets two framings contradict each other, and parses headers as if they
were mail, which costs as much as the rest of a call.
"""

import re
from collections.abc import Mapping
from http.client import HTTPException, RemoteDisconnected
from io import BufferedReader

MAX_HEAD = 65_536  # bytes; nginx and gunicorn refuse to send anything near it
MAX_INTERIM = 1000  # answers like 100 Continue before the real one

_SENDABLE = re.compile(r"[\t\x20-\x7e]*")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_FIELD = re.compile(rf"({_NAME}):[ \t]*([^\r\n\0]*)\r?\n")
_FIELDS = re.compile(rf"(?:{_NAME}:[^\r\n\0]*\r?\n)*")
_FOLD = re.compile(r"\r?\n[ \t]+")  # obsolete, but legal to receive (RFC 9112, 5.2)


class CutHead(HTTPException):
    """The connection was closed in the middle of a head."""


class BadHead(HTTPException):
    """The head is not HTTP/1, or its framing is ambiguous."""


def write_head(
    method: str, target: str, headers: Mapping[str, str], length: int | None
) -> bytes:
    """Return a request's head. `length` is that of the body, None for no body.

    Raises ValueError, without the value, for a header that is not plain ASCII.
    """
    if not _SENDABLE.fullmatch("".join(headers.values())):
        names = (n for n, v in headers.items() if not _SENDABLE.fullmatch(v))
        raise ValueError(f"header {next(names)} holds what cannot be sent")
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("ascii")


class HeadedResponse:
    """A response as it comes in from a file; `begin` reads its head.

    `fields` are the headers, by name in lower case; repeated ones are joined by
    commas. `length` is the number of bytes of the body, None where that is not known.
    """

    version: int
    status: int
    fields: Mapping[str, str]
    is_chunked: bool
    length: int | None
    will_close: bool

    def __init__(self, file: BufferedReader) -> None:
        self.file = file

    def begin(self) -> None:
        """Read up to the body.

        Raises RemoteDisconnected if nothing came at all, CutHead, or BadHead.
        """
        for _ in range(MAX_INTERIM):
            self.version, self.status = _read_status_line(self.file)
            self.fields = _parse_fields(_read_fields(self.file))
            if self.status >= 200:
                return self._frame()
        raise BadHead("interim answers without end")

    def _frame(self) -> None:
        """Decide where the body ends, and whether the connection outlives it."""
        self.length = self._declared_length()
        self.is_chunked = self._announces_chunks() and self.length is None
        tokens = self.fields.get("connection", "").lower()
        is_last = (
            "close" in tokens if self.version == 11 else "keep-alive" not in tokens
        )
        self.will_close = is_last or (not self.is_chunked and self.length is None)

    def _announces_chunks(self) -> bool:
        coding = self.fields.get("transfer-encoding")
        if coding is None:
            return False
        if coding.lower() != "chunked" or "content-length" in self.fields:
            raise BadHead("ambiguous framing")
        return True

    def _declared_length(self) -> int | None:
        length = self.fields.get("content-length")
        if self.status in (204, 304):
            return 0
        if length is None:
            return None
        if not (length.isascii() and length.isdigit() and len(length) <= 15):
            raise BadHead("content-length")
        return int(length)


def _read_status_line(lines: BufferedReader) -> tuple[int, int]:
    """Return the version, 10 for HTTP/1.0 and 11 for HTTP/1.1, and the status."""
    line = lines.readline(MAX_HEAD)
    if not line:
        raise RemoteDisconnected("no answer")
    if not b"HTTP/1.".startswith(line[:7]):
        raise BadHead("not HTTP/1")
    _require_whole(line)
    match = _STATUS_LINE.fullmatch(line)
    if match is None or match[2] == b"101":  # we never ask for an upgrade
        raise BadHead("status line")
    return 10 + int(match[1]), int(match[2])


def _read_fields(lines: BufferedReader) -> bytes:
    """Return the header lines, without the empty one that ends them."""
    fields = b""
    while (line := lines.readline(MAX_HEAD)) not in (b"\r\n", b"\n"):
        _require_whole(line)
        fields += line
        if len(fields) > MAX_HEAD:
            raise BadHead("head too long")
    return fields


def _require_whole(line: bytes) -> None:
    if not line.endswith(b"\n"):
        raise BadHead("line too long") if len(line) >= MAX_HEAD else CutHead


def _parse_fields(lines: bytes) -> Mapping[str, str]:
    text = _FOLD.sub(" ", lines.decode("latin-1"))
    if not _FIELDS.fullmatch(text):
        raise BadHead("header line")
    fields: dict[str, str] = {}
    for raw_name, raw_value in _FIELD.findall(text):
        name, value = raw_name.lower(), raw_value.rstrip(" \t")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields
