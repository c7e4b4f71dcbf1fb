"""SSE: from the bytes of an event stream to its events.

After the HTML standard, section 9.2, and more lenient than that: any kind of line
end, byte order marks before any line, comments, missing spaces, data of several
lines. A field named `error` makes an event of that type, as llama.cpp means it.
Everything is bytes here: lines are cut before anything is decoded, so that a
character may be split between two pieces.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from app.gateway.errors import BadReply

MAX_EVENT = 1_048_576  # bytes of a line or an event (docs/faults.md, row 39)

BOM = b"\xef\xbb\xbf"
_MARKS = re.compile(rb"\A(?:\xef\xbb\xbf)++")  # any number of them in one go

MESSAGE, ERROR = b"message", b"error"  # types of events
MEANINGLESS = frozenset({b"", b"id", b"retry"})  # to us; an empty name: a comment


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its type ("message" if it names none) and its data."""

    kind: bytes
    data: bytes


class EventParser:
    """Takes pieces, gives events. It belongs to one thread.

    Its memory is bounded by MAX_EVENT and the size of a piece. `strays` are the lines
    so far that hold no field of the standard: it drops them, but something may have
    been lost with them. Whoever has looked at them may clear them.
    """

    def __init__(self) -> None:
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
        self._tail += piece
        if len(self._tail) > MAX_EVENT + len(piece):
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
            self._add(value)
        elif field == b"event":
            self._kind = value
        elif field == ERROR:
            self._is_error = True
            self._add(value)
        elif field not in MEANINGLESS:
            self.strays.append(line)
        return None

    def _add(self, value: bytes) -> None:
        self._data.append(value)
        self._size += len(value) + 1
        if self._size > MAX_EVENT:
            raise BadReply("protocol")

    def _dispatched(self) -> Event | None:
        kind = ERROR if self._is_error else self._kind or MESSAGE
        data = self._data
        self._kind, self._data, self._size, self._is_error = b"", [], 0, False
        return Event(kind, b"\n".join(data)) if data else None
