"""Words that have come in already are known to be there, and nothing waits for more."""

import json
import threading
from itertools import pairwise

import pytest

from app.gateway.budget import SLICE, Budget
from app.upstreams.http.deadline import ExchangeDeadline
from app.upstreams.openai.upstream import Limits, OpenAIUpstream
from tests.support.fakes import FakeClock, a_request
from tests.upstreams.raw_server import Stopwatch

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSED = HEAD + b"Connection: close\r\n\r\n"


def event(text, reason=None):
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()


def framed(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


END = framed(event("", "stop")) + framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"


@pytest.fixture
def ask(serve, transport):
    """Open the stream of a server that sends pieces, and waits between them."""
    go_on = threading.Event()

    def start(*pieces):
        def script(peer):
            peer.read_request()
            for piece in pieces:
                peer.send(piece)
                go_on.wait(10)
                go_on.clear()

        upstream = OpenAIUpstream(
            name="raw", url=serve(script).url, limits=Limits(), transport=transport
        )
        return upstream.open(a_request(stream=True), Budget(10))

    start.go_on = go_on.set
    return start


def is_ready_after(stream, word):
    assert next(stream).text == word
    return stream.is_ready


@pytest.mark.parametrize(
    ("head", "frame"), [(CHUNKED, framed), (UNTIL_CLOSED, bytes)], ids=["chunks", "eof"]
)
def test_words_of_one_packet_are_ready_after_the_first(ask, head, frame):
    stream = ask(head + b"".join(frame(event(word)) for word in ("one ", "two ", "3")))

    assert is_ready_after(stream, "one ")
    assert is_ready_after(stream, "two ")
    assert not is_ready_after(stream, "3")
    stream.close()


@pytest.mark.parametrize("cut", range(1, len(framed(event("two")))))
def test_half_a_chunk_is_not_waited_for(ask, cut):
    second = framed(event("two"))
    stream = ask(CHUNKED + framed(event("one ")) + second[:cut], second[cut:] + END)

    with Stopwatch() as watch:
        is_ready = is_ready_after(stream, "one ")
    assert watch.took < 1
    # The last bytes are the end of the chunk and of the event.
    assert is_ready == (cut >= len(second) - len("\r\n"))

    ask.go_on()
    assert next(stream).text == "two"
    ask.go_on()
    assert list(stream) == []


def test_the_end_is_not_waited_for(ask):
    stream = ask(CHUNKED + framed(event("one", "stop")) + b"0\r\n", b"\r\n")

    assert not is_ready_after(stream, "one")
    ask.go_on()
    assert list(stream) == []


def test_each_word_gets_its_time_anew_and_the_checks_keep_their_pace():
    """A check looks at the caller's socket, which is dear for every single word."""
    clock, checks = FakeClock(), []
    budget = Budget(60, lambda: checks.append(clock.now), clock=clock)
    watch = ExchangeDeadline(budget)
    for _ in range(100):
        clock.advance(0.01)
        watch.rearm(budget.within(10))
        watch.wait_limit()

    gaps = [b - a for a, b in pairwise(checks)]
    assert len(checks) < 10
    assert max(gaps) < SLICE + 0.02
