"""Content codings: the bytes of a body that a server has packed, asked for or not.

Some proxies pack whatever they send. What the standard library can undo is undone
piece by piece, so that no more of a body is unpacked at once than is read of it.
"""

import zlib
from collections.abc import Iterator

from app.gateway.errors import BadReply

PIECE = 65_536  # bytes that are unpacked in one go
GZIP, ZLIB = 31, 15  # what zlib is told of a window's size
WINDOWS = {"gzip": GZIP, "x-gzip": GZIP, "deflate": ZLIB}
# The others that are registered. Any other word is none, as `utf-8` is none.
PACKED = ("aes128gcm", "br", "compress", "dcb", "dcz", "exi", "x-compress", "zstd")


def window_of(coding: str) -> int:
    """What zlib is told to undo a coding that a head names; 0 for none.

    Raises BadReply for one that cannot be undone here, and for several.
    """
    name = coding.strip().lower()
    if name in PACKED or "," in name:
        raise BadReply("bad_encoding")
    return WINDOWS.get(name, 0)


def unpacked(pieces: Iterator[bytes], window: int, most: int) -> Iterator[bytes]:
    """Yield what is in the pieces, at most so many bytes.

    Raises BadReply if they are broken, end early or hold more.
    """
    coding, size = zlib.decompressobj(window), 0
    for packed in pieces:
        for piece in _undone(coding, packed):
            size += len(piece)
            if size > most:
                raise BadReply("bad_encoding")
            yield piece
    if not coding.eof:
        raise BadReply("truncated")


def _undone(coding: "zlib._Decompress", packed: bytes) -> Iterator[bytes]:
    """Yield what comes of some bytes, at most PIECE of it at once."""
    rest, piece = packed, b""
    while not coding.eof and (rest or len(piece) == PIECE):
        try:
            piece = coding.decompress(rest, PIECE)
        except zlib.error:
            raise BadReply("bad_encoding") from None
        rest = coding.unconsumed_tail
        if piece:
            yield piece
