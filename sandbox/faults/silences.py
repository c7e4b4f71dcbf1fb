"""Upstreams that take their time, or all the time there is (rows 5, 7-11, 33)."""

from sandbox.exchange import Exchange
from sandbox.faults.registry import Faults

fault = Faults()


@fault(5, 7)
def hang(x: Exchange) -> None:
    """The request is taken, and then there is silence."""
    x.pause(None)


@fault(7, is_everywhere=True)
def frozen(x: Exchange) -> None:
    """Silence on every path, /health too, as switch does when it is busy."""
    x.pause(None)


@fault(33)
def slow(x: Exchange, *, seconds: float = 2.0) -> None:
    """A proper answer, but late."""
    x.pause(seconds)
    x.respond(x.answer())


@fault(8)
def header_drip(x: Exchange, *, interval: float = 0.2) -> None:
    """A proper answer whose headers come byte by byte."""
    answer = x.answer()
    _drip(x, answer.head(), interval)
    x.send(answer.body)


@fault(9)
def body_drip(x: Exchange, *, interval: float = 0.2) -> None:
    """A proper answer whose body comes byte by byte."""
    answer = x.answer()
    x.send(answer.head())
    _drip(x, answer.body, interval)


@fault(10)
def endless_100_continue(x: Exchange, *, interval: float = 0.2) -> None:
    """One `100 Continue` after the other and never an answer."""
    while True:
        x.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        x.pause(interval)


@fault(11, skips_body=True)
def never_reads(x: Exchange) -> None:
    """The request's head is read, and its body never."""
    x.pause(None)


def _drip(x: Exchange, data: bytes, interval: float) -> None:
    for byte in data:
        x.send(bytes((byte,)))
        x.pause(interval)
