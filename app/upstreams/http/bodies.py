"""Bodies: the bytes after a head, read as they come in, up to their declared end.

`http.client` has a reader too. Each version of Python ends a body in another place
of it, so nothing could be hung there that holds in all of them.
"""

import re
from http.client import IncompleteRead

from app.upstreams.http.heads import HeadedResponse

PIECE = 65_536  # bytes; the most that is read in one go
MAX_LINE = 65_536  # bytes of a chunk's size line, or of a trailer

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
# What must have come in of a chunk, so that reading some of it does not wait.
_CHUNK = re.compile(rb"(?:\r\n)?[1-9A-Fa-f][0-9A-Fa-f]*[^\r\n]*\r\n.", re.DOTALL)


class StreamedResponse(HeadedResponse):
    """A response whose body is read piece by piece. It belongs to one thread.

    `length` counts down to the end of the body; of one in chunks, to the end of the
    present chunk.
    """

    is_over = False  # whether the body was read to its end, or given up

    def read_piece(self) -> bytes:
        """Return the next bytes; none, or a response that is over, means the end.

        Raises IncompleteRead if the end comes too early.
        """
        if self.is_chunked and not self.length:
            self._begin_chunk()
        piece = self.file.read1(
            PIECE if self.length is None else min(PIECE, self.length)
        )
        if self.length:
            if not piece:
                raise IncompleteRead(b"", self.length)
            self.length -= len(piece)
        if not piece or (self.length == 0 and not self.is_chunked):
            self.end()
        return piece

    def _begin_chunk(self) -> None:
        """Read up to a chunk's bytes; behind the last, empty one, to the very end."""
        if self.length == 0 and self.file.read(2) != b"\r\n":
            raise IncompleteRead(b"")
        size = _SIZE.fullmatch(self.file.readline(MAX_LINE))
        if size is None:
            raise IncompleteRead(b"")
        self.length = int(size[1], 16)
        if not self.length:
            self._skip_trailers()

    def _skip_trailers(self) -> None:
        """Read the lines behind the last chunk; some servers hang up instead."""
        while (line := self.file.readline(MAX_LINE)) not in (b"\r\n", b"\n", b""):
            if not line.endswith(b"\n"):
                raise IncompleteRead(b"")

    def holds(self, here: bytes) -> bool:
        """Whether `here`, which has come in, begins with bytes of the body."""
        if self.is_chunked and not self.length:
            return _CHUNK.match(here) is not None
        return bool(here)

    def end(self) -> None:
        """Take note that the body is over."""
        self.is_over = True
