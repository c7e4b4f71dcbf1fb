"""Bodies that are no JSON, badly encoded, or too much of it (rows 18, 19, 22-25)."""

import gzip
from collections.abc import Iterator
from itertools import repeat

from sandbox.exchange import Exchange
from sandbox.faults.registry import Faults
from sandbox.wire import BLOCK, JSON, Answer, encode

fault = Faults()

MEGABYTE = 1_000_000
MARK = "@@sandbox@@"
PAGE = b"<!doctype html><title>Welcome</title><h1>It works, but it is no answer</h1>"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@fault(18)
def html(x: Exchange) -> None:
    """A web page with status 200."""
    x.respond(Answer(200, PAGE, "text/html; charset=utf-8"))


@fault(19)
def empty(x: Exchange) -> None:
    """Status 200 and no body at all."""
    x.respond(Answer(200))


@fault(19)
def not_json(x: Exchange) -> None:
    """Plain words that call themselves JSON."""
    x.respond(Answer(200, b"I am not JSON"))


@fault(19)
def json_list(x: Exchange) -> None:
    """JSON, but a list."""
    x.respond(Answer.of([x.reply()]))


@fault(22)
def bad_utf8(x: Exchange) -> None:
    """A reply with bytes in it that are no UTF-8."""
    body = encode(x.reply_saying(MARK))
    x.respond(Answer(200, body.replace(MARK.encode(), b"caf\xe9 \xff\xfe")))


@fault(22)
def utf16(x: Exchange) -> None:
    """A proper reply, written in UTF-16."""
    x.respond(Answer(200, encode(x.reply()).decode().encode("utf-16")))


@fault(22)
def bom(x: Exchange) -> None:
    """A proper reply behind a byte order mark."""
    x.respond(Answer(200, b"\xef\xbb\xbf" + encode(x.reply())))


@fault(22)
def lone_surrogate(x: Exchange) -> None:
    """A reply with half of a surrogate pair in it."""
    body = encode(x.reply_saying(MARK))
    x.respond(Answer(200, body.replace(MARK.encode(), rb"half a pair: \ud800")))


@fault(23)
def deep_json(x: Exchange, *, depth: int = 40_000) -> None:
    """A reply that is a list in a list in a list."""
    nested = b"[" * depth + b"]" * depth
    body = encode(x.reply_saying(MARK))
    x.respond(Answer(200, body.replace(encode(MARK), nested)))


@fault(24)
def huge_body(
    x: Exchange, *, size: int = 100 * MEGABYTE, chunked: bool = False
) -> None:
    """A proper reply of this many bytes, with its length or in chunks."""
    before, after = _around(x)
    if chunked:
        _send_chunks(x, _pieces(before, size, after))
        return
    length = len(before) + size + len(after)
    x.send(HEAD + b"content-length: %d\r\n\r\n" % length)
    for piece in _pieces(before, size, after):
        x.send(piece)


@fault(24)
def huge_endless(x: Exchange) -> None:
    """A reply that never ends."""
    before, _ = _around(x)
    x.send(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    x.send(_chunk(before))
    for piece in repeat(_chunk(b"a" * BLOCK)):
        x.send(piece)


@fault(25)
def gzip_bomb(x: Exchange, *, size: int = 100 * MEGABYTE) -> None:
    """A proper reply of this many bytes in some thousandth of it, by gzip."""
    before, after = _around(x)
    body = _gzipped(before, size, after)
    x.respond(Answer(200, body, JSON, {"content-encoding": "gzip"}))


@fault(25)
def double_gzip(x: Exchange, *, size: int = 100 * MEGABYTE) -> None:
    """The same, packed twice."""
    before, after = _around(x)
    body = gzip.compress(_gzipped(before, size, after))
    x.respond(Answer(200, body, JSON, {"content-encoding": "gzip, gzip"}))


def _around(x: Exchange) -> tuple[bytes, bytes]:
    """A reply, cut open where its text belongs."""
    main, *others = x.service.text_fields
    body = encode({**x.reply(**dict.fromkeys(others)), main: MARK})
    before, _, after = body.partition(MARK.encode())
    return before, after


def _pieces(before: bytes, size: int, after: bytes) -> Iterator[bytes]:
    yield before
    yield from repeat(b"a" * BLOCK, size // BLOCK)
    yield b"a" * (size % BLOCK)
    yield after


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _send_chunks(x: Exchange, pieces: Iterator[bytes]) -> None:
    x.send(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    for piece in filter(None, pieces):
        x.send(_chunk(piece))
    x.send(b"0\r\n\r\n")


def _gzipped(before: bytes, size: int, after: bytes) -> bytes:
    """A body in gzip members, so that the same one can stand for each megabyte."""
    megabyte = gzip.compress(b"a" * MEGABYTE, mtime=0)
    rest = b"a" * (size % MEGABYTE) + after
    members = [megabyte] * (size // MEGABYTE)
    return b"".join([gzip.compress(before), *members, gzip.compress(rest)])
