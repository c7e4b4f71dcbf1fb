"""Servers that speak Anthropic's messages, against their stand-in and raw bytes."""

import json

import pytest

from app.gateway.abilities import COUNT
from app.gateway.budget import Budget
from app.gateway.chat import ChatRequest, Message, Usage
from app.gateway.errors import (
    BadReply,
    ContentFiltered,
    ContextTooLong,
    Interrupted,
    NoAnswer,
    Refused,
    Rejected,
    UnknownModel,
    UpstreamError,
)
from app.gateway.handler import Outcome
from app.upstreams.anthropic.upstream import AnthropicUpstream, Model
from app.upstreams.openai.upstream import Limits
from sandbox.anthropic import Anthropic, event
from sandbox.openai import Voice
from sandbox.server import SandboxServer
from tests.support.fakes import a_request
from tests.upstreams.raw_server import answering

KEY = "sk-canary-0123456789"
WORDS = [f"wörd{i}" for i in range(60)]
SPEECH = " ".join(WORDS)
SHORT = Limits(total=5.0, first_token=0.5, idle=0.5)
LOOKUP = {"name": "lookup", "parameters": {"type": "object"}}
TOOLS = {"tools": [{"type": "function", "function": LOOKUP}]}


@pytest.fixture
def server():
    with SandboxServer(Anthropic(KEY, voice=Voice(SPEECH, model="claude"))) as server:
        yield server


@pytest.fixture
def adapt(transport):
    def make(url, limits=SHORT, **options):
        facts = {"name": "claude", "api_key": KEY} | options
        return AnthropicUpstream(url=url, limits=limits, transport=transport, **facts)

    return make


@pytest.fixture
def upstream(server, adapt):
    return adapt(f"{server.url}/v1")


def ask(upstream, seconds=10, **fields):
    return upstream.open(a_request(**fields), Budget(seconds))


def sent(server):
    return server.requests[-1].json()


def start(**message):
    usage = {"input_tokens": 7, "output_tokens": 1}
    return event("message_start", message={"model": "raw", "usage": usage} | message)


def block(index=0, **fields):
    return event("content_block_start", index=index, content_block=fields)


def text_block(text="", index=0):
    return block(index, type="text", text=text)


def delta(index=0, **fields):
    return event("content_block_delta", index=index, delta=fields)


def text(text, index=0):
    return delta(index, type="text_delta", text=text)


def stop(index=0):
    return event("content_block_stop", index=index)


def end(reason="end_turn", sequence=None, **usage):
    told = {"stop_reason": reason, "stop_sequence": sequence}
    return event("message_delta", delta=told, usage={"output_tokens": 5} | usage)


DONE = event("message_stop")
PING = event("ping")
CALL = block(type="tool_use", id="toolu_1", name="lookup", input={})
ERROR = event("error", error={"type": "overloaded_error", "message": "Overloaded"})


def streamed(*events, head=b"Content-Type: text/event-stream"):
    opening = b"HTTP/1.1 200 OK\r\n" + head + b"\r\nConnection: close\r\n\r\n"
    return opening + b"".join(events)


def answered(body, status=200, *headers):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    head = "\r\n".join([f"HTTP/1.1 {status} X", *fields, *headers])
    return head.encode() + b"\r\n\r\n" + body


def message(*content, reason="end_turn", **fields):
    usage = {"input_tokens": 7, "output_tokens": 5}
    told = {"type": "message", "model": "raw", "content": list(content)}
    return told | {"stop_reason": reason, "usage": usage} | fields


SAYS = {"type": "text", "text": "Hello"}


@pytest.fixture
def raw(serve, adapt):
    """Ask a server that sends these events, and then closes."""

    def start(*events, **fields):
        server = serve(answering(streamed(*events)))
        return ask(adapt(server.url), stream=True, wants_choices=True, **fields)

    return start


@pytest.fixture
def answers(serve, adapt):
    """Ask a server that gives this as its whole answer."""

    def start(*answer, **fields):
        server = serve(answering(answered(*answer)))
        return ask(adapt(server.url), **{"wants_choices": True} | fields)

    return start


class TestWhole:
    def test_it_says_who_answered_and_what_was_spent(self, upstream):
        stream = ask(upstream)
        reply = stream.collect()

        assert (reply.text, reply.upstream, reply.model) == (SPEECH, "claude", "claude")
        assert reply.usage == Usage(1, len(WORDS))
        assert (reply.finish_reason, reply.choices) == ("stop", ())
        assert (stream.status, stream.received > 0) == (200, True)

    def test_the_server_gets_the_wire_it_knows(self, upstream, server):
        ask(upstream, model="m", extra={"temperature": 1.4, "stop": "END"})

        assert sent(server) == {
            "model": "m",
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
            ],
            "max_tokens": 4096,
            "temperature": 1.0,
            "stop_sequences": ["END"],
        }
        asked = server.requests[-1]
        assert asked.header("x-api-key") == KEY
        assert asked.header("anthropic-version") == "2023-06-01"
        assert asked.header("x-correlation-id") == "c-1"
        assert not asked.header("authorization")

    def test_its_own_model_and_limit_go_before_the_callers_model(self, server, adapt):
        ask(adapt(f"{server.url}/v1", model=Model("own", 99)), model="m")

        assert (sent(server)["model"], sent(server)["max_tokens"]) == ("own", 99)

    def test_a_tool_call_is_a_choice(self, upstream):
        reply = ask(upstream, extra=TOOLS, wants_choices=True).collect()

        (choice,) = reply.choices
        (call,) = choice["message"]["tool_calls"]
        assert (call["type"], call["id"]) == ("function", "toolu_sandbox")
        assert call["function"]["name"] == "lookup"
        assert json.loads(call["function"]["arguments"]) == {"question": "Hello"}
        assert choice["finish_reason"] == reply.finish_reason == "tool_calls"

    def test_thoughts_come_with_what_signs_them(self, answers):
        thought = {"type": "thinking", "thinking": "Hm", "signature": "abc"}
        reply = answers(message(thought, SAYS)).collect()

        (choice,) = reply.choices
        assert choice["message"] == {
            "role": "assistant",
            "content": "Hello",
            "reasoning_content": "Hm",
            "thinking_blocks": [thought],
        }

    @pytest.mark.parametrize(
        ("reason", "told"),
        [
            ("end_turn", "stop"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
            ("refusal", "content_filter"),
            ("pause_turn", "stop"),
            ("some_new_one", "stop"),
        ],
    )
    def test_reasons_are_told_in_the_words_of_all_dialects(self, answers, reason, told):
        assert answers(message(SAYS, reason=reason)).collect().finish_reason == told

    def test_a_stop_sequence_is_told(self, answers):
        body = message(SAYS, reason="stop_sequence", stop_sequence="END")

        (choice,) = answers(body).collect().choices

        assert (choice["finish_reason"], choice["stop_sequence"]) == ("stop", "END")
        assert choice["message"]["content"] == "Hello"

    def test_tokens_of_a_cache_count_as_the_other_dialects_count_them(self, answers):
        usage = {
            "input_tokens": 7,
            "cache_read_input_tokens": 20,
            "cache_creation_input_tokens": 3,
            "output_tokens": 5,
            "output_tokens_details": {"thinking_tokens": 2},
        }
        assert answers(message(SAYS, usage=usage)).collect().usage == Usage(
            30,
            5,
            {
                "prompt_tokens_details": {
                    "cached_tokens": 20,
                    "cache_creation_tokens": 3,
                },
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
        )

    @pytest.mark.parametrize(
        ("body", "fault"),
        [
            (message(SAYS, reason=None), "truncated"),
            (message(), "empty"),
            (message({"type": "text", "text": " \n"}), "empty"),
            (message({"type": "tool_use", "id": "x", "name": ""}), "bad_tool_call"),
            (message({"type": "text", "text": 7}), "schema"),
            (message("Hello"), "schema"),
            (message(SAYS) | {"content": "Hello"}, "schema"),
            (message(SAYS, reason=7), "schema"),
            ({"type": "message"}, "schema"),
            ([], "bad_json"),
            (b"<html>", "bad_json"),
            (message(*[SAYS] * 1025), "too_large"),
        ],
    )
    def test_what_is_no_answer_is_a_fault(self, answers, body, fault):
        with pytest.raises(BadReply, match=fault):
            answers(body)

    @pytest.mark.parametrize("reason", ["max_tokens", "stop_sequence", "refusal"])
    def test_an_answer_may_be_empty_if_the_request_made_it_so(self, answers, reason):
        assert answers(message(reason=reason)).collect().text == ""

    def test_a_caller_of_text_alone_hears_of_a_filter(self, answers):
        with pytest.raises(ContentFiltered):
            answers(message(reason="refusal"), wants_choices=False)

    def test_a_caller_of_text_alone_is_not_given_a_tool_call(self, upstream):
        with pytest.raises(BadReply, match="empty"):
            ask(upstream, extra=TOOLS)

    def test_an_error_in_the_body_of_a_200_is_one(self, upstream, server):
        server.break_with("status_error")

        with pytest.raises(BadReply, match="upstream_error"):
            ask(upstream)

    def test_a_tool_call_that_needs_no_arguments_has_an_empty_object(self, answers):
        call = {"type": "tool_use", "id": "x", "name": "now", "input": {}}

        (choice,) = answers(message(call, reason="tool_use")).collect().choices

        assert choice["message"]["tool_calls"][0]["function"]["arguments"] == "{}"


class TestStream:
    def test_it_comes_word_by_word(self, upstream):
        stream = ask(upstream, stream=True)
        assert stream.reply.usage.input_tokens == 1

        texts = [delta.text for delta in stream]

        assert "".join(texts) == SPEECH
        assert len(texts) == len(WORDS)
        assert stream.outcome is Outcome.COMPLETED
        assert stream.reply.usage == Usage(1, len(WORDS))
        assert (stream.reply.model, stream.reply.finish_reason) == ("claude", "stop")

    def test_a_tool_call_comes_in_pieces(self, upstream):
        reply = ask(upstream, stream=True, extra=TOOLS, wants_choices=True).collect()

        (choice,) = reply.choices
        (call,) = choice["message"]["tool_calls"]
        assert call["function"]["name"] == "lookup"
        assert json.loads(call["function"]["arguments"]) == {"question": "Hello"}
        assert choice["finish_reason"] == "tool_calls"

    def test_a_stream_that_is_odd_but_whole_is_read(self, upstream, server):
        server.break_with("stream_odd")

        assert ask(upstream, stream=True).collect().text == SPEECH

    def test_what_nobody_knows_is_passed_over(self, raw):
        reply = raw(
            PING,
            event("vendor_event", anything=[1]),
            start(),
            b": a comment\n\n",
            block(0, type="server_tool_use", id="x", name="search", input={}),
            delta(0, type="input_json_delta", partial_json="{"),
            stop(0),
            text_block(index=1),
            text("Hel", 1),
            delta(1, type="citations_delta", citation={}),
            b'data: {"type":{}}\n\n',
            text("lo", 1),
            stop(1),
            end(),
            DONE,
            text("behind the end", 1),
        ).collect()

        assert (reply.text, reply.choices) == ("Hello", ())

    def test_thoughts_and_their_signature(self, raw):
        reply = raw(
            start(),
            block(type="thinking", thinking="", signature=""),
            delta(type="thinking_delta", thinking="H"),
            delta(type="thinking_delta", thinking="m"),
            delta(type="signature_delta", signature="abc"),
            stop(),
            block(1, type="redacted_thinking", data="xyz"),
            stop(1),
            text_block(index=2),
            text("Yes", 2),
            stop(2),
            end(),
            DONE,
        ).collect()

        (choice,) = reply.choices
        assert choice["message"] == {
            "role": "assistant",
            "reasoning_content": "Hm",
            "thinking_blocks": [
                {"type": "thinking", "thinking": "Hm", "signature": "abc"},
                {"type": "redacted_thinking", "data": "xyz"},
            ],
            "content": "Yes",
        }

    def test_counts_that_cannot_be_are_not_known(self, raw):
        usage = {"input_tokens": 2**31 - 1, "output_tokens": 2**31}
        cached = {"cache_read_input_tokens": 2**62, "cache_creation_input_tokens": -1}
        reply = raw(
            start(usage=usage | cached), text_block(), text("a"), stop(), end(), DONE
        ).collect()

        assert reply.usage.input_tokens == 2**31 - 1

    def test_the_stop_sequence_is_told(self, raw):
        reply = raw(
            start(), text_block(), text("a"), stop(), end("stop_sequence", "X"), DONE
        ).collect()

        assert reply.choices[0]["stop_sequence"] == "X"

    def test_usage_at_the_end_replaces_that_of_the_beginning(self, raw):
        usage = {"input_tokens": 9, "cache_read_input_tokens": 1}
        stream = raw(start(), text_block(), text("a"), stop(), end(**usage), DONE)

        assert stream.collect().usage.input_tokens == 10

    @pytest.mark.parametrize(
        ("events", "fault"),
        [
            ((text("a"), stop(), end()), "truncated"),
            ((text("a"), stop(), DONE), "truncated"),
            ((text("a"), end(), DONE), "truncated"),
            ((text("a"),), "truncated"),
            ((text("a"), stop(), end(), DONE[:-30]), "truncated|protocol"),
            ((text("a"), b'data: {"type":"content_block_del\n\n'), "protocol"),
            ((text("a"), b'data {"type":"content_block_delta"}\n\n'), "protocol"),
            ((text("a"), text("b", index=3)), "protocol"),
            ((text("a"), text_block()), "protocol"),
            ((text("a"), stop(), stop()), "protocol"),
            ((text("a"), delta(type="text_delta", text=7)), "schema"),
            ((text("a"), event("content_block_start", index=1)), "schema"),
            ((text("a"), event("content_block_delta", index=0)), "schema"),
            ((text("a"), event("message_start")), "schema"),
            ((text("a"), ERROR), "http_5xx"),
            ((text("a"), b"event: error\ndata: dead\n\n"), "upstream_error"),
        ],
    )
    def test_half_an_answer_is_never_whole(self, raw, events, fault):
        with pytest.raises(UpstreamError, match=fault):
            raw(start(), text_block(), *events).collect()

    @pytest.mark.parametrize(
        ("pieces", "closed"),
        [(('{"a":',), True), (('{"a":1}',), False), (("[1]",), True)],
    )
    def test_half_a_tool_call_is_never_whole(self, raw, pieces, closed):
        said = [delta(type="input_json_delta", partial_json=p) for p in pieces]
        closing = [stop()] if closed else []

        with pytest.raises(BadReply, match=r"bad_tool_call|truncated"):
            raw(start(), CALL, *said, *closing, end("tool_use"), DONE).collect()

    @pytest.mark.parametrize(
        ("events", "kind", "fault"),
        [
            ((ERROR,), Refused, "http_5xx"),
            ((start(), PING, ERROR), Refused, "http_5xx"),
            ((start(), end(), DONE), BadReply, "empty"),
            ((start(),), BadReply, "truncated"),
            ((), BadReply, "truncated"),
            ((event("error", error={"type": "rate_limit_error"}),), Refused, "rate"),
            ((event("error", error={"message": "x"}),), BadReply, "upstream_error"),
        ],
    )
    def test_a_stream_that_never_began_lets_another_one_answer(
        self, raw, events, kind, fault
    ):
        with pytest.raises(kind, match=fault):
            raw(*events)

    def test_pings_are_no_words(self, upstream, server):
        server.break_with("stream_heartbeats")

        with pytest.raises((NoAnswer, Interrupted)):
            ask(upstream, stream=True).collect()

    @pytest.mark.parametrize("fault", ["stream_cut", "stream_no_done", "stream_stall"])
    def test_a_server_that_breaks_in_the_middle(self, upstream, server, fault):
        server.break_with(fault)
        stream = ask(upstream, stream=True)

        with pytest.raises(Interrupted):
            stream.collect()
        assert stream.outcome is Outcome.FAILED

    def test_a_server_that_does_not_stream_answers_all_the_same(self, serve, adapt):
        server = serve(answering(answered(message(SAYS))))

        assert ask(adapt(server.url), stream=True).collect().text == "Hello"

    def test_a_caller_who_leaves_closes_the_connection(self, upstream, server):
        server.break_with("stream_stall")
        ask(upstream, stream=True).close()

        assert server.wait_for_closed_by_peer(1)


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "kind", "words", "meaning", "fault"),
        [
            (529, "overloaded_error", "Overloaded", Refused, "http_5xx"),
            (429, "rate_limit_error", "rate limited", Refused, "rate_limited"),
            (401, "authentication_error", "invalid key", Refused, "upstream_auth"),
            (403, "permission_error", "not yours", Refused, "upstream_auth"),
            (404, "not_found_error", "model: m", UnknownModel, "unknown_model"),
            (413, "request_too_large", "exceeds", Rejected, "upstream_rejected"),
            (500, "api_error", "Internal", Refused, "http_5xx"),
            (504, "timeout_error", "late", Refused, "http_5xx"),
            (400, "invalid_request_error", "odd field", Rejected, "upstream_rejected"),
            (
                400,
                "invalid_request_error",
                "prompt is too long: 210000 tokens > 200000 maximum",
                ContextTooLong,
                "context_length",
            ),
            (
                400,
                "invalid_request_error",
                "input length and `max_tokens` exceed context limit: 199 + 8 > 200",
                ContextTooLong,
                "context_length",
            ),
            (
                400,
                "invalid_request_error",
                "Your credit balance is too low to access the API.",
                Refused,
                "quota",
            ),
            # A proxy's status, with the type of the server behind it.
            (500, "rate_limit_error", "slow down", Refused, "rate_limited"),
            (502, "invalid_request_error", "odd field", Rejected, "upstream_rejected"),
        ],
    )
    def test_each_is_what_its_type_and_words_say(
        self, answers, status, kind, words, meaning, fault
    ):
        body = {"type": "error", "error": {"type": kind, "message": words}}

        with pytest.raises(meaning, match=fault) as told:
            answers(body, status, model="m")

        assert type(told.value) is meaning
        assert told.value.status == status

    def test_the_callers_own_words_are_no_verdict(self, answers):
        own = "prompt is too long: 210000 tokens > 200000 maximum"
        body = {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": f"bad text: {own}"},
        }

        with pytest.raises(Rejected):
            answers(body, 400, text=own)

    @pytest.mark.parametrize(
        ("headers", "rest"),
        [
            (["Retry-After: 7"], 7),
            (["Retry-After: 7", "anthropic-ratelimit-tokens-remaining: 0"], 7),
            (
                [
                    "anthropic-ratelimit-requests-remaining: 0",
                    "anthropic-ratelimit-requests-reset: 2199-01-01T00:00:00Z",
                ],
                60,
            ),
            (
                [
                    "anthropic-ratelimit-requests-remaining: 3",
                    "anthropic-ratelimit-requests-reset: 2199-01-01T00:00:00Z",
                ],
                None,
            ),
            (
                [
                    "anthropic-ratelimit-tokens-remaining: 0",
                    "anthropic-ratelimit-tokens-reset: soon",
                ],
                None,
            ),
            (
                [
                    "anthropic-ratelimit-tokens-remaining: 0",
                    "anthropic-ratelimit-tokens-reset: 0001-01-01T00:00:00+23:59",
                ],
                0,
            ),
        ],
    )
    def test_a_rate_limit_says_how_long_to_rest(self, answers, headers, rest):
        body = {"type": "error", "error": {"type": "rate_limit_error"}}

        with pytest.raises(Refused) as told:
            answers(body, 429, *headers)

        assert told.value.retry_after == rest

    def test_a_wrong_key_is_the_gateways_own(self, server, adapt):
        with pytest.raises(Refused, match="upstream_auth"):
            ask(adapt(f"{server.url}/v1", api_key="sk-wrong"))


class TestCounting:
    def test_the_server_counts(self, upstream, server):
        said = (Message("system", "Be brief"), Message("user", "one two three"))
        request = ChatRequest(said, "s", "c", needs=frozenset({COUNT}), model="m")

        reply = upstream.open(request, Budget(5)).collect()

        assert (reply.text, reply.usage) == ("", Usage(3))
        assert server.requests[-1].path == "/v1/messages/count_tokens"
        assert sent(server).keys() == {"model", "messages", "system"}

    @pytest.mark.parametrize("count", [None, -1, True, "7"])
    def test_what_is_no_count_is_a_fault(self, answers, count):
        with pytest.raises(BadReply, match="schema"):
            answers({"input_tokens": count}, needs=frozenset({COUNT}))

    def test_a_server_that_cannot_count_lets_another_one(self, answers):
        with pytest.raises(BadReply, match="bad_status"):
            answers({"detail": "Not Found"}, 404, needs=frozenset({COUNT}))


def test_its_health_is_its_list_of_models(upstream, server):
    upstream.ping(Budget(5))

    assert server.requests[-1].path == "/v1/models"
    assert server.requests[-1].header("x-api-key") == KEY
