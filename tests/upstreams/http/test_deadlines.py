"""No peer outlasts a budget, whatever it does (rows 2 to 11)."""

import hashlib
import socket
from time import monotonic

import pytest

from app.gateway.budget import Budget
from app.gateway.errors import CallerGone, ConnectFailed, NeverSent, NoAnswer
from app.upstreams.http.sockets import Address
from app.upstreams.http.transport import Transport
from tests.upstreams.raw_server import OK, Stopwatch, answering, serving

LIMIT = 0.6  # seconds; stands for the 30 of switch
SLACK = 0.25  # seconds that an answer may be late
NOISE = 0.35  # what a busy machine with two cores adds to any measurement
LARGE = b"x" * 32_000_000  # more than the kernel buffers on both sides


def silence(peer):
    peer.read_request()
    peer.pause()


def header_drip(peer):
    peer.read_request()
    peer.drip(OK)


def body_drip(peer):
    peer.read_request()
    peer.send(OK[:-20])
    peer.drip(b" " * 1000)


def endless_continue(peer):
    peer.read_request()
    peer.drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 100, every=0.005)


def deaf(peer):
    peer.pause()


TALKING = {
    "silence": (silence, b"{}", "read_timeout"),
    "header_drip": (header_drip, b"{}", "deadline"),
    "body_drip": (body_drip, b"{}", "deadline"),
    "endless_continue": (endless_continue, b"{}", "deadline"),
    "deaf": (deaf, LARGE, "write_timeout"),
}


@pytest.fixture(params=["plain", "tls"])
def start(request, serve, tls):
    return lambda script: serve(script, tls=tls if request.param == "tls" else None)


@pytest.mark.parametrize("name", TALKING)
def test_a_talking_peer_is_cut_off_in_time(name, start, transport):
    script, body, fault = TALKING[name]
    server = start(script)

    with Stopwatch() as watch, pytest.raises(NoAnswer) as caught:
        transport.post(server.url, body, {}, Budget(LIMIT))

    assert caught.value.fault == fault
    assert LIMIT <= watch.took <= LIMIT + SLACK + NOISE


@pytest.mark.parametrize("name", TALKING)
def test_a_caller_who_leaves_ends_every_wait(name, start, transport):
    script, body, _ = TALKING[name]
    server = start(script)
    leaves_at = monotonic() + 0.5

    with Stopwatch() as watch, pytest.raises(CallerGone):
        transport.post(server.url, body, {}, Budget(30.0, leaving(leaves_at)))

    assert watch.took <= 0.5 + SLACK + NOISE


def leaving(when, reason=None):
    def check():
        if monotonic() >= when:
            raise reason or CallerGone()

    return check


@pytest.mark.parametrize("first_bytes", [b"", b"\x16\x03\x03\x3f\xff\x02"])
def test_a_handshake_that_hangs_or_drips_is_cut_off_in_time(
    first_bytes, serve, transport
):
    def half_handshake(peer):
        peer.sock.recv(65536)
        peer.send(first_bytes)
        peer.drip(b"\0" * 1000 if first_bytes else b"")
        peer.pause()

    server = serve(half_handshake)
    url = server.url.replace("http:", "https:")

    with Stopwatch() as watch, pytest.raises(ConnectFailed) as caught:
        transport.post(url, b"{}", {}, Budget(LIMIT))

    assert caught.value.fault == "tls_timeout"
    assert watch.took <= LIMIT + SLACK + NOISE


def test_a_handshake_may_take_two_seconds_of_a_longer_budget(serve, transport):
    server = serve(deaf)
    url = server.url.replace("http:", "https:")

    with Stopwatch() as watch, pytest.raises(ConnectFailed):
        transport.post(url, b"{}", {}, Budget(30.0))

    assert 1.9 <= watch.took <= 2.0 + SLACK + NOISE


def test_a_caller_who_leaves_ends_a_handshake(serve, transport):
    server = serve(deaf)
    url = server.url.replace("http:", "https:")

    with Stopwatch() as watch, pytest.raises(CallerGone):
        transport.post(url, b"{}", {}, Budget(30.0, leaving(monotonic() + 0.4)))

    assert watch.took <= 0.4 + SLACK + NOISE


def lookup_of(*addresses):
    found = [Address(socket.AF_INET, address) for address in addresses]
    return lambda host, port: found


def test_four_dead_addresses_cost_two_seconds_in_total(block):
    first = block(host="127.0.0.1")
    rest = [block(host=f"127.0.0.{n}", port=first.port) for n in (2, 3, 4)]
    addresses = [(blocked.host, blocked.port) for blocked in [first, *rest]]
    transport = Transport(lookup=lookup_of(*addresses))

    with Stopwatch() as watch, pytest.raises(ConnectFailed) as caught:
        transport.post(f"http://switch:{first.port}/", b"{}", {}, Budget(30.0))

    assert caught.value.fault == "connect_timeout"
    assert 1.9 <= watch.took <= 2.0 + SLACK + NOISE


def test_a_dead_address_in_front_leaves_time_for_the_living_one(block, serve):
    dead, server = block(), serve(serving)
    transport = Transport(
        lookup=lookup_of((dead.host, dead.port), (server.host, server.port))
    )

    answer = transport.post("http://switch/chat", b"{}", {}, Budget(1.2))

    assert answer.status == 200
    transport.close()


def test_a_caller_who_leaves_ends_connecting(block):
    dead = block()
    url = f"http://{dead.host}:{dead.port}/"

    with Stopwatch() as watch, pytest.raises(CallerGone):
        Transport().post(url, b"{}", {}, Budget(30.0, leaving(monotonic() + 0.4)))

    assert watch.took <= 0.4 + SLACK + NOISE


def test_a_refused_connection_fails_at_once(serve, transport):
    server = serve(serving)
    server.stop()

    with Stopwatch() as watch, pytest.raises(ConnectFailed) as caught:
        transport.post(server.url, b"{}", {}, Budget(30.0))

    assert caught.value.fault == "connect_refused"
    assert watch.took < SLACK + NOISE


@pytest.mark.parametrize(
    "reason",
    [
        CallerGone("gone"),
        TimeoutError("ours"),
        ConnectionResetError("ours"),
        ConnectFailed("draining"),
        NoAnswer("unhealthy"),
    ],
    ids=lambda reason: type(reason).__name__,
)
@pytest.mark.parametrize("script", [silence, body_drip, header_drip])
def test_what_a_check_raises_comes_out_as_it_is(script, reason, start, transport):
    """Libraries in between catch OSErrors, and must not take ours for theirs."""
    server = start(script)
    budget = Budget(30.0, leaving(monotonic() + 0.3, reason))

    with pytest.raises(type(reason)) as caught:
        transport.post(server.url, b"{}", {}, budget)

    assert caught.value is reason


def test_what_a_check_raises_while_connecting_comes_out_as_it_is(block):
    dead = block()
    reason = ConnectionRefusedError("ours")
    budget = Budget(30.0, leaving(monotonic() + 0.3, reason))

    with pytest.raises(ConnectionRefusedError) as caught:
        Transport().post(f"http://{dead.host}:{dead.port}/", b"{}", {}, budget)

    assert caught.value is reason


def test_without_time_left_nothing_is_sent_and_nobody_is_blamed(serve, transport):
    server = serve(serving)

    with pytest.raises(NeverSent):
        transport.post(server.url, b"{}", {}, Budget(0.0))

    assert server.connections == 0


def test_a_slow_reader_gets_every_byte_once(start, transport):
    """Sending stops in the middle for longer than a slice, then goes on."""
    body = b"".join(n.to_bytes(4, "big") for n in range(2_000_000))
    digests = []

    def slow_reader(peer):
        peer.pause(0.7)
        request = peer.read_request()
        digests.append(hashlib.sha256(request.partition(b"\r\n\r\n")[2]).digest())
        peer.send(OK)

    answer = transport.post(start(slow_reader).url, body, {}, Budget(20.0))

    assert answer.status == 200
    assert digests == [hashlib.sha256(body).digest()]


def test_after_a_failure_the_next_call_has_a_connection_of_its_own(serve, transport):
    def first_hangs(peer):
        if peer.turn == 0:
            silence(peer)
        serving(peer)

    server = serve(first_hangs)
    with pytest.raises(NoAnswer):
        transport.post(server.url, b"{}", {}, Budget(0.3))

    answer = transport.post(server.url, b"{}", {}, Budget(5.0))

    assert answer.status == 200
    assert server.connections == 2


def test_a_late_answer_is_never_given_to_the_next_caller(serve, transport):
    def late_first(peer):
        request = peer.read_request()
        if b"first" in request:
            peer.pause(0.5)
        peer.send(OK.replace(b"hello", request[-5:]))

    server = serve(late_first)
    with pytest.raises(NoAnswer):
        transport.post(server.url, b"first", {}, Budget(0.2))

    answer = transport.post(server.url, b"other", {}, Budget(5.0))

    assert b"other" in answer.body


def test_a_connection_serves_many_calls(start, transport):
    server = start(serving)

    for _ in range(3):
        transport.post(server.url, b"{}", {}, Budget(5.0))

    assert server.connections == 1


def test_an_answer_comes_back_as_it_was_sent(serve, transport):
    server = serve(answering(OK))

    answer = transport.post(server.url, b"{}", {}, Budget(5.0))

    assert (answer.status, answer.received) == (200, len(answer.body))
