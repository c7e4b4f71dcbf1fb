"""SSE: from the bytes of an event stream to its events.

After the HTML standard, section 9.2, and as lenient as that: any kind of line end,
a byte order mark, comments, missing spaces, data of several lines. Everything is
bytes here: lines are cut before anything is decoded, so that a character may be
split between two pieces.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from app.gateway.errors import BadReply

MAX_EVENT = 1_048_576  # bytes of a line, and of an event's data (matrix row 39)

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its type ("message" if it names none) and its data."""

    kind: bytes
    data: bytes


class EventParser:
    """Takes pieces, gives events. It belongs to one thread.

    Its memory is bounded by MAX_EVENT and the size of a piece.
    """

    def __init__(self) -> None:
        self._tail = bytearray()  # of an unfinished line
        self._after_cr = False  # a line feed now belongs to the line end before it
        self._at_start = True
        self._kind = b""
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
        if self._at_start:
            self._skip_mark()
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

    def _skip_mark(self) -> None:
        """Drop a byte order mark; a part of one may become a whole one."""
        if BOM.startswith(self._tail[: len(BOM)]) and len(self._tail) < len(BOM):
            return
        self._at_start = False
        if self._tail.startswith(BOM):
            del self._tail[: len(BOM)]

    def _take(self, line: bytes) -> Event | None:
        """Take a line in; return the event that it ends, if it does."""
        if not line:
            return self._dispatched()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._size += len(value) + 1
            if self._size > MAX_EVENT:
                raise BadReply("protocol")
        elif field == b"event":
            self._kind = value
        return None

    def _dispatched(self) -> Event | None:
        kind, data = self._kind, self._data
        self._kind, self._data, self._size = b"", [], 0
        return Event(kind or b"message", b"\n".join(data)) if data else None
