"""What a streamed answer's upstream is given time for, by a clock that is told."""

import json

import pytest

from app.gateway.budget import Budget
from app.gateway.chat import ChatReply
from app.gateway.errors import BadReply, Interrupted, NoAnswer, StreamLimit
from app.gateway.handler import ReplyStream
from app.upstreams.openai.chunks import Wanted
from app.upstreams.openai.stream import QUIET, StreamedReply
from app.upstreams.words_in_time import WordsInTime
from tests.upstreams.timed_exchange import TimedExchange

IDLE = 2.0
OPENAI = Wanted()


def event(text, reason=None, **delta):
    delta |= {"content": text} if text else {}
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: %s\n\n" % json.dumps({"choices": [choice]}).encode()


@pytest.fixture
def begun(clock):
    def begun(*pieces, seconds=30.0, first=5.0, lasting=None, wanted=OPENAI, **limits):
        budget = Budget(seconds, clock=clock)
        if lasting:
            budget = budget.streaming(lasting)
        exchange = TimedExchange(clock, pieces)
        words_by = budget.within(first)
        timed = WordsInTime(exchange, budget, words_by, IDLE, clock=clock, **limits)
        reply = StreamedReply(timed, wanted)
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

    stream = begun(*thoughts, (1.5, event("Yes", "stop")), wanted=Wanted(as_text=True))

    assert stream.collect().text == "Yes"


DONE = (0.1, b"data: [DONE]\n\n")
USAGE = (0.1, b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n')
EMPTY = (0.1, b'data: {"choices":[],"usage":null}\n\n')
ERROR = (0.1, b'data: {"error":{"message":"blocked"}}\n\n')
RESET = (0.1, NoAnswer("reset"))
CUT = (0.1, BadReply("truncated"))
SILENCE = (60.0, b": ping\n\n")  # longer than any limit but the stream's own
BARE = (0.1, event("", "stop"))


def saying(text, reason=None, after=0.1, **delta):
    return after, event(text, reason, **delta)


def calling(arguments, name="look_up", index=0, **more):
    function = {"name": name, "arguments": arguments}
    call = {"id": f"c{index}", "index": index, "function": function} | more
    return saying("", tool_calls=[call])


class TestTheEnd:
    """A finish reason is not the end while more can come."""

    @pytest.mark.parametrize(
        "pieces",
        [
            (saying("5 mg, not", "stop"), saying(" 50", after=3.0), BARE, DONE),
            (saying("5 mg, not", "stop"), saying(" 50", after=4.0)),
            (saying("5 mg, not", "stop"), saying(" 50", "stop", after=1.5), USAGE),
            (saying("5 mg, not", "stop"), saying(" 50"), USAGE, DONE),
            (saying("5 mg, not"), saying(" 50", "stop"), SILENCE),
            (saying("5 mg, not", "stop"), saying(" 50"), BARE, SILENCE),
            (saying("5 mg, not", "stop"), USAGE, saying(" 50"), BARE, USAGE, SILENCE),
            (saying("5 mg, not 50"), BARE, USAGE, SILENCE),
            (saying("5 mg, not 50"), BARE, USAGE, RESET),
            (saying("5 mg, not", "stop"), saying(" 50"), USAGE, SILENCE),
            (saying("5 mg, not 50"), BARE, saying("", role="assistant"), SILENCE),
            (saying("5 mg, not 50"), saying("", "odd"), BARE, saying("", "odd")),
            (saying("5 mg, not", "stop"), EMPTY, saying(" 50", after=3.0), BARE, DONE),
        ],
        ids=range(13),
    )
    def test_what_comes_behind_a_finish_reason_is_part_of_the_answer(
        self, begun, pieces
    ):
        stream = begun(*pieces, seconds=90)

        assert stream.collect().text == "5 mg, not 50"
        assert stream.reply.finish_reason == "stop"

    @pytest.mark.parametrize("wanted", [OPENAI, Wanted(as_text=True)], ids=str)
    @pytest.mark.parametrize(
        ("pieces", "meaning"),
        [
            ((saying("one", "stop"), RESET), "reset"),
            ((saying("one", "stop"), CUT), "truncated"),
            ((saying("one", "stop"), saying(" two", "stop"), RESET), "reset"),
            ((saying("one", "stop"), ERROR, DONE), "upstream_error"),
            ((saying("one", "stop"), USAGE, ERROR), "upstream_error"),
            ((saying("one", "stop"), USAGE, saying(" two"), RESET), "reset"),
            ((saying("1", "stop"), USAGE, saying("2", "stop"), USAGE, RESET), "reset"),
            ((saying("1", "stop"), saying("2"), USAGE, saying("3"), RESET), "reset"),
            ((saying("one", "stop"), saying("", "abort"), DONE), "upstream_error"),
            # Reasons came with words that were not the last ones.
            ((saying("one", "stop"), saying(" two", "stop"), SILENCE), "stream_idle"),
            ((saying("one", "stop"), saying(" two"), SILENCE), "stream_idle"),
            ((saying("one", "odd"), SILENCE), "stream_idle"),
            # Nothing is counted in it, so it is not what follows the last word.
            ((saying("one", "stop"), EMPTY, RESET), "reset"),
        ],
        ids=range(13),
    )
    def test_what_breaks_behind_it_is_told(self, begun, pieces, meaning, wanted):
        stream = begun(*pieces, seconds=90, wanted=wanted)

        with pytest.raises(Interrupted, match=meaning):
            stream.collect()

    @pytest.mark.parametrize(
        ("pieces", "limit"),
        [((BARE, SILENCE), max(QUIET.values())), ((BARE, USAGE, SILENCE), 1.0)],
        ids=["reason", "usage"],
    )
    def test_silence_is_waited_for_no_longer_than_it_tells(
        self, begun, clock, pieces, limit
    ):
        stream = begun(saying("one"), *pieces)
        began = clock()

        stream.collect()

        assert clock() - began <= limit + 0.3

    def test_the_end_of_the_time_is_not_the_silence_that_tells(self, begun):
        with pytest.raises(Interrupted, match="read_timeout"):
            begun(saying("one", "stop"), SILENCE, seconds=2.0).collect()

    def test_a_reason_before_any_word_does_not_shorten_the_wait_for_them(self, begun):
        first = saying("", "stop", role="assistant")

        stream = begun(first, saying("late", "stop", after=7), DONE, first=9.0)

        assert stream.collect().text == "late"

    @pytest.mark.parametrize("end", [DONE, USAGE, None], ids=["done", "usage", "body"])
    def test_fewer_choices_than_were_asked_for_are_told_as_they_are(self, begun, end):
        ends = (end,) if end else ()

        stream = begun(saying("one", "stop"), *ends, wanted=Wanted(choices=2))

        assert stream.collect().text == "one"

    def test_but_no_silence_tells_that_no_other_choice_comes(self, begun):
        with pytest.raises(Interrupted, match="stream_idle"):
            begun(saying("one", "stop"), SILENCE, wanted=Wanted(choices=2)).collect()


class TestToolCalls:
    @pytest.mark.parametrize("reason", ["stop", "tool_calls"])
    @pytest.mark.parametrize(
        "pieces",
        [
            (calling('{"q": '), calling('"tea"}', name="")),
            (calling(""),),
            (calling({"q": "tea"}),),
            (calling("{}"), calling("{}", index=1)),
            (calling("{}", id="a"), calling("{}", id="b")),  # all of them numbered 0
            (calling("{}", index=None), calling("{}", index=None, id="b")),
            (calling('{"q":'), calling("1}")),  # name and id in each piece
            (calling('{"n": 1' + "0" * 5000 + "}"),),
            (saying("", tool_calls=[{"index": 0, "custom": {"name": "f"}}]),),
        ],
        ids=range(9),
    )
    def test_whole_calls_are_complete_and_told_as_calls(self, begun, pieces, reason):
        stream = begun(*pieces, saying("", reason), DONE)

        stream.collect()

        assert stream.reply.finish_reason == "tool_calls"
        assert stream.reply.choices[0]["finish_reason"] == "tool_calls"

    @pytest.mark.parametrize("reason", ["stop", "tool_calls", "length"])
    @pytest.mark.parametrize("end", [DONE, USAGE, SILENCE], ids=["done", "usage", ""])
    @pytest.mark.parametrize(
        "pieces",
        [
            (calling('{"q": "te'),),
            (calling("{}", name=""),),
            (calling("{}"), calling("{", index=1)),
            (calling("{}", id="a"), calling("[", id="b")),
            (saying("So:"), calling("{")),
            (saying("", function_call={"name": "f", "arguments": "{"}),),
            (calling("[" * 100_000),),
        ],
        ids=range(7),
    )
    def test_half_a_call_is_never_complete(self, begun, pieces, end, reason):
        with pytest.raises(Interrupted, match="bad_tool_call"):
            begun(*pieces, saying("", reason), end).collect()

    def test_a_call_whose_arguments_the_length_took_is_half(self, begun):
        with pytest.raises(Interrupted, match="bad_tool_call"):
            begun(calling(""), saying("", "length"), DONE).collect()


class TestTime:
    WORDS = [(1.0, event("w"))] * 599

    def test_a_word_a_second_for_ten_minutes_passes_whole(self, begun, clock):
        began = clock()

        stream = begun(*self.WORDS, BARE, DONE, seconds=30, lasting=600)

        assert stream.collect().text == "w" * 599
        assert clock() - began > 599

    @pytest.mark.parametrize("limit", [{"lasting": 500}, {"stream_limit": 500.0}])
    def test_our_own_limit_is_told_as_what_it_is(self, begun, clock, limit):
        stream = begun(*self.WORDS, **({"lasting": 900} | limit))

        with pytest.raises(StreamLimit):
            stream.collect()

        assert 498 <= len(stream.reply.text) <= 500

    def test_a_stream_that_may_not_outlast_the_deadline_ends_by_it(self, begun):
        with pytest.raises(Interrupted, match="read_timeout"):
            begun(*self.WORDS, seconds=30).collect()

    def test_silence_ends_it_all_the_same(self, begun, clock):
        stream = begun(*self.WORDS[:100], SILENCE, seconds=30, lasting=600)
        began = clock()

        with pytest.raises(Interrupted, match="stream_idle"):
            stream.collect()

        assert clock() - began == pytest.approx(99 + IDLE)
