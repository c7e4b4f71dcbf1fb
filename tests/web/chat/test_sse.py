import json
import socket
from contextlib import suppress

import pytest

from app.gateway.budget import Budget
from app.gateway.chat import Delta, ReplyFacts, Usage
from app.gateway.errors import (
    AuditUnavailable,
    CallerGone,
    GatewayError,
    Interrupted,
    NoAnswer,
    NobodyAnswered,
    StreamLimit,
)
from app.gateway.handler import Outcome
from app.services import PerProcess
from app.web import make_app
from app.web.chat.sse import COMMENT, HELD, Channel, TextEvents, event
from tests.support.events import events_of, text_of
from tests.support.fakes import FakeClock, FakeUpstream

CHAT = "/operator/api/chat"


@pytest.fixture
def ask(client, token):
    def ask(message="Hello", headers=(), **fields):
        body = {"message": message, "stream": True} | fields
        return client.post(CHAT, json=body, headers=token | dict(headers))

    return ask


@pytest.fixture
def call(services, token):
    """Call the app as a server does, with a `write` of the test's own."""

    def call(write, **fields):
        app = make_app(PerProcess(lambda: services))
        body = json.dumps({"message": "Hello", "stream": True} | fields)
        environ = app.test_request_context(
            CHAT,
            method="POST",
            data=body,
            content_type="application/json",
            headers=token,
        ).request.environ
        return app(environ, lambda status, headers, exc_info=None: write)

    return call


class TestEvents:
    def test_a_reply_is_told_piece_by_piece(self, ask, switch):
        switch.deltas = ["Good ", "morning", "!"]

        answer = ask()
        events = events_of(answer)

        assert answer.content_type.startswith("text/event-stream")
        assert [e.name for e in events] == ["meta", "delta", "delta", "delta", "done"]
        assert text_of(events) == "Good morning!"

    def test_meta_says_who_answers_before_the_first_word(self, ask, trail):
        meta = events_of(ask(session_id="s-9", correlation_id="c-9"))[0].data

        assert meta == {
            "correlation_id": "c-9",
            "session_id": "s-9",
            "audit_id": trail.closed[0][0].id,
            "provider": "switch",
            "model": "m",
            "degraded": False,
            "fallback_reason": None,
        }

    def test_the_fallback_is_no_secret(self, ask, switch):
        switch.fail(NoAnswer("read_timeout"))

        answer = ask()
        meta, *_, done = (e.data for e in events_of(answer))

        assert (meta["provider"], meta["degraded"]) == ("madre", True)
        assert meta["fallback_reason"] == "read_timeout"
        assert (done["provider"], done["status"]) == ("madre", "degraded")
        assert [a["fault"] for a in done["attempts"]] == ["read_timeout", None]
        assert answer.headers["X-Gateway-Provider"] == "madre"
        assert answer.headers["X-Gateway-Fallback-Reason"] == "read_timeout"

    def test_done_is_the_whole_answer_less_its_text(self, ask, trail):
        done = events_of(ask(session_id="s-9", correlation_id="c-9"))[-1].data

        assert done.pop("latency_ms") >= 0
        assert done.pop("timings").keys() == {
            "queue_ms",
            "first_delta_ms",
            "audit_ms",
            "total_ms",
        }
        assert [a["upstream"] for a in done.pop("attempts")] == ["switch"]
        assert done == {
            "model_used": "m",
            "correlation_id": "c-9",
            "session_id": "s-9",
            "provider": "switch",
            "provider_used": "switch",
            "status": "ok",
            "degraded": False,
            "finish_reason": "stop",
            "fallback_reason": None,
            "usage": {"input_tokens": None, "output_tokens": None},
            "audit_id": trail.closed[0][0].id,
        }

    @pytest.mark.parametrize(
        "text", ["\n\nevent: done\ndata: {}\n\n", "a\r\nb\rc", "\u2028\x85", "\ud83d"]
    )
    def test_no_text_can_forge_an_event(self, ask, switch, text):
        switch.deltas = [text]

        events = events_of(ask())

        assert [e.name for e in events] == ["meta", "delta", "done"]
        assert text_of(events) == text

    def test_an_empty_delta_is_no_event(self, ask, switch):
        switch.deltas = ["a", "", "b"]

        assert [e.name for e in events_of(ask())].count("delta") == 2

    def test_usage_is_told(self, ask, switch):
        class Counts(type(switch)):
            def open(self, request, budget, turn=None):
                stream = super().open(request, budget)
                stream.on_end(lambda s: s.learn(ReplyFacts(usage=Usage(3, 4))))
                return stream

        switch.__class__ = Counts

        done = events_of(ask())[-1].data

        assert done["usage"] == {"input_tokens": 3, "output_tokens": 4}

    def test_nothing_between_may_hold_it_back_or_store_it(self, ask):
        headers = ask().headers

        assert headers["X-Accel-Buffering"] == "no"
        assert headers["Cache-Control"] == "no-store"
        assert "Content-Length" not in headers


class TestChoice:
    def test_accept_chooses_the_stream(self, client, token):
        headers = token | {"Accept": "text/event-stream"}
        answer = client.post(CHAT, json={"message": "Hello"}, headers=headers)

        assert answer.mimetype == "text/event-stream"

    @pytest.mark.parametrize(
        "accept",
        ["*/*", "application/json", "application/json, text/event-stream", "text/*"],
    )
    def test_json_is_for_those_who_take_either(self, client, token, accept):
        headers = token | {"Accept": accept}
        answer = client.post(CHAT, json={"message": "Hello"}, headers=headers)

        assert answer.mimetype == "application/json"

    def test_the_body_has_the_last_word(self, ask):
        answer = ask(stream=False, headers={"Accept": "text/event-stream"})

        assert answer.mimetype == "application/json"

    def test_a_stream_that_is_neither_true_nor_false(self, ask):
        assert ask(stream="yes").status_code == 422

    def test_an_unknown_stream_mode(self, ask, switch):
        answer = ask(headers={"X-Gateway-Stream-Mode": "psychic"})

        assert answer.status_code == 422
        assert switch.calls == 0


class TestEnding:
    def test_before_the_first_delta_a_refusal_keeps_its_status(
        self, ask, switch, madre
    ):
        switch.fail(NoAnswer("read_timeout"))
        madre.fail(NoAnswer("read_timeout"))

        answer = ask()

        assert answer.status_code == 503
        assert answer.json["code"] == NobodyAnswered.code
        assert answer.headers["Retry-After"]

    def test_a_reply_that_breaks_ends_with_an_error(self, ask, switch, trail):
        switch.deltas = ["Half an ans"]
        switch.breaks_with = Interrupted("truncated")

        *_, last = events = events_of(ask(correlation_id="c-9"))

        assert [e.name for e in events] == ["meta", "delta", "error"]
        assert last.data == {
            "code": "reply_interrupted",
            "detail": "the reply broke off",
            "correlation_id": "c-9",
            "retry_after": None,
        }
        [(_, closing)] = trail.closed
        assert (closing.outcome, closing.code) == ("failed", "reply_interrupted")
        assert "Half an ans" in closing.reply

    def test_a_reply_without_a_record_is_never_called_complete(self, ask, trail):
        class Dies(type(trail)):
            def finish(self, intent, closing, timeout, pulse):
                raise AuditUnavailable("disk full")

        trail.__class__ = Dies

        last = events_of(ask())[-1]

        assert last.name == "error"
        assert last.data["code"] == "audit_unavailable"
        assert last.data["retry_after"] >= 1

    def test_the_record_is_committed_before_the_last_event_leaves(self, call, trail):
        records_when_sent = []

        def write(data):
            if b"event: done" in data:
                records_when_sent.append(len(trail.closed))

        call(write)

        assert records_when_sent == [1]

    def test_a_draining_worker_says_so(self, ask, switch):
        class ShuttingDown(GatewayError):
            code = "shutting_down"

        switch.breaks_with = ShuttingDown()

        assert events_of(ask())[-1].data["code"] == "shutting_down"

    def test_a_bug_of_ours_ends_with_an_error_too(self, ask, switch):
        switch.breaks_with = RuntimeError("secret inner words")

        answer = ask()

        assert events_of(answer)[-1].data["code"] == "reply_interrupted"
        assert "secret" not in answer.get_data(as_text=True)

    def test_a_caller_who_cannot_be_written_to_cancels_the_reply(
        self, call, switch, trail
    ):
        switch.deltas = ["one ", "two ", "three "]
        sent = []

        def write(data):
            if b"two" in data:
                raise BrokenPipeError
            sent.append(data)

        with pytest.raises(BrokenPipeError):
            call(write)

        [(_, closing)] = trail.closed
        assert closing.outcome == Outcome.CANCELLED.value
        assert closing.code == CallerGone.code
        assert "one two" in closing.reply
        assert "three" not in closing.reply
        assert b"error" not in b"".join(sent)  # nothing follows half an event

    def test_a_response_that_is_never_sent_ends_its_stream(
        self, services, token, trail
    ):
        app = make_app(PerProcess(lambda: services))

        @app.after_request
        def break_down(response):
            raise RuntimeError("a hook broke")

        app.testing = False
        app.test_client().post(
            CHAT, json={"message": "Hi", "stream": True}, headers=token
        )

        assert [closing.outcome for _, closing in trail.closed] == ["cancelled"]


class AtHand:
    """Deltas that have all come in already."""

    def __init__(self, deltas, breaks_with):
        self._deltas, self._breaks_with = list(deltas), breaks_with

    def __iter__(self):
        return self

    def __next__(self):
        if self._deltas:
            return self._deltas.pop(0)
        raise self._breaks_with or StopIteration

    @property
    def is_ready(self):
        return bool(self._deltas)


class Fast(FakeUpstream):
    def _speak(self):
        return AtHand(map(Delta, self.deltas), self.breaks_with)


class TestFallingBehind:
    """Where words come in faster than they can be sent, they travel together."""

    @pytest.fixture
    def sent(self, call, switch):
        def sent(*deltas):
            switch.__class__, switch.deltas = Fast, deltas
            writes = []
            call(writes.append)
            return writes

        return sent

    def test_words_at_hand_are_sent_at_once(self, sent):
        meta, words, done = sent("one ", "two ", "three")

        assert b"event: meta" in meta
        assert words.count(b"event: delta") == 3
        assert words.index(b"one") < words.index(b"two") < words.index(b"three")
        assert b"event: done" in done

    def test_no_more_than_so_much_is_held_back(self, sent):
        assert max(map(len, sent(*["x" * 1000] * 100))) < HELD + 2000

    def test_an_error_comes_after_the_words_before_it(self, sent, switch):
        switch.breaks_with = Interrupted("truncated")

        _, words, error = sent("one ", "two ")

        assert (b"one" in words, b"two" in words) == (True, True)
        assert b"event: error" in error


class Talkative(FakeUpstream):
    """Keeps the budget that it is given."""

    def open(self, request, budget):
        self.budget = budget
        return super().open(request, budget)


class TestTime:
    """How long the words of a stream may flow."""

    @pytest.mark.parametrize(
        ("headers", "least", "most"),
        [
            ({}, 590, 600),
            ({"X-Gateway-Deadline-Ms": "20000"}, 10, 20),
            ({"X-Gateway-Deadline-Ms": "99000"}, 90, 99),
            ({"X-Gateway-Stream-Mode": "verified"}, 0, 30),
        ],
        ids=str,
    )
    def test_is_the_streams_own_unless_the_caller_asks_for_less(
        self, ask, switch, headers, least, most
    ):
        switch.__class__ = Talkative

        ask(headers=headers)

        assert least < switch.budget.flowing(600).remaining() <= most

    def test_of_what_began_in_time_is_told_at_its_end(self, ask, switch):
        switch.breaks_with = StreamLimit()

        *_, delta, error = events_of(ask())

        assert (delta.name, error.data["code"]) == ("delta", "stream_limit")


class TestChannel:
    @pytest.fixture
    def clock(self):
        return FakeClock()

    @pytest.fixture
    def channel(self, clock):
        return Channel(Budget(60, clock=clock), clock=clock)

    def test_nothing_is_sent_before_the_reply_has_begun(self, channel, clock):
        clock.advance(10)

        channel.beat()

    def test_a_beat_does_not_wait_for_a_caller_who_does_not_read(self, clock):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            channel = Channel(Budget(60, clock=clock), ours, clock)
            sent = []
            channel.open(sent.append)
            ours.setblocking(False)
            with suppress(BlockingIOError):
                while ours.send(b"x" * 4096):
                    pass
            clock.advance(2)

            channel.beat()
            assert sent == []

            while theirs.recv(65536, socket.MSG_DONTWAIT | socket.MSG_PEEK):
                theirs.recv(65536)
                channel.beat()
                if sent:
                    break
            assert sent == [COMMENT]

    @pytest.mark.parametrize(("lasting", "limit"), [(600, 5.0), (63, 3.0), (60, 0.2)])
    def test_a_caller_may_take_his_time_as_long_as_the_stream_lasts(
        self, clock, lasting, limit
    ):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            channel = Channel(Budget(60, clock=clock).streaming(lasting), ours, clock)
            channel.open(lambda data: None)
            clock.advance(60)

            channel.send(b"word")

            assert ours.gettimeout() == pytest.approx(limit)

    def test_silence_is_filled_within_two_seconds(self, channel, clock):
        sent = []
        channel.open(lambda data: sent.append(clock.now))
        for _ in range(40):
            clock.advance(0.25)  # how often a wait asks its budget
            channel.beat()

        assert max(b - a for a, b in zip([1000.0, *sent], sent, strict=False)) < 2

    def test_words_make_heartbeats_unnecessary(self, channel, clock):
        sent = []
        channel.open(sent.append)
        for _ in range(10):
            clock.advance(1)
            channel.send(b"word")
            channel.beat()

        assert COMMENT not in sent

    def test_a_broken_connection_stays_broken(self, channel):
        def write(data):
            raise ConnectionResetError

        channel.open(write)
        for _ in range(2):
            with pytest.raises(CallerGone):
                channel.send(b"word")

        assert channel.is_broken


@pytest.mark.parametrize("text", ["plain", 'a"b\\c\n\r\u2028', "é😀", "\ud83d"])
def test_a_text_event_is_the_same_as_any_other(text):
    made = TextEvents({"a": "1", "text": TextEvents.HERE, "b": [2]}, "delta")

    assert made(text) == event({"a": "1", "text": text, "b": [2]}, "delta")


def test_an_event_is_one_line_of_ascii():
    assert event({"é": "a\nb"}, "x") == b'event: x\ndata: {"\\u00e9":"a\\nb"}\n\n'
