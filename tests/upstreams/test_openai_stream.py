"""What a streamed answer's upstream is given time for, by a clock that is told."""

import json

import pytest

from app.gateway.budget import Budget
from app.gateway.chat import ChatReply
from app.gateway.errors import Interrupted, NoAnswer
from app.gateway.handler import ReplyStream
from app.upstreams.openai_stream import StreamedReply

IDLE = 2.0


def event(text, reason=None, **delta):
    delta |= {"content": text} if text else {}
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: %s\n\n" % json.dumps({"choices": [choice]}).encode()


class TimedExchange:
    """Pieces that each take some seconds to come, under the budget last given."""

    status = 200

    def __init__(self, clock, pieces):
        self._clock, self._pieces = clock, pieces
        self.received = 0

    def rearm(self, budget):
        self._budget = budget

    def holds_more(self):
        return False

    def pieces(self):
        for seconds, piece in self._pieces:
            left = self._budget.remaining()
            self._clock.advance(min(seconds, left))
            if seconds >= left:
                raise NoAnswer("read_timeout")
            self.received += len(piece)
            yield piece


@pytest.fixture
def begun(clock):
    def begun(*pieces, seconds=30.0, first=5.0, **options):
        budget = Budget(seconds, clock=clock)
        exchange = TimedExchange(clock, pieces)
        words_by = budget.within(first)
        reply = StreamedReply(exchange, budget, words_by, IDLE, clock=clock, **options)
        reply.begin()
        stream = ReplyStream(reply, ChatReply("", "vllm", "m"))
        stream.on_end(reply.report)
        return stream

    return begun


WORDS = [(0.1, event("a ")), (1.0, event("b ")), (1.0, event("c", "stop"))]


def test_a_slow_reader_does_not_use_up_the_upstreams_time(begun, clock):
    stream = begun(*WORDS)

    said = []
    for delta in stream:
        said.append(delta.text)
        clock.advance(3)

    assert said == ["a ", "b ", "c"]
    assert stream.unread == pytest.approx(9)


def test_a_silent_upstream_is_given_up_however_slow_the_reader_is(begun, clock):
    stream = begun(WORDS[0], (IDLE + 0.1, event("b")))
    next(stream)
    clock.advance(3)
    began = clock()

    with pytest.raises(Interrupted, match="stream_idle"):
        next(stream)

    assert clock() - began == pytest.approx(IDLE)


def test_waits_between_two_words_add_up(begun, clock):
    """Else a heartbeat now and then would make the limit begin anew."""
    pings = [(0.9, b": ping\n\n")] * 3
    stream = begun(WORDS[0], *pings, WORDS[1])
    next(stream)

    with pytest.raises(Interrupted, match="stream_idle"):
        next(stream)


def test_the_readers_time_counts_for_the_deadline_all_the_same(begun, clock):
    stream = begun(*WORDS, seconds=10)
    next(stream)
    clock.advance(10)

    with pytest.raises(Interrupted, match="read_timeout"):
        next(stream)

    assert stream.unread == pytest.approx(10)


def test_thoughts_count_as_time_well_spent_before_a_text_too(begun, clock):
    thoughts = [(1.5, event("", reasoning_content="hm"))] * 6

    stream = begun(*thoughts, (1.5, event("Yes", "stop")), as_text=True)

    assert stream.collect().text == "Yes"
