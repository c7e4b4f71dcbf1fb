"""Connections that are not made, or end at the wrong moment (rows 1-3, 12-17)."""

from sandbox.exchange import Exchange
from sandbox.faults.registry import Faults
from sandbox.listener import Door
from sandbox.wire import Answer

fault = Faults()


@fault(1, 35, is_everywhere=True, door=Door.REFUSING)
def refuse(x: Exchange) -> None:
    """Nobody listens any more: connecting is refused."""
    x.hang_up(reset=True)  # for a request that was already under way


@fault(2, 3, is_everywhere=True, door=Door.BLOCKED)
def blackhole(x: Exchange) -> None:
    """Connecting is never completed, as behind a firewall that drops packets."""
    x.hang_up(reset=True)


@fault(12)
def close_at_once(x: Exchange, *, reset: bool = False) -> None:
    """The request is taken and the connection closed without an answer."""
    x.hang_up(reset=reset)


@fault(13, only_reused=True)
def close_on_reuse(x: Exchange, *, reset: bool = False) -> None:
    """A kept-alive connection is closed just as the next request arrives on it."""
    x.hang_up(reset=reset)


@fault(13)
def close_after_answer(x: Exchange) -> None:
    """The answer is fine and promises to keep the connection, which then closes."""
    x.respond(x.answer())
    x.hang_up()


@fault(14)
def reset_mid_body(x: Exchange, *, after: float = 0.1) -> None:
    """Half of the body, then a TCP reset."""
    answer = x.answer()
    x.send(answer.head() + _half(answer.body))
    x.pause(after)  # so that the half has been read before the reset overtakes it
    x.hang_up(reset=True)


@fault(15)
def short_content_length(x: Exchange) -> None:
    """The body ends before the length that was announced for it."""
    answer = x.answer()
    x.send(answer.head() + _half(answer.body))
    x.hang_up()


@fault(16)
def truncated_chunked(x: Exchange) -> None:
    """A chunked body that ends without its last chunk."""
    half = _half(x.answer().body)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    x.send(head + b"transfer-encoding: chunked\r\n\r\n")
    x.send(b"%x\r\n%s\r\n" % (len(half), half))
    x.hang_up()


@fault(15)
def cut_without_length(x: Exchange) -> None:
    """Half a body whose end is the end of the connection, so that nothing tells."""
    x.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
    x.send(_half(x.answer().body))
    x.hang_up()


@fault(17)
def close_mid_header(x: Exchange) -> None:
    """The connection closes in the middle of the answer's headers."""
    x.send(b"HTTP/1.1 200 OK\r\ncontent-type: applica")
    x.hang_up()


@fault(31)
def flap(x: Exchange, *, period: float = 1.0, status: int = 500) -> None:
    """Fine for a period, failing for a period, and so on."""
    failing = int(x.fault_age / max(period, 0.001)) % 2
    x.respond(Answer.of({"detail": "flap"}, status) if failing else x.answer())


def _half(body: bytes) -> bytes:
    return body[: len(body) // 2]
