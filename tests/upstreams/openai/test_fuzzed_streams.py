"""No stream that was cut is ever shown as a complete answer."""

import json
import os
import socket

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.gateway.budget import Budget
from app.gateway.chat import StreamMode
from app.gateway.errors import BadReply, Interrupted, UpstreamError
from app.gateway.routing.router import ChatRouter
from app.upstreams.http.transport import Transport
from app.upstreams.openai.chunks import ANYTHING, Wanted
from app.upstreams.openai.stream import StreamedReply
from app.upstreams.openai.upstream import Limits, OpenAIUpstream
from app.upstreams.words_in_time import WordsInTime
from tests.support.fakes import FakeUpstream, Unguarded, a_request
from tests.upstreams.fuzzed import fuzzed
from tests.upstreams.fuzzed_ends import FAILURE, RESET, fuzzed_end
from tests.upstreams.raw_server import RawServer

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
FALLBACK = "The fallback's own words"
SEEDS = st.integers(0, 2**32)
ENDS = int(os.environ.get("VX11_FUZZED_STREAMS", "1000"))


class FakeExchange:
    """An exchange whose pieces are at hand, and which may break after the last."""

    status = 200

    def __init__(self, pieces, broke):
        self._pieces, self._broke = pieces, broke
        self.received = 0

    def rearm(self, budget):
        pass

    def pieces(self):
        for piece in self._pieces:
            self.received += len(piece)
            yield piece
        if self._broke:
            raise BadReply("truncated")


def read(stream, wanted=ANYTHING):
    """What was said, and whether it was said to be complete."""
    budget = Budget(30)
    exchange = FakeExchange(stream.pieces, stream.is_cut)
    reply = StreamedReply(WordsInTime(exchange, budget, budget, 10.0), wanted)
    said = []
    try:
        reply.begin()
        said.extend(delta.text for delta in reply)
    except UpstreamError:
        return "".join(said), False
    return "".join(said), True


@settings(max_examples=10_000, deadline=None, database=None)
@example(0)
@given(SEEDS)
def test_of_ten_thousand_streams_none_is_complete_that_is_not_whole(seed):
    stream = fuzzed(seed)

    said, is_complete = read(stream)

    assert stream.text.startswith(said)
    assert said == stream.text or not is_complete
    assert not (is_complete and stream.tells_of_failure)


def test_the_streams_are_of_all_kinds():
    """Else the test above could pass because nothing ever completes, or all does."""
    seen = [(fuzzed(seed), *read(fuzzed(seed))) for seed in range(1000)]

    complete = sum(is_complete for _, _, is_complete in seen)
    broken = sum(bool(said) and not is_complete for _, said, is_complete in seen)
    assert complete > 150
    assert broken > 100


@pytest.mark.parametrize("as_text", [True, False], ids=["as text", "openai"])
def test_whatever_the_reasons_say_a_cut_answer_is_cut_and_a_whole_one_is_whole(as_text):
    """VX11_FUZZED_STREAMS=10000 tries so many."""
    seen = {"cut": 0, "whole": 0}
    for seed in range(ENDS):
        stream = fuzzed_end(seed)

        said, is_complete = read(stream, Wanted(as_text=as_text))

        assert is_complete == stream.is_whole, seed
        assert said == stream.text if is_complete else stream.text.startswith(said)
        seen["whole" if is_complete else "cut"] += 1

    assert min(seen.values()) > ENDS / 5


def test_the_ends_are_of_all_kinds():
    streams = [fuzzed_end(seed) for seed in range(1000)]
    with_reason = [s for s in streams if b'"stop"' in b"".join(s.pieces)]

    for kind in (
        [s for s in streams if s.end == RESET and s.is_whole],
        [s for s in with_reason if s.end == RESET and not s.is_whole],
        [s for s in with_reason if s.end == FAILURE],
        [s for s in streams if s.calls and s.is_whole],
        [s for s in streams if s.text.endswith(" late") and s.is_whole],
    ):
        assert len(kind) > 10


def speak(peer):
    """A script: each request is a seed, its answer the stream made of that."""
    peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while (request := peer.read_request()) is not None:
        body = json.loads(request.partition(b"\r\n\r\n")[2])
        stream = fuzzed(int(body["messages"][-1]["content"]))
        peer.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for piece in stream.pieces:
            peer.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        if stream.is_cut:
            peer.sock.close()
            return
        peer.send(b"0\r\n\r\n")


@pytest.fixture(scope="module")
def wired():
    """An upstream behind a real socket that says what the seed in a message makes."""
    server, transport = RawServer(speak), Transport()
    yield OpenAIUpstream(
        name="fuzzed", url=server.url, limits=Limits(), transport=transport
    )
    transport.close()
    server.stop()


@pytest.mark.parametrize("mode", StreamMode, ids=lambda mode: mode.value)
def test_end_to_end_an_answer_is_whole_or_is_an_error(wired, mode):
    router = ChatRouter(
        [Unguarded(wired), FakeUpstream("fallback", deltas=(FALLBACK,))]
    )
    errors = 0
    for seed in range(500):
        request = a_request(str(seed), stream=True, stream_mode=mode)
        stream = router.open(request, Budget(30))
        try:
            said = stream.collect().text
        except Interrupted:
            errors += 1
            said = None

        assert said in (None, fuzzed(seed).text, FALLBACK)

    assert (errors == 0) == (mode is StreamMode.VERIFIED)
