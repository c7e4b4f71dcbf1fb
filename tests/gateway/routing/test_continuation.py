"""What becomes of a reply that breaks after it has begun."""

import pytest

from app.gateway.budget import Budget
from app.gateway.chat import ChatReply, Delta, ReplyFacts, StreamMode, Usage
from app.gateway.errors import (
    CallerGone,
    ContentFiltered,
    Interrupted,
    NobodyAnswered,
    Refused,
    StreamLimit,
)
from app.gateway.handler import Outcome, ReplyStream
from app.gateway.routing.router import ChatRouter
from tests.support.fakes import FakeUpstream, a_request

CUT = Interrupted("truncated", status=200, received=9)


@pytest.fixture
def first(clock):
    upstream = FakeUpstream("first", deltas=("One ", "two "), clock=clock)
    upstream.breaks_with = CUT
    return upstream


@pytest.fixture
def second(clock):
    return FakeUpstream("second", deltas=("One", " two ", "three"), clock=clock)


@pytest.fixture
def third(clock):
    return FakeUpstream("third", deltas=("One two three",), clock=clock)


@pytest.fixture
def open_stream(first, second, clock):
    def open_stream(*upstreams, mode=StreamMode.LIVE, check=lambda: None):
        router = ChatRouter(upstreams or [first, second], clock)
        request = a_request(stream=True, stream_mode=mode)
        return router.open(request, Budget(36, check, clock=clock))

    return open_stream


def thought(text):
    part = {"role": "assistant", "content": "", "reasoning_content": text}
    return Delta("", ({"index": 0, "delta": part, "finish_reason": None},))


def faults(reply):
    return [(attempt.upstream, attempt.fault) for attempt in reply.attempts]


class TestLive:
    def test_the_next_upstream_goes_on_where_it_says_the_same(self, open_stream):
        stream = open_stream()

        assert [delta.text for delta in stream] == ["One ", "two ", "three"]
        reply = stream.reply
        assert (reply.text, reply.upstream) == ("One two three", "second")
        assert reply.degraded_by == "truncated"
        assert faults(reply) == [("first", "truncated"), ("second", None)]
        assert stream.outcome is Outcome.COMPLETED

    def test_who_has_nothing_to_add_completes_it_too(self, open_stream, second):
        second.deltas = ("One two ",)

        assert open_stream().collect().text == "One two "

    @pytest.mark.parametrize(
        "said",
        [("One three",), ("Eins ",), ("One ",), ("",), ("One t", "Two")],
        ids=repr,
    )
    def test_who_says_something_else_ends_it_with_an_error(
        self, open_stream, second, said
    ):
        second.deltas = said
        stream = open_stream()

        with pytest.raises(Interrupted, match="truncated"):
            stream.collect()

        assert stream.reply.text == "One two "
        assert faults(stream.reply) == [("first", "truncated"), ("second", "diverged")]

    def test_an_upstream_that_is_dropped_is_closed_and_not_blamed(
        self, open_stream, first, clock
    ):
        endings = []

        class Other(FakeUpstream):
            def open(self, request, budget, turn=None):
                stream = super().open(request, budget)
                stream.on_end(lambda s: endings.append((s.outcome, s.error)))
                return stream

        other = Other("other", deltas=("Else", "where"), clock=clock)

        with pytest.raises(Interrupted):
            open_stream(first, other).collect()

        assert endings == [(Outcome.CANCELLED, None)]

    def test_when_nobody_is_left_the_error_is_that_of_the_break(
        self, open_stream, first, second
    ):
        second.fail(Refused("http_5xx", status=503))
        stream = open_stream()

        with pytest.raises(Interrupted, match="truncated"):
            stream.collect()

        assert faults(stream.reply) == [("first", "truncated"), ("second", "http_5xx")]
        assert stream.reply.text == "One two "

    def test_one_who_breaks_too_is_followed_by_the_next(
        self, open_stream, first, second, third
    ):
        second.deltas, second.breaks_with = ("One two th",), Interrupted("stream_idle")

        stream = open_stream(first, second, third)

        assert [d.text for d in stream] == ["One ", "two ", "th", "ree"]
        assert stream.reply.upstream == "third"

    def test_one_who_breaks_before_it_has_caught_up_is_followed_too(
        self, open_stream, first, second, third
    ):
        second.deltas, second.breaks_with = ("One",), CUT

        assert open_stream(first, second, third).collect().text == "One two three"

    def test_what_is_more_than_text_is_not_gone_on_with(
        self, open_stream, first, second, clock
    ):
        class Caller(FakeUpstream):
            def _speak(self):
                yield Delta("", ({"index": 0, "delta": {"tool_calls": [{}]}},))
                raise CUT

        with pytest.raises(Interrupted):
            open_stream(Caller("first", clock=clock), second).collect()

        assert second.calls == 0

    @pytest.mark.parametrize("text", ["", "One two "])
    def test_thoughts_that_were_sent_bind_nobody(
        self, open_stream, second, clock, text
    ):
        """A reasoning model that breaks before its first word can be replaced."""

        class Thinks(FakeUpstream):
            def _speak(self):
                yield thought(f"{self.name} thinks")
                yield from super()._speak()

        first = Thinks("first", deltas=(text,), clock=clock)
        first.breaks_with = CUT
        other = Thinks("second", deltas=second.deltas, clock=clock)

        stream = open_stream(first, other)
        deltas = list(stream)

        assert stream.reply.text == "One two three"
        assert deltas[0] == thought("first thinks")
        assert faults(stream.reply) == [("first", "truncated"), ("second", None)]

    @pytest.mark.parametrize("kind", ["tool_calls", "refusal", "content"])
    def test_but_an_answer_that_was_sent_does(self, open_stream, second, clock, kind):
        class Begins(FakeUpstream):
            def _speak(self):
                yield thought("hm")
                yield Delta("", ({"index": 1, "delta": {kind: "So"}},))
                raise CUT

        with pytest.raises(Interrupted):
            open_stream(Begins("first", clock=clock), second).collect()

        assert second.calls == 0

    def test_a_refusal_of_the_content_reaches_the_reader_as_it_is(
        self, open_stream, first, second
    ):
        first.breaks_with = ContentFiltered("content_filter")

        with pytest.raises(ContentFiltered):
            open_stream().collect()

        assert second.calls == 0

    def test_who_goes_on_has_the_whole_time_again(self, first, second, clock):
        class Late(FakeUpstream):
            def _speak(self):
                yield Delta("One ")
                clock.advance(100)
                raise CUT

        router = ChatRouter([Late("late", clock=clock), second], clock)
        budget = Budget(36, clock=clock).streaming(600)

        reply = router.open(a_request(stream=True), budget).collect()

        assert reply.text == "One two three"
        assert second.limits == [30.0]

    def test_our_own_limit_ends_it_and_nobody_goes_on(self, open_stream, first, second):
        first.breaks_with = StreamLimit()
        stream = open_stream()

        with pytest.raises(StreamLimit):
            stream.collect()

        assert second.calls == 0
        assert faults(stream.reply) == [("first", "stream_limit")]

    def test_a_reader_who_leaves_is_not_gone_on_for(self, open_stream, first, second):
        first.breaks_with = CallerGone()
        stream = open_stream()

        with pytest.raises(CallerGone):
            stream.collect()

        assert (stream.outcome, second.calls) == (Outcome.CANCELLED, 0)
        assert faults(stream.reply) == [("first", "client_gone")]
        assert stream.reply.text == "One two "

    def test_hanging_up_closes_the_upstream_and_tells_what_was_sent(
        self, open_stream, clock
    ):
        closed = []

        class Talking(FakeUpstream):
            def open(self, request, budget, turn=None):
                reply = ChatReply("", self.name, "m")
                deltas = iter([Delta("a"), Delta("b")])
                return ReplyStream(deltas, reply, lambda: closed.append(self.name))

        stream = open_stream(Talking("first", clock=clock))
        next(stream)
        stream.close()

        assert closed == ["first"]
        assert (stream.outcome, stream.error) == (Outcome.CANCELLED, None)
        assert stream.reply.text == "a"
        assert faults(stream.reply) == [("first", "client_gone")]

    def test_the_facts_are_those_of_whoever_answered(self, open_stream, first, clock):
        class Counting(FakeUpstream):
            def open(self, request, budget, turn=None):
                stream = super().open(request, budget)
                facts = ReplyFacts(
                    model="m2", usage=Usage(3, 4), finish_reason="length"
                )
                stream.on_end(lambda s: s.learn(facts))
                return stream

        counting = Counting("second", deltas=("One two three",), clock=clock)

        reply = open_stream(first, counting).collect()

        assert (reply.model, reply.usage) == ("m2", Usage(3, 4))
        assert reply.finish_reason == "length"

    def test_once_begun_a_stream_may_use_the_time_kept_for_others(
        self, first, second, clock
    ):
        router = ChatRouter([first, second], clock)
        limits = []

        class Watching(FakeUpstream):
            def open(self, request, budget, turn=None):
                limits.append(budget)
                return super().open(request, budget)

        router = ChatRouter([Watching("w", clock=clock), second], clock)
        router.open(a_request(stream=True), Budget(36, clock=clock))
        clock.advance(29)

        assert limits[0].remaining() == 1
        limits[0].check()

    def test_until_it_has_begun_it_may_not(self, second, clock):
        class Silent(FakeUpstream):
            def open(self, request, budget, turn=None):
                clock.advance(18.1)  # its share, of 36 s for two that want 30 each
                budget.check()

        router = ChatRouter([Silent("silent", clock=clock), second], clock)

        reply = router.open(a_request(stream=True), Budget(36, clock=clock)).collect()

        assert faults(reply) == [("silent", "late_beginning"), ("second", None)]


@pytest.mark.parametrize("stream", [True, False], ids=["verified", "whole"])
class TestVerified:
    @pytest.fixture
    def ask(self, first, second, clock):
        def ask(*upstreams, stream):
            request = a_request(stream=stream, stream_mode=StreamMode.VERIFIED)
            router = ChatRouter(upstreams or [first, second], clock)
            return router.open(request, Budget(36, clock=clock))

        return ask

    def test_a_broken_reply_is_begun_anew_with_the_next(self, ask, second, stream):
        second.deltas = ("Something ", "else")

        answer = ask(stream=stream)

        assert [delta.text for delta in answer] == ["Something ", "else"]
        reply = answer.reply
        assert (reply.text, reply.upstream) == ("Something else", "second")
        assert faults(reply) == [("first", "truncated"), ("second", None)]
        assert reply.degraded_by == "truncated"

    def test_when_all_break_nothing_is_told_but_that(self, ask, second, stream):
        second.breaks_with = CUT

        with pytest.raises(NobodyAnswered) as caught:
            ask(stream=stream)

        assert faults(caught.value) == [("first", "truncated"), ("second", "truncated")]

    def test_a_refusal_of_the_content_goes_to_the_caller(
        self, ask, first, second, stream
    ):
        first.breaks_with = ContentFiltered("content_filter")

        with pytest.raises(ContentFiltered) as caught:
            ask(stream=stream)

        assert faults(caught.value) == [("first", "content_filter")]
        assert second.calls == 0
