"""Connections are kept, found closed, given up and shared (row 13)."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from app.gateway.budget import Budget
from app.gateway.errors import BadReply, NoAnswer, Rejected
from app.upstreams.http.connections import STALE_SHOWS
from app.upstreams.http.transport import Transport
from tests.upstreams.raw_server import JSON_HEAD, OK, answering, serving


def ask(transport, server, body=b"{}", seconds=5.0):
    return transport.post(server.url, body, {}, Budget(seconds))


def dropping_its_second_request(how):
    """The first connection answers once and drops what comes next."""

    def script(peer):
        if peer.turn > 0:
            return serving(peer)
        peer.read_request()
        peer.send(OK)
        peer.read_request()
        return how(peer)

    return script


def hang_up(peer):
    pass


def reset(peer):
    peer.reset()


@pytest.mark.parametrize("how", [hang_up, reset])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_connection_found_closed_is_retried_once_on_a_new_one(
    how, secure, serve, tls, transport
):
    server = serve(dropping_its_second_request(how), tls=tls if secure else None)
    ask(transport, server)
    assert server.connections == 1

    assert ask(transport, server).status == 200
    assert server.connections == 2


@pytest.mark.parametrize("how", [hang_up, reset])
def test_whoever_hangs_up_over_its_work_is_not_asked_twice(how, serve, transport):
    def die_at_work(peer):
        peer.pause(2 * STALE_SHOWS)
        how(peer)

    server = serve(dropping_its_second_request(die_at_work))
    ask(transport, server)

    with pytest.raises(NoAnswer) as caught:
        ask(transport, server)

    assert caught.value.fault == "reset"
    assert server.connections == 1


def test_the_retry_is_not_retried(serve, transport):
    def always_dropping_the_second(peer):
        if peer.turn == 0:
            peer.read_request()
            peer.send(OK)
        peer.read_request()

    server = serve(always_dropping_the_second)
    ask(transport, server)

    with pytest.raises(NoAnswer) as caught:
        ask(transport, server)

    assert caught.value.fault == "reset"
    assert server.connections == 2


def test_one_byte_of_answer_forbids_the_retry(serve, transport):
    server = serve(dropping_its_second_request(lambda peer: peer.send(b"H")))
    ask(transport, server)

    with pytest.raises(BadReply) as caught:
        ask(transport, server)

    assert caught.value.fault == "empty_body"
    assert server.connections == 1


def test_silence_on_a_kept_connection_forbids_the_retry(serve, transport):
    """The request may be at work: a chat is never asked twice."""
    server = serve(dropping_its_second_request(lambda peer: peer.pause()))
    ask(transport, server)

    with pytest.raises(NoAnswer) as caught:
        ask(transport, server, seconds=0.4)

    assert caught.value.fault == "read_timeout"
    assert len(server.requests) == 2


def test_a_connection_closed_while_idle_is_simply_replaced(serve, transport):
    def closing_after_each(peer):
        peer.read_request()
        peer.send(OK)
        peer.sock.close()
        peer.server.closed_by_peer.set()

    server = serve(closing_after_each)
    ask(transport, server)
    assert server.closed_by_peer.wait(5.0)

    answer = ask(transport, server)

    assert answer.status == 200
    assert server.connections == 2


def test_an_idle_connection_with_unasked_bytes_is_not_used(serve, transport):
    """They would be taken for the answer to the next question."""

    def talkative(peer):
        if peer.turn > 0:
            return serving(peer)
        peer.read_request()
        peer.send(OK + OK.replace(b"hello", b"EVIL!"))
        return peer.pause()

    server = serve(talkative)
    ask(transport, server)

    answer = ask(transport, server)

    assert b"hello" in answer.body
    assert server.connections == 2


def test_a_connection_idle_for_too_long_is_not_used(serve):
    server = serve(serving)
    transport = Transport(idle_limit=0.0)

    ask(transport, server)
    ask(transport, server)
    transport.close()

    assert server.connections == 2


def test_an_upstream_that_wants_to_close_gets_a_new_connection_each_time(
    serve, transport
):
    server = serve(answering(OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)))

    for _ in range(3):
        ask(transport, server)

    assert server.connections == 3


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_giving_up_an_exchange_closes_its_socket(secure, serve, tls, transport):
    def endless(peer):
        peer.read_request()
        peer.send(JSON_HEAD + b"Content-Length: 1000\r\n\r\n{")
        peer.wait_for_close()

    server = serve(endless, tls=tls if secure else None)
    exchange = transport.open("POST", server.url, b"{}", {}, Budget(5.0))
    first = next(exchange.pieces())

    exchange.close()
    exchange.close()

    assert first == b"{"
    assert server.closed_by_peer.wait(5.0)


def test_an_answer_that_comes_before_the_request_is_read_still_counts(serve, transport):
    def impatient(peer):
        peer.read_head()
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    server = serve(impatient)

    with pytest.raises(Rejected) as caught:
        ask(transport, server, b"x" * 32_000_000)

    assert caught.value.status == 413


def test_pieces_come_as_they_are_sent(serve, transport):
    """What a stream needs: the first word at once, not at the end."""

    def two_words(peer):
        peer.read_request()
        peer.send(JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        peer.server.wait_for_requests(2)
        peer.send(b"3\r\ntwo\r\n0\r\n\r\n")
        serving(peer)

    server = serve(two_words)
    with transport.open("POST", server.url, b"{}", {}, Budget(5.0)) as exchange:
        pieces = exchange.pieces()
        first = next(pieces)
        server.saw(b"go on")
        rest = b"".join(pieces)

    assert (first, rest) == (b"one", b"two")
    assert ask(transport, server).status == 200
    assert server.connections == 1


def test_more_calls_than_pooled_connections_still_work(serve):
    server = serve(serving)
    transport = Transport(pool_size=1)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: ask(transport, server), range(40)))
    transport.close()

    assert [answer.status for answer in answers] == [200] * 40


def test_threads_get_their_own_answers(serve, transport):
    def echoing(peer):
        while (request := peer.read_request()) is not None:
            body = request.partition(b"\r\n\r\n")[2]
            peer.send(JSON_HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    server = serve(echoing)
    said = [b'{"n":%d}' % n for n in range(400)]

    with ThreadPoolExecutor(16) as threads:
        heard = list(threads.map(lambda body: ask(transport, server, body).body, said))

    assert heard == said
    assert server.connections <= 16
