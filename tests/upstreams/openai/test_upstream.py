"""Servers that speak OpenAI's chat completions, against their stand-in."""

import json
from time import monotonic

import pytest

from app.gateway.budget import Budget
from app.gateway.chat import ChatRequest, Message, Usage
from app.gateway.errors import (
    BadReply,
    CallerFault,
    CallerGone,
    ContentFiltered,
    ContextTooLong,
    Interrupted,
    NoAnswer,
    Refused,
    UnknownModel,
)
from app.gateway.handler import Outcome
from app.upstreams.openai.upstream import Limits, OpenAIUpstream
from sandbox.openai import OpenAI, Voice
from sandbox.server import SandboxServer
from tests.support.fakes import a_request
from tests.upstreams.raw_server import answering, serving

KEY = "sk-canary-0123456789"
WORDS = [f"wörd{i}" for i in range(60)]
SPEECH = " ".join(WORDS)
SHORT = Limits(total=5.0, first_token=0.5, idle=0.5)
SMALL = Limits(total=5.0, first_token=0.5, idle=0.5, size=1_000_000)
TOOLS = [{"type": "function", "function": {"name": "lookup", "parameters": {}}}]


@pytest.fixture
def server():
    with SandboxServer(OpenAI(KEY, voice=Voice(SPEECH, model="stand-in"))) as server:
        yield server


@pytest.fixture
def adapt(transport):
    def make(url, limits=SHORT, **options):
        facts = {"name": "vllm", "api_key": KEY} | options
        return OpenAIUpstream(url=url, limits=limits, transport=transport, **facts)

    return make


@pytest.fixture
def upstream(server, adapt):
    return adapt(f"{server.url}/v1")


def ask(upstream, seconds=10, **fields):
    return upstream.open(a_request(**fields), Budget(seconds))


def body_of(server):
    return server.requests[-1].json()


def head_of(server, name):
    return server.requests[-1].header(name)


def sse(*chunks):
    """A stream of these events; what begins with a field's name is a line as it is."""
    lines = [c if c.startswith(b"error:") else b"data: " + c for c in chunks]
    body = b"".join(line + b"\n\n" for line in lines)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close"
    return head + b"\r\n\r\n" + body


def chunk(text=None, reason=None, index=0, **delta):
    delta |= {} if text is None else {"content": text}
    choice = {"index": index, "delta": delta, "finish_reason": reason}
    return json.dumps({"model": "raw", "choices": [choice]}).encode()


def call(arguments, name="", key=""):
    function = {"name": name, "arguments": arguments}
    part = {"index": 0, "id": key, "type": "function", "function": function}
    return chunk(tool_calls=[part])


def message(reason="stop", **said):
    """A whole answer of one choice."""
    choice = {"index": 0, "message": {"role": "assistant"} | said}
    return {"model": "raw", "choices": [choice | {"finish_reason": reason}]}


@pytest.fixture
def raw(serve, adapt):
    """Ask a server that sends these chunks, and then closes."""

    def start(*chunks, **fields):
        server = serve(answering(sse(*chunks)))
        return ask(adapt(server.url), stream=True, **fields)

    return start


@pytest.fixture
def answers(serve, adapt):
    """Ask a server that gives this object as its whole answer."""

    def start(body, **fields):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
        server = serve(answering(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + body))
        return ask(adapt(server.url), **fields)

    return start


def read(raw, *chunks, **fields):
    return raw(*chunks, **fields).collect()


class TestWhole:
    def test_a_whole_answer_tells_its_words_model_and_usage(self, upstream):
        reply = ask(upstream).collect()

        assert (reply.text, reply.model, reply.upstream) == (SPEECH, "stand-in", "vllm")
        assert reply.usage == Usage(1, 60)
        assert (reply.finish_reason, reply.choices) == ("stop", ())

    def test_the_key_is_shown_as_bearer_and_the_deadline_is_told(
        self, upstream, server
    ):
        ask(upstream)

        assert head_of(server, "authorization") == f"Bearer {KEY}"
        assert head_of(server, "x-correlation-id") == "c-1"
        assert 0 < int(head_of(server, "x-gateway-deadline-remaining-ms")) <= 10_000

    def test_the_callers_fields_and_messages_go_through_untouched(
        self, upstream, server
    ):
        raw = {"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": "n"}
        request = ChatRequest(
            messages=(Message("system", "Be brief."), Message("user", "Hi", raw)),
            session_id="s",
            correlation_id="c-1",
            model="theirs",
            extra={
                "temperature": 0.1,
                "chat_template_kwargs": {"a": [1]},
                "stream": "nonsense",
                # A proxy behind us would obey these, under our key.
                "api_base": "http://elsewhere.example",
                "fallbacks": ["a-dear-model"],
                "models": ["a-dear-model"],
                "extra_headers": {"x": "y"},
                "extra_body": {"store": True},
                # These are the server's own affair.
                "service_tier": "flex",
                "store": True,
                "custom": 1,
            },
        )

        upstream.open(request, Budget(10))

        assert body_of(server) == {
            "model": "theirs",
            "messages": [{"role": "system", "content": "Be brief."}, raw],
            "temperature": 0.1,
            "chat_template_kwargs": {"a": [1]},
            "service_tier": "flex",
            "store": True,
            "custom": 1,
        }

    def test_the_configured_model_goes_before_the_callers(self, adapt, server):
        ask(adapt(f"{server.url}/v1", model="ours"), model="theirs")

        assert body_of(server)["model"] == "ours"

    def test_tool_calls_come_back_as_they_were_sent(self, upstream):
        reply = ask(upstream, wants_choices=True, extra={"tools": TOOLS}).collect()

        (choice,) = reply.choices
        assert (reply.text, reply.finish_reason) == ("", "tool_calls")
        assert choice["message"]["tool_calls"][0]["function"]["name"] == "lookup"

    def test_several_choices_come_back_all(self, upstream):
        reply = ask(upstream, extra={"n": 3}).collect()

        assert [c["index"] for c in reply.choices] == [0, 1, 2]

    @pytest.mark.parametrize(
        ("fault", "meaning"),
        [
            ("reply_empty", "empty"),
            ("reply_blank", "empty"),
            ("reply_null", "empty"),
            ("reply_number", "schema"),
        ],
    )
    def test_what_is_no_text_is_no_answer(self, upstream, server, fault, meaning):
        server.break_with(fault)

        with pytest.raises(BadReply, match=meaning):
            ask(upstream)

    @pytest.mark.parametrize(
        ("fault", "error", "meaning"),
        [
            ("context_length", ContextTooLong, "context_length"),
            ("content_filter", ContentFiltered, "content_filter"),
            ("unknown_model", UnknownModel, "unknown_model"),
            ("reject_400", CallerFault, "upstream_rejected"),
            ("unauthorized", Refused, "upstream_auth"),
            ("rate_limited", Refused, "rate_limited"),
            ("http_status", Refused, "http_5xx"),
            ("status_error", BadReply, "upstream_error"),
            ("html", BadReply, "bad_content_type"),
            ("redirect", BadReply, "redirect"),
        ],
    )
    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    def test_a_refusal_is_known_by_its_class(
        self, upstream, server, fault, error, meaning, stream
    ):
        server.break_with(fault)

        with pytest.raises(error) as caught:
            ask(upstream, stream=stream)

        assert type(caught.value) is error
        assert (caught.value.fault, str(caught.value)) == (meaning, meaning)


class TestStreamed:
    def test_words_come_as_they_are_sent_and_the_facts_at_the_end(self, upstream):
        stream = ask(upstream, stream=True)

        deltas = [delta.text for delta in stream]

        assert "".join(deltas) == SPEECH
        assert len(deltas) == 60
        reply = stream.reply
        assert (reply.text, reply.model) == (SPEECH, "stand-in")
        assert (reply.usage, reply.finish_reason) == (Usage(1, 60), "stop")
        assert (stream.outcome, stream.status) == (Outcome.COMPLETED, 200)
        assert stream.received > 60 * 100

    def test_usage_is_asked_for_beside_the_callers_own_options(self, upstream, server):
        ask(upstream, stream=True, extra={"stream_options": {"own": 1}}).collect()

        told = body_of(server)
        assert told["stream"] is True
        assert told["stream_options"] == {"own": 1, "include_usage": True}

    def test_the_connection_is_kept_for_the_next_stream(self, upstream, server):
        for _ in range(3):
            ask(upstream, stream=True).collect()

        assert server.connections == 1

    def test_tool_calls_stream_through(self, upstream):
        stream = ask(upstream, stream=True, wants_choices=True, extra={"tools": TOOLS})

        parts = [
            call["function"]
            for delta in stream
            for choice in delta.choices
            for call in choice["delta"]["tool_calls"]
        ]

        assert parts[0]["name"] == "lookup"
        said = json.loads("".join(part["arguments"] for part in parts))
        assert said == {"question": "Hello"}
        assert stream.reply.finish_reason == "tool_calls"
        assert stream.reply.choices == ({"index": 0, "finish_reason": "tool_calls"},)

    def test_several_choices_stream_through_and_all_must_finish(self, upstream):
        stream = ask(upstream, stream=True, extra={"n": 2})

        texts = {0: "", 1: ""}
        for delta in stream:
            for choice in delta.choices:
                assert choice["finish_reason"] is None
                texts[choice["index"]] += choice["delta"].get("content", "")

        assert texts == {0: SPEECH, 1: SPEECH}
        assert stream.reply.text == SPEECH
        assert [c["finish_reason"] for c in stream.reply.choices] == ["stop", "stop"]

    def test_one_choice_of_two_that_never_finishes_is_no_end(self, raw):
        one = json.dumps(
            {
                "choices": [
                    {"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"},
                    {"index": 1, "delta": {"content": "b"}, "finish_reason": None},
                ]
            }
        ).encode()

        with pytest.raises((BadReply, Interrupted), match="truncated"):
            read(raw, one)

    @pytest.mark.parametrize("fault", ["stream_odd", "stream_malformed"])
    def test_what_is_odd_but_whole_is_a_whole_answer(self, upstream, server, fault):
        server.break_with(fault)

        reply = ask(upstream, stream=True).collect()

        assert (reply.text, reply.usage) == (SPEECH, Usage(1, 60))

    @pytest.mark.parametrize(
        ("fault", "knobs", "words", "meaning"),
        [
            ("stream_cut", {}, 40, "truncated"),
            ("stream_cut", {"reset": True}, 40, "truncated"),
            ("stream_cut", {"clean": True}, 40, "truncated"),
            ("stream_stall", {}, 20, "stream_idle"),
            ("stream_heartbeats", {"after": 5, "interval": 0.05}, 5, "stream_idle"),
            (
                "stream_heartbeats",
                {"after": 5, "interval": 0.05, "roles": True},
                5,
                "stream_idle",
            ),
            ("stream_malformed", {"instead": True}, 9, "protocol"),
            ("stream_bad_utf8", {}, 10, "protocol"),
            ("stream_error", {}, 10, "upstream_error"),
            ("stream_error", {"code": "rate_limit_exceeded"}, 10, "rate_limited"),
            ("stream_error", {"text": "context length"}, 10, "context_length"),
        ],
    )
    def test_a_stream_that_breaks_is_interrupted_after_its_words(
        self, upstream, server, fault, knobs, words, meaning
    ):
        server.break_with(fault, **knobs)
        stream = ask(upstream, stream=True)

        with pytest.raises(Interrupted, match=meaning):
            stream.collect()

        assert stream.reply.text == " ".join(WORDS[:words])
        assert stream.outcome is Outcome.FAILED

    @pytest.mark.parametrize(
        ("fault", "knobs"),
        [
            ("hang", {}),
            ("stream_late", {}),
            ("stream_heartbeats", {"interval": 0.05}),
            ("stream_heartbeats", {"interval": 0.05, "roles": True}),
        ],
    )
    def test_a_stream_without_words_has_not_begun(self, upstream, server, fault, knobs):
        server.break_with(fault, **knobs)
        started = monotonic()

        with pytest.raises(NoAnswer, match="first_token"):
            ask(upstream, stream=True)

        assert monotonic() - started < 2.5
        assert server.wait_for_closed_by_peer(1)

    def test_the_deadline_is_told_apart_from_the_limits_between_words(
        self, adapt, server
    ):
        server.break_with("stream_stall")
        upstream = adapt(f"{server.url}/v1", Limits(5, 5, 5))

        with pytest.raises(Interrupted, match="deadline"):
            ask(upstream, seconds=0.5, stream=True).collect()

    @pytest.mark.parametrize("hold", [False, True], ids=["closes", "stays open"])
    def test_a_missing_end_mark_after_the_finish_reason_is_a_normal_end(
        self, adapt, server, hold
    ):
        server.break_with("stream_no_done", hold=hold)
        upstream = adapt(f"{server.url}/v1", Limits(30, 30, 30))
        started = monotonic()

        reply = ask(upstream, seconds=30, stream=True).collect()

        assert (reply.text, reply.usage) == (SPEECH, Usage(1, 60))
        assert monotonic() - started < 8

    def test_an_end_mark_without_a_finish_reason_is_an_end(self, raw):
        assert raw(chunk("Hi"), b"[DONE]").collect().text == "Hi"

    def test_an_answer_cut_by_its_length_limit_is_complete_as_given(self, raw):
        reply = raw(chunk("So"), chunk("me", "length"), b"[DONE]").collect()

        assert (reply.text, reply.finish_reason) == ("Some", "length")

    def test_words_that_a_filter_took_are_told_as_they_are(self, raw):
        reply = read(raw, chunk(reason="content_filter"), b"[DONE]", wants_choices=True)

        assert (reply.text, reply.finish_reason) == ("", "content_filter")

    @pytest.mark.parametrize(
        ("chunks", "meaning"),
        [
            ((), "truncated"),
            ((chunk(role="assistant"),), "truncated"),
            ((b"[DONE]",), "empty"),
            ((chunk("", "stop"), b"[DONE]"), "empty"),
            ((chunk(" "), chunk("\n", "stop"), b"[DONE]"), "empty"),
            ((chunk("Hi"), chunk("there")), "truncated"),
            ((chunk("Hi", "error"), b"[DONE]"), "upstream_error"),
            ((b'{"choices": "none"}', b"[DONE]"), "schema"),
            ((b'{"choices": [{"delta": {"content": 5}}]}', b"[DONE]"), "schema"),
            ((b'{"error": {"message": "dead"}}', b"[DONE]"), "upstream_error"),
        ],
    )
    def test_what_is_no_answer_is_never_taken_for_one(self, raw, chunks, meaning):
        with pytest.raises((BadReply, Interrupted), match=meaning):
            read(raw, *chunks)

    def test_thoughts_alone_are_no_text(self, raw):
        thought = chunk(reasoning_content="hm")

        with pytest.raises((BadReply, Interrupted), match="empty"):
            read(raw, thought, chunk(reason="stop"), b"[DONE]")

    def test_thoughts_before_an_answer_are_passed_on(self, serve, adapt):
        parts = (chunk(reasoning_content="hm"), chunk("Yes", "stop"), b"[DONE]")
        stream = ask(adapt(serve(answering(sse(*parts))).url), stream=True)

        deltas = list(stream)

        assert deltas[0].choices[0]["delta"]["reasoning_content"] == "hm"
        assert [delta.text for delta in deltas] == ["", "Yes"]

    def test_a_server_that_does_not_stream_gives_one_delta(self, serve, adapt):
        message = {"role": "assistant", "content": "All at once"}
        body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]})
        head = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
        server = serve(answering(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}".encode()))

        stream = ask(adapt(server.url), stream=True)

        assert [delta.text for delta in stream] == ["All at once"]

    def test_closing_a_stream_closes_its_connection_at_once(self, adapt):
        voice = Voice(SPEECH, pace=0.2)
        with SandboxServer(OpenAI(KEY, voice=voice)) as server:
            stream = ask(adapt(f"{server.url}/v1"), stream=True)
            said = next(stream).text
            started = monotonic()
            stream.close()

            assert server.wait_for_closed_by_peer(1)
            assert monotonic() - started < 2
            assert stream.reply.text == said
            assert (stream.outcome, stream.error) == (Outcome.CANCELLED, None)

    def test_a_caller_who_leaves_while_it_is_silent_is_noticed(self, upstream, server):
        server.break_with("stream_stall", after=3)
        has_left = []

        def check():
            if has_left:
                raise CallerGone

        stream = upstream.open(a_request(stream=True), Budget(10, check))
        next(stream)
        has_left.append(True)

        with pytest.raises(CallerGone):
            stream.collect()
        assert server.wait_for_closed_by_peer(1)


def test_a_server_over_tls_is_verified(serve, adapt, tls, ca_file):
    parts = sse(chunk("Safe", "stop"), b"[DONE]")
    server = serve(answering(parts), tls=tls)

    assert ask(adapt(server.url), stream=True).collect().text == "Safe"


class TestHealth:
    def test_health_is_asked_of_the_list_of_models(self, upstream, server):
        upstream.ping(Budget(2))

        (request,) = server.requests
        assert (request.method, request.path) == ("GET", "/v1/models")
        assert server.chats == 0

    def test_it_may_have_a_path_of_its_own_and_the_key_is_shown(self, adapt, serve):
        server = serve(serving)
        upstream = adapt(server.url, api_key="sk-own", health="/health/readiness")

        upstream.ping(Budget(2))

        assert server.requests[0].startswith(b"GET /health/readiness HTTP/1.1\r\n")
        assert b"Authorization: Bearer sk-own" in server.requests[0]

    def test_a_server_in_trouble_is_not_alive(self, upstream, server):
        server.break_with("http_status", status=503, path="*")

        with pytest.raises(Refused):
            upstream.ping(Budget(2))


def test_the_callers_words_cannot_forge_fields_that_are_ours(upstream, server):
    forged = {"model": "x", "messages": [], "stream": True}

    ask(upstream, extra=forged, model="mine").collect()

    sent = body_of(server)
    assert (sent["model"], len(sent["messages"]), "stream" in sent) == (
        "mine",
        1,
        False,
    )


def test_a_request_is_not_changed_by_asking(upstream):
    extra = {"stream_options": {"a": 1}}
    request = a_request(stream=True)._replace(extra=extra)

    upstream.open(request, Budget(10)).collect()

    assert extra == {"stream_options": {"a": 1}}


WORDY = (chunk("So "), chunk("far"))
DONE = b"[DONE]"
BROKEN = (BadReply, Interrupted)  # before the reply has begun, or after


class TestCutAnswers:
    """An answer that was cut is never taken for a whole one."""

    @pytest.mark.parametrize(
        "told",
        [
            b'error: {"code":500,"message":"KV cache full","type":"server_error"}',
            b'{"object":"error","message":"engine dead","code":500}',
            b'{"detail":"engine dead"}',
            b'{"message":"engine dead"}',
            b'{"error":"engine dead"}',
            b'{"choices":[{"index":0,"delta":{},"error":{"code":502}}]}',
        ],
    )
    def test_an_error_between_the_words_and_the_end_mark_is_heard(self, raw, told):
        with pytest.raises(BROKEN, match="upstream_error"):
            read(raw, *WORDY, told, DONE)

    @pytest.mark.parametrize("body", [{"object": "error", "message": "dead"}])
    def test_and_so_it_is_in_place_of_a_whole_answer(self, answers, body):
        with pytest.raises(BadReply, match="upstream_error"):
            answers(body)

    @pytest.mark.parametrize(
        "chunks",
        [
            (call("", "lookup", "c1"), call('{"question": "Wh')),
            (*WORDY, call("", "lookup", "c1")),
            (*WORDY, b'{"status":"engine dead"}'),
            (*WORDY, b"engine dead"),
            (*WORDY, chunk("x", "stop"), chunk("y", index=1)),
            (*WORDY, chunk("y", index=1)),
        ],
        ids=str,
    )
    def test_an_end_mark_alone_ends_nothing_but_one_text(self, raw, chunks):
        with pytest.raises(BROKEN, match="truncated"):
            read(raw, *chunks, DONE, wants_choices=True)

    def test_one_choice_of_two_is_not_all_that_was_asked_for(self, raw):
        chunks = (chunk("a"), chunk("b", index=1), chunk(reason="stop"))

        with pytest.raises(BROKEN, match="truncated"):
            read(raw, *chunks, DONE, wants_choices=True, extra={"n": 2})

    def test_a_text_that_the_end_mark_alone_ends_is_told_as_stopped(self, raw):
        assert read(raw, *WORDY, DONE).finish_reason == "stop"

    def test_what_was_cut_has_no_finish_reason_on_record(self, raw):
        stream = raw(call("{", "lookup", "c1"), wants_choices=True)

        with pytest.raises(Interrupted):
            stream.collect()

        assert stream.reply.choices == ({"index": 0, "finish_reason": None},)

    def test_words_that_are_lost_with_a_broken_line_are_missed(self, serve, adapt):
        body = sse(chunk("One "), chunk("two "), chunk("three", "stop"), DONE)
        lost = body.replace(b"data: ", b"dbta: ", 2).replace(b"dbta: ", b"data: ", 1)

        with pytest.raises(BROKEN, match="protocol"):
            ask(adapt(serve(answering(lost)).url), stream=True).collect()

    @pytest.mark.parametrize("elsewhere", ["message", "text"])
    def test_words_in_the_wrong_place_are_not_just_lost(self, raw, elsewhere):
        said = {"message": {"content": "lost"}, "text": "lost"}[elsewhere]
        for index in ({"index": 0}, {}):
            odd = json.dumps({"choices": [{elsewhere: said} | index]}).encode()
            with pytest.raises(BROKEN, match="schema"):
                read(raw, chunk("One "), odd, chunk("three", "stop"), DONE)

    @pytest.mark.parametrize(
        "told",
        [
            b'data: {"error_code":17,"error_msg":"no"}\n\n',
            b'data: {"code":500,"msg":"no"}\n\n',
            b'data: {"success":false}\n\n',
            b'data: {"status":"failed"}\n\n',
            b'data: {"base_resp":{"status_code":1008}}\n\n',
            b'event: Error\ndata: {"no":1}\n\n',
            b"event: exception\ndata: no\n\n",
            b'{"error":{"message":"no"}}\n\n',
            b"<html><body>502 Bad Gateway</body></html>\n\n",
            b"data: [ERROR] no\n\n",
            b"Internal Server Error\n\n",
        ],
        ids=str,
    )
    def test_an_error_behind_the_reason_is_told_in_any_shape(self, serve, adapt, told):
        said = sse(chunk("One "), chunk("two", "stop"), DONE)
        body = said.replace(b"data: [DONE]", told + b"data: [DONE]")

        with pytest.raises(BROKEN):
            ask(adapt(serve(answering(body)).url), stream=True).collect()

    @pytest.mark.parametrize(
        "told",
        [b": ping\n\n", b"ping\n\n", b'data: {"status":"queued"}\n\n', b"data:\n\n"],
        ids=str,
    )
    def test_a_sign_of_life_behind_it_is_none(self, serve, adapt, told):
        said = sse(chunk("One "), chunk("two", "stop"), DONE)
        body = said.replace(b"data: [DONE]", told + b"data: [DONE]")

        stream = ask(adapt(serve(answering(body)).url), stream=True)

        assert stream.collect().text == "One two"


class TestFinishReasons:
    @pytest.mark.parametrize(
        "reason",
        [
            "abort",
            "aborted",
            "cancelled",
            "canceled",
            "insufficient_system_resource",
            "network_error",
            "Error",
            "rate_limit",
            "upstream-disconnected",
            "engineError",
            "preempted",
        ],
    )
    def test_who_broke_off_has_not_answered(self, raw, answers, reason):
        with pytest.raises(BROKEN, match="upstream_error"):
            read(raw, chunk("So"), chunk("far", reason), DONE)
        with pytest.raises(BadReply, match="upstream_error"):
            answers(message(reason, content="So far"))

    @pytest.mark.parametrize(
        "reason", ["MALFORMED_FUNCTION_CALL", "unexpectedToolCall"]
    )
    def test_a_call_that_the_model_has_broken_is_a_bad_one(self, raw, answers, reason):
        with pytest.raises(BROKEN, match="bad_tool_call"):
            read(raw, chunk("So"), chunk("far", reason), DONE)
        with pytest.raises(BadReply, match="bad_tool_call"):
            answers(message(reason, content="So far"))

    @pytest.mark.parametrize("reason", ["null", "", None, "FINISH_REASON_UNSPECIFIED"])
    def test_none_yet_is_said_in_many_ways(self, raw, reason):
        with pytest.raises(BROKEN, match="truncated"):
            read(raw, chunk("So", reason), chunk("far", reason))

    @pytest.mark.parametrize(
        ("said", "meant"),
        [
            ("eos", "stop"),
            ("END_TURN", "stop"),
            ("stop_sequence", "stop"),
            ("max_tokens", "length"),
            ("token-limit", "length"),
            ("model_context_window_exceeded", "length"),
            ("tool_use", "tool_calls"),
            ("FINISH_REASON_STOP", "stop"),
            ("completed", "stop"),
            ("</s>", "stop"),
            ("PROHIBITED_CONTENT", "content_filter"),
            ("guardrailIntervened", "content_filter"),
            ("ERROR_TOXIC", "content_filter"),
        ],
    )
    def test_others_words_are_told_in_openais(self, raw, answers, said, meant):
        whole = answers(message(said, content="Hi", refusal="x"), wants_choices=True)

        assert read(raw, chunk("Hi", said)).finish_reason == meant
        assert whole.reply.finish_reason == meant
        assert whole.reply.choices[0]["finish_reason"] == meant

    def test_an_unknown_word_is_no_finish_reason_but_is_told(self, raw, answers):
        with pytest.raises(BROKEN, match="truncated"):
            read(raw, chunk("Hi", "whatever"))
        assert read(raw, chunk("Hi", "whatever"), DONE).finish_reason == "whatever"
        assert answers(message("whatever", content="Hi")).reply.text == "Hi"

    def test_an_unknown_word_ends_no_tool_call(self, raw, answers):
        calls = [{"id": "c1", "type": "function", "function": {"name": "f"}}]

        with pytest.raises(BROKEN, match="truncated"):
            read(
                raw, call("{", "f", "c1"), chunk(reason="odd"), DONE, wants_choices=True
            )
        with pytest.raises(BadReply, match="truncated"):
            answers(message("odd", tool_calls=calls), wants_choices=True)


CALLS = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


class TestToldAsText:
    """Whoever came by another door than OpenAI's is told the text alone."""

    @pytest.mark.parametrize(
        ("reason", "said"),
        [
            ("tool_calls", {"content": None, "tool_calls": CALLS}),
            ("length", {"content": None, "reasoning_content": "hm"}),
            ("stop", {"content": "\u200b\ufeff \u2060"}),
            ("stop", {"content": None, "refusal": " "}),
        ],
        ids=str,
    )
    def test_an_answer_without_text_is_none(self, answers, raw, reason, said):
        with pytest.raises(BadReply, match="empty"):
            answers(message(reason, **said))
        with pytest.raises(BadReply, match="empty"):
            raw(chunk(**said), chunk(reason=reason), DONE)

    def test_what_a_filter_took_is_told_as_that(self, answers, raw):
        with pytest.raises(ContentFiltered):
            answers(message("content_filter", content=""))
        with pytest.raises(ContentFiltered):
            raw(chunk("", "content_filter"), DONE)

    def test_a_refusal_is_its_text(self, answers, raw):
        whole = answers(message(content=None, refusal="I will not."))
        chunks = (chunk(refusal="I will"), chunk(refusal=" not."), chunk(reason="stop"))

        assert whole.collect().text == "I will not."
        assert read(raw, *chunks).text == "I will not."

    def test_thoughts_alone_do_not_begin_the_reply(self, raw):
        """Nothing is sent yet, so the next upstream may still answer instead."""
        with pytest.raises(BadReply, match="truncated"):
            raw(chunk(reasoning_content="hm"))

    def test_openais_callers_get_all_of_that_as_it_is(self, answers, raw):
        whole = answers(message("tool_calls", tool_calls=CALLS), wants_choices=True)

        assert whole.reply.choices[0]["message"]["tool_calls"] == CALLS
        raw(chunk(reasoning_content="hm"), wants_choices=True)

    def test_for_them_too_zero_width_is_nothing(self, answers):
        with pytest.raises(BadReply, match="empty"):
            answers(message(content="\u200b"), wants_choices=True)


@pytest.mark.parametrize(
    "drip",
    [
        call(""),
        call(" "),
        chunk(tool_calls=[{}]),
        chunk(reasoning_content=" "),
        chunk(refusal="\n"),
        chunk("\u200b"),
    ],
    ids=str,
)
def test_a_drip_of_nothing_does_not_keep_a_stream_alive(serve, adapt, drip):
    def script(peer):
        peer.read_request()
        peer.send(sse(chunk("Hi")))
        while True:
            peer.send(b"data: " + drip + b"\n\n")
            peer.pause(0.1)

    stream = ask(adapt(serve(script).url), seconds=3, stream=True, wants_choices=True)

    with pytest.raises(Interrupted, match="stream_idle"):
        stream.collect()


@pytest.mark.parametrize("number", [-1, 2**31, 2**63, 10**30, True, 1.5, "7", None])
def test_a_count_that_is_none_is_not_known(answers, number):
    usage = {"prompt_tokens": number, "completion_tokens": 2**31 - 1}

    reply = answers({**message(content="Hi"), "usage": usage}).reply

    assert reply.usage == Usage(None, 2**31 - 1)


def test_numbers_of_tokens_may_have_a_point(answers):
    usage = {"prompt_tokens": 5.0, "completion_tokens": 6.5}

    reply = answers({**message(content="Hi"), "usage": usage}).reply

    assert reply.usage == Usage(5, None)


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ([{"prompt_tokens": 5}, {"completion_tokens": 6}], Usage(5, 6)),
        ([{"prompt_tokens": 5, "completion_tokens": 6}, {}], Usage(5, 6)),
        ([{"prompt_tokens": 5, "completion_tokens": 6}, None], Usage(5, 6)),
        (
            [
                {"prompt_tokens": 5, "completion_tokens": 6},
                {"prompt_tokens": None, "completion_tokens": None},
            ],
            Usage(5, 6),
        ),
    ],
    ids=str,
)
def test_what_a_later_chunk_leaves_open_of_the_usage_stays(serve, adapt, told, usage):
    first, last = told
    said = (
        json.dumps({**json.loads(chunk("Hi")), "usage": first}).encode(),
        json.dumps({**json.loads(chunk(reason="stop")), "usage": last}).encode(),
    )

    stream = ask(adapt(serve(answering(sse(*said, DONE))).url), stream=True)

    assert stream.collect().usage == usage


def test_the_details_of_the_usage_are_kept(answers):
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 2, "odd": "x", "huge": 2**63},
        "completion_tokens_details": None,
    }

    reply = answers({**message(content="Hi"), "usage": usage}).reply

    assert reply.usage.details == {"prompt_tokens_details": {"cached_tokens": 2}}


@pytest.mark.parametrize("name", ["m" * 201, "a\nb", "\x1b[31m", " ", 5, None])
def test_a_model_without_a_usable_name_is_called_as_it_was_asked(answers, raw, name):
    body = {**message(content="Hi"), "model": name}
    streamed = json.loads(chunk("Hi", "stop")) | {"model": name}

    assert answers(body, model="wanted").reply.model == "wanted"
    told = raw(json.dumps(streamed).encode(), model="wanted")
    assert told.collect().model == "wanted"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "to be streamed"])
def test_tool_calls_of_no_shape_are_none(answers, stream):
    with pytest.raises(BadReply, match="bad_tool_call"):
        answers(
            message("tool_calls", tool_calls=["x"]), stream=stream, wants_choices=True
        )


FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "content_filter", "message": "no"}, ContentFiltered),
        ({"message": "Your input was flagged by moderation"}, ContentFiltered),
        ({"code": "context_length_exceeded"}, ContextTooLong),
        ({"message": "no access to this model"}, UnknownModel),
        ({"message": "no access to this server"}, Refused),
    ],
    ids=str,
)
def test_a_403_is_about_our_key_unless_it_says_something_else(
    serve, adapt, error, kind
):
    body = json.dumps({"error": error}).encode()
    head = FORBIDDEN + b"Content-Length: %d\r\n\r\n" % len(body)

    with pytest.raises(kind) as caught:
        ask(adapt(serve(answering(head + body)).url))

    assert type(caught.value) is kind
    assert (caught.value.fault == "upstream_auth") is (kind is Refused)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("told", [b'{"error":"the prompt is too long"', b""])
def test_an_error_whose_body_does_not_end_costs_a_second_at_most(
    serve, adapt, told, stream
):
    head = b"HTTP/1.1 500 X\r\nContent-Length: 9999\r\n\r\n"

    def script(peer):
        peer.read_request()
        peer.send(head + told)
        peer.pause(5)

    began = monotonic()
    with pytest.raises(ContextTooLong if told else Refused):
        ask(adapt(serve(script).url), seconds=5, stream=stream)

    assert monotonic() - began < 2


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_callers_own_words_decide_nothing(serve, adapt, stream):
    told = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
        + json.dumps(
            {"error": {"message": "content-filter-large broke at: my content filter"}}
        ).encode()
    )

    with pytest.raises(BadReply, match="upstream_error"):
        ask(
            adapt(serve(answering(told)).url),
            stream=stream,
            model="content-filter-large",
            text="my content filter",
        )


class TestWithoutWords:
    """At OpenAI's door, an answer without a word may be one all the same."""

    @pytest.mark.parametrize(
        ("extra", "reason", "is_answer"),
        [
            ({"max_tokens": 1}, "length", True),
            ({"max_tokens": 1}, "stop", True),
            ({"max_completion_tokens": 4096}, "length", True),
            ({"stop": ["H"]}, "stop", True),
            ({"max_tokens": 4096}, "stop", False),
            ({"max_tokens": 1}, "tool_calls", False),
            ({"max_tokens": 1}, "odd", False),
            ({"max_tokens": "1", "stop": []}, "stop", False),
            ({}, "length", False),
            ({}, "stop", False),
            ({}, "content_filter", True),
        ],
        ids=str,
    )
    def test_if_the_request_may_have_made_it_so(
        self, answers, raw, extra, reason, is_answer
    ):
        ask = {"wants_choices": True, "extra": extra}
        if is_answer:
            for got in (
                answers(message(reason, content=""), **ask).collect(),
                read(raw, chunk("", role="assistant"), chunk(reason=reason), **ask),
            ):
                assert (got.text, got.finish_reason) == ("", reason)
            return
        with pytest.raises(BadReply, match="empty"):
            answers(message(reason, content=""), **ask)
        with pytest.raises(BROKEN, match="empty"):
            read(raw, chunk("", role="assistant"), chunk(reason=reason), DONE, **ask)

    @pytest.mark.parametrize(
        "said",
        [
            {"reasoning_content": "hm"},
            {"thinking": "hm"},
            {"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
            {"images": [{"type": "image_url", "image_url": {"url": "data:,x"}}]},
            {"audio": {"data": "UklGRg=="}},
        ],
        ids=str,
    )
    def test_if_it_holds_thoughts_a_picture_or_sound(self, answers, raw, said):
        (name,) = said
        whole = answers(
            message("stop", content=None, **said), wants_choices=True
        ).collect()
        (delta,) = raw(chunk(**said), chunk(reason="stop"), DONE, wants_choices=True)

        assert whole.choices[0]["message"][name] == said[name]
        assert delta.choices[0]["delta"][name] == said[name]

    @pytest.mark.parametrize("reason", ["odd", None])
    def test_thoughts_that_did_not_end_properly_are_none(self, answers, raw, reason):
        said = {"reasoning_content": "hm"}

        with pytest.raises(BadReply, match="empty"):
            answers(message(reason, content=None, **said), wants_choices=True)
        with pytest.raises(BROKEN, match="empty"):
            read(raw, chunk(**said), chunk(reason=reason), DONE, wants_choices=True)


@pytest.mark.parametrize("reason", ["stop", "tool_calls"])
def test_whole_tool_calls_are_told_as_calls_and_half_ones_not_at_all(answers, reason):
    half = [{"id": "c1", "function": {"name": "f", "arguments": '{"q": "te'}}]

    whole = answers(message(reason, tool_calls=CALLS), wants_choices=True).reply

    assert whole.finish_reason == whole.choices[0]["finish_reason"] == "tool_calls"
    with pytest.raises(BadReply, match="bad_tool_call"):
        answers(message(reason, tool_calls=half), wants_choices=True)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "to be streamed"])
def test_one_choice_where_two_were_asked_for_is_told_as_it_is(answers, stream):
    fields = {"stream": stream, "extra": {"n": 2}, "wants_choices": True}

    assert answers(message("stop", content="Hi"), **fields).collect().text == "Hi"
