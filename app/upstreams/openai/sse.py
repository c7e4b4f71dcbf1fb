"""SSE: from the bytes of an event stream to its events.

After the HTML standard, section 9.2, and more lenient than that: any kind of line
end, byte order marks before any line, comments, missing spaces, data of several
lines. A field named `error` makes an event of that type, as llama.cpp means it.
Everything is bytes here: lines are cut before anything is decoded, so that a
character may be split between two pieces.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from pydantic_core import from_json

from app.gateway.errors import BadReply

MAX_EVENT = 16 * 1024 * 1024  # bytes of a line or an event; a picture is one

BOM = b"\xef\xbb\xbf"
_MARKS = re.compile(rb"\A(?:\xef\xbb\xbf)++")  # any number of them in one go

MESSAGE, ERROR = b"message", b"error"  # types of events
ERRORS = frozenset({ERROR, b"exception"})  # types of events that tell of one
MEANINGLESS = frozenset({b"", b"id", b"retry"})  # to us; an empty name: a comment


class Event(NamedTuple):
    """One event: its type ("message" if it names none) and its data."""

    kind: bytes
    data: bytes


class EventParser:
    """Takes pieces, gives events. It belongs to one thread.

    Its memory is bounded by `max_event` bytes and the size of a piece. `strays` are
    the lines so far that hold no field of the standard: it drops them, but something
    may have been lost with them. Whoever has looked at them may clear them.
    """

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._max_event = max_event
        self._tail = bytearray()  # of an unfinished line
        self._after_cr = False  # a line feed now belongs to the line end before it
        self.strays: list[bytes] = []
        self._kind = b""
        self._is_error = False
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that this piece completes.

        Raises BadReply("protocol") for a line or an event that is too long.
        """
        for line in self._lines(piece):
            if event := self._take(line):
                yield event

    def end(self) -> Iterator[Event]:
        """Yield the last event of a stream that ends without an empty line.

        The standard drops it, but it was sent in full by servers that forget the
        line. Whether it is whole, its content must tell.
        """
        for line in (bytes(self._tail), b""):
            if event := self._take(line):
                yield event

    def _lines(self, piece: bytes) -> Iterator[bytes]:
        if self._after_cr and piece:
            self._after_cr = False
            piece = piece.removeprefix(b"\n")
        if not self._tail and piece.endswith(b"\n") and b"\r" not in piece:
            yield from piece[:-1].split(b"\n")
            return
        self._tail += piece
        if len(self._tail) > self._max_event + len(piece):
            raise BadReply("protocol")
        if b"\n" not in piece and b"\r" not in piece:
            return
        text = bytes(self._tail)
        self._after_cr = text.endswith(b"\r")
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = text.split(b"\n")
        self._tail = bytearray(rest)
        yield from lines

    def _take(self, line: bytes) -> Event | None:
        """Take a line in; return the event that it ends, if it does."""
        if line.startswith(BOM):
            line = _MARKS.sub(b"", line, count=1)
        if not line:
            return self._dispatched()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            event = self._dispatched() if self._is_complete else None
            self._add(value)
            return event
        if field == b"event":
            self._kind = value
        elif field == ERROR:
            self._is_error = True
            self._add(value)
        elif field not in MEANINGLESS:
            self.strays.append(line)
        return None

    @property
    def _is_complete(self) -> bool:
        """Whether more data must be another event's, before any empty line.

        Nothing can follow a whole object; servers that part events by line ends only
        are read by all clients that go by lines. Just the first line is looked at.
        """
        if len(self._data) != 1 or not self._data[0].startswith(b"{"):
            return False
        return self._data[0].rstrip().endswith(b"}") and _is_json(self._data[0])

    def _add(self, value: bytes) -> None:
        self._data.append(value)
        self._size += len(value) + 1
        if self._size > self._max_event:
            raise BadReply("protocol")

    def _dispatched(self) -> Event | None:
        kind = ERROR if self._is_error else self._kind or MESSAGE
        data = self._data
        self._kind, self._data, self._size, self._is_error = b"", [], 0, False
        return Event(kind, b"\n".join(data)) if data else None


def _is_json(data: bytes) -> bool:
    try:
        from_json(data)
    except ValueError as error:
        return "hex escape" in str(error)  # half a surrogate pair
    return True
