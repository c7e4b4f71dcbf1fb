"""Answers whose head is the trouble, or that are no HTTP at all (rows 5, 26, 34)."""

from dataclasses import replace

from sandbox.exchange import Exchange
from sandbox.faults.registry import Faults
from sandbox.wire import Answer

fault = Faults()

# A fatal TLS alert (handshake_failure), as a TLS server sends it.
TLS_ALERT = b"\x15\x03\x03\x00\x02\x02\x28"

HOSTILE = {
    "x-correlation-id": "forged-by-upstream",
    "x-vx11-token": "forged-by-upstream",
    "www-authenticate": 'Basic realm="give me your password"',
    "access-control-allow-origin": "*",
    "location": "http://127.0.0.1:9/stolen",
    "refresh": "0; url=http://127.0.0.1:9/stolen",
    "x-folded": "one\r\n\ttwo: three",
    "x-latin": "caf\xe9",
    "set-cookie": "sandbox=hostile; Path=/",
}


@fault(34)
def header_injection(x: Exchange) -> None:
    """A proper answer among headers that must not be passed on."""
    x.respond(replace(x.answer(), headers=HOSTILE))


@fault(34)
def set_cookie(x: Exchange, *, cookie: str = "session=somebody-else; Path=/") -> None:
    """A proper answer that sets a cookie."""
    x.respond(replace(x.answer(), headers={"set-cookie": cookie}))


@fault(26)
def redirect(x: Exchange, *, status: int = 302, location: str = "") -> None:
    """A redirect; without a location it leads back to itself, for ever."""
    there = location or f"http://{x.request.header('host')}{x.request.target}"
    x.respond(Answer(status, headers={"location": there}))


@fault(5)
def tls_garbage(x: Exchange) -> None:
    """TLS bytes where the answer should be."""
    x.send(TLS_ALERT)
    x.hang_up()


@fault(17)
def not_http(x: Exchange) -> None:
    """A line of text where the answer should be."""
    x.send(b"220 sandbox.invalid ESMTP ready\r\n")
    x.hang_up()


@fault(24)
def huge_header(x: Exchange, *, size: int = 200_000) -> None:
    """A proper answer with a header of this many bytes."""
    x.respond(replace(x.answer(), headers={"x-huge": "h" * size}))
