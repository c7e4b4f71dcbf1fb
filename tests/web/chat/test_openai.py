import json
import re
import uuid
from dataclasses import replace
from math import inf, nan

import pytest

from app.gateway.abilities import IMAGES, JSON, MULTIPLE, TOOLS
from app.gateway.access.tokens import Caller, Keyring, Token
from app.gateway.chat import Delta, ReplyFacts, Usage
from app.gateway.errors import (
    CallerFault,
    ContentFiltered,
    Interrupted,
    NoAnswer,
)
from app.services import PerProcess
from app.web import make_app
from tests.support.events import events_of
from tests.web.conftest import TOKEN

COMPLETIONS = "/v1/chat/completions"
HI = (Delta("Hi"),)
USER = [{"role": "user", "content": "Hello"}]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object"}},
}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": "{}"},
}
FUNCTION = {"name": "f"}
NAMED = {"type": "function", "function": {"name": "weather"}}


def allowed(mode):
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [NAMED]}}


@pytest.fixture
def complete(client, token):
    def complete(messages=USER, headers=(), **fields):
        body = {"model": "any", "messages": messages} | fields
        return client.post(COMPLETIONS, json=body, headers=token | dict(headers))

    return complete


@pytest.fixture
def heard(switch):
    """The requests that reach the first upstream."""
    heard = []

    class Hears(type(switch)):
        def open(self, request, budget, turn=None):
            heard.append(request)
            return super().open(request, budget)

    switch.__class__ = Hears
    return heard


def chunks_of(answer):
    *chunks, end = events_of(answer)
    assert end.data == "[DONE]"
    return [chunk.data for chunk in chunks]


class TestWholeAnswer:
    def test_it_has_openais_shape(self, complete, trail):
        answer = complete().json

        assert answer["id"] == f"chatcmpl-{trail.closed[0][0].id}"
        assert answer["object"] == "chat.completion"
        assert answer["created"] > 1_700_000_000
        assert answer["model"] == "m"  # of whoever answered
        assert answer["choices"] == [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ]

    def test_headers_are_those_of_the_native_door(self, complete, switch):
        switch.fail(NoAnswer("read_timeout"))

        headers = complete(headers={"X-Correlation-ID": "c-9"}).headers

        assert headers["X-Correlation-ID"] == headers["X-Request-Id"] == "c-9"
        assert headers["X-Gateway-Provider"] == "madre"
        assert headers["X-Gateway-Degraded"] == "true"
        assert headers["X-Gateway-Attempts"] == "2"
        assert headers["X-Gateway-Audit-Id"]
        assert "madre;dur=" in headers["Server-Timing"]

    def test_a_fallback_that_cannot_use_tools_is_asked_without(self, complete, switch):
        assert "X-Gateway-Left-Out" not in complete(tools=[WEATHER]).headers
        switch.fail(NoAnswer("read_timeout"))

        answer = complete(tools=[WEATHER], tool_choice="auto")

        assert answer.headers["X-Gateway-Provider"] == "madre"
        assert answer.headers["X-Gateway-Left-Out"] == "tools"

    def test_a_need_of_which_the_able_one_fails_is_no_answer_in_words(
        self, complete, switch, madre
    ):
        switch.fail(NoAnswer("read_timeout"))

        answer = complete(tools=[WEATHER], tool_choice="required")

        assert (answer.status_code, madre.calls) == (503, 0)
        assert answer.json["error"]["type"] == "invalid_request_error"
        assert answer.json["error"]["code"] == "ability_unavailable"

    def test_an_upstreams_own_choices_come_through_untouched(self, complete, switch):
        message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        speaks(switch, choices=(choice,), usage=Usage(7, 5))

        answer = complete(tools=[WEATHER]).json

        assert answer["choices"] == [choice]
        assert answer["usage"] == {
            "prompt_tokens": 7,
            "completion_tokens": 5,
            "total_tokens": 12,
        }

    def test_what_stands_around_the_choices_is_handed_on(self, complete, switch):
        told = {"system_fingerprint": "fp", "citations": ["u"], "reply": 1}
        speaks(switch, extra=told)

        answer = complete().json

        assert told.items() <= answer.items()
        assert answer["choices"][0]["message"]["content"] == "Hi"

    def test_fewer_answers_than_were_asked_for_are_told(self, complete, switch):
        assert complete(n=2).headers["X-Gateway-Choices"] == "1"
        for n in (None, 1):
            assert "X-Gateway-Choices" not in complete(n=n).headers

    def test_a_tool_call_that_came_in_deltas_is_a_message(self, complete, switch):
        delta = {"tool_calls": [{"index": 0} | CALL]}
        end = {"index": 0, "finish_reason": "tool_calls"}
        deltas = [Delta("One "), Delta("moment"), Delta("", ({"delta": delta},))]
        speaks(switch, deltas, choices=(end,))

        (choice,) = complete(tools=[WEATHER]).json["choices"]

        message = {"role": "assistant", "content": "One moment", "tool_calls": [CALL]}
        assert choice == end | {"message": message}

    @pytest.mark.parametrize("stream", [False, True])
    def test_an_upstreams_numbers_that_json_cannot_say_are_null(
        self, complete, switch, trail, stream
    ):
        probable = {"content": [{"token": "Hi", "logprob": -inf}, {"logprob": nan}]}
        message = {"role": "assistant", "content": "Hi"}
        choice = {"index": 0, "message": message, "logprobs": probable}
        deltas = [Delta("Hi", ({"index": 0, "logprobs": probable, "delta": message},))]
        speaks(switch, deltas, choices=(choice,) if not stream else ())

        answer = complete(stream=stream, logprobs=True)

        assert '"logprob":null' in answer.text
        ((_, closing),) = trail.closed
        for text in (answer.text, closing.reply):
            assert not {"NaN", "Infinity"} & set(re.findall(r"\w+", text))

    def test_the_record_names_the_door_and_all_that_was_asked(self, complete, trail):
        parts = [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
        complete(parts, temperature=0.2)

        [intent] = trail.begun
        assert intent.route == "openai"
        asked = json.loads(intent.request)
        assert asked["messages"] == [["user", "Hello", parts[0]]]
        assert (asked["model"], asked["extra"]) == ("any", {"temperature": 0.2})


def speaks(upstream, deltas=HI, **facts):
    """Let a fake answer with these deltas and know these facts at the end."""

    class Speaks(type(upstream)):
        def open(self, request, budget, turn=None):
            stream = super().open(request, budget)
            stream.on_end(lambda s: s.learn(ReplyFacts(**facts)))
            return stream

        def _speak(self):
            yield from deltas

    upstream.__class__ = Speaks


class TestStream:
    def test_it_is_chunks_with_one_id_and_an_end(self, complete, switch, trail):
        switch.deltas = ["Good ", "morning"]

        chunks = chunks_of(complete(stream=True))

        assert {c["id"] for c in chunks} == {f"chatcmpl-{trail.closed[0][0].id}"}
        assert {c["object"] for c in chunks} == {"chat.completion.chunk"}
        assert len({c["created"] for c in chunks}) == 1
        assert [c["model"] for c in chunks] == ["m"] * 3
        assert [c["choices"][0]["delta"] for c in chunks] == [
            {"role": "assistant", "content": "Good "},
            {"content": "morning"},
            {},
        ]
        reasons = [c["choices"][0]["finish_reason"] for c in chunks]
        assert reasons == [None, None, "stop"]

    def test_the_details_of_the_usage_are_handed_on(self, complete, switch):
        details = {"prompt_tokens_details": {"cached_tokens": 2}}
        speaks(switch, usage=Usage(7, 5, details))

        told = complete().json["usage"]

        assert told["prompt_tokens_details"] == {"cached_tokens": 2}

    def test_what_nobody_counted_is_zeros_that_say_so(self, complete, switch):
        """Clients look into a usage without asking whether it is there."""
        answer = complete()
        speaks(switch, usage=Usage(7, 5))
        counted = complete()

        assert set(answer.json["usage"].values()) == {0}
        assert answer.headers["X-Gateway-Usage"] == "unknown"
        assert counted.json["usage"]["total_tokens"] == 12
        assert "X-Gateway-Usage" not in counted.headers

    def test_what_stands_around_the_choices_comes_where_it_came_and_at_the_end(
        self, complete, switch
    ):
        more, told = {"citations": ["u"]}, {"system_fingerprint": "fp"}
        deltas = Delta("Good ", extra=told), Delta("day"), Delta("!", extra=more)
        speaks(switch, deltas, extra=told | more)

        chunks = chunks_of(complete(stream=True))

        ours = {"id", "object", "created", "model", "choices"}
        extras = [{k: v for k, v in c.items() if k not in ours} for c in chunks]
        assert extras == [told, {}, more, told | more]
        words = [c["choices"][0]["delta"].get("content") for c in chunks]
        assert words == ["Good ", "day", "!", None]

    def test_fewer_answers_than_were_asked_for_are_told(self, complete):
        assert b": x-gateway-choices 1\n" in complete(stream=True, n=2).data
        assert b"x-gateway-choices" not in complete(stream=True).data

    def test_usage_is_the_last_chunk_when_asked_for(self, complete, switch):
        speaks(switch, usage=Usage(7, 5))

        *others, last = chunks_of(
            complete(stream=True, stream_options={"include_usage": True})
        )

        assert last["choices"] == []
        assert last["usage"]["total_tokens"] == 12
        assert all(c["usage"] is None for c in others)

    def test_usage_is_not_told_to_those_who_did_not_ask(self, complete):
        assert all("usage" not in chunk for chunk in chunks_of(complete(stream=True)))

    def test_tool_calls_and_several_choices_come_through(self, complete, switch):
        def piece(index, **delta):
            return {"index": index, "delta": delta, "finish_reason": None}

        called = {"index": 0} | CALL
        speaks(
            switch,
            (
                Delta("", (piece(0, role="assistant", content=None),)),
                Delta("", (piece(0, role="assistant", tool_calls=[called]),)),
                Delta("x", (piece(1, content="x"),)),
            ),
            choices=(
                {"index": 0, "finish_reason": "tool_calls"},
                {"index": 1, "finish_reason": "length"},
            ),
        )

        chunks = chunks_of(complete(stream=True, tools=[WEATHER], n=2))

        deltas = [c["choices"][0]["delta"] for c in chunks]
        assert deltas[:3] == [
            {"role": "assistant", "content": None},
            {"tool_calls": [called]},  # the role is told once, or clients double it
            {"role": "assistant", "content": "x"},
        ]
        ends = [(c["index"], c["finish_reason"]) for c in chunks[-1]["choices"]]
        assert ends == [(0, "tool_calls"), (1, "length")]

    def test_what_was_called_is_on_record(self, complete, switch, trail):
        def piece(arguments):
            call = {"index": 0, "function": {"arguments": arguments}}
            return Delta("", ({"index": 0, "delta": {"tool_calls": [call]}},))

        speaks(switch, (piece('{"town":'), piece('"Ulm"}')))

        complete(stream=True, tools=[WEATHER])

        [(_, closing)] = trail.closed
        [choice] = json.loads(closing.reply)["choices"]
        [call] = choice["delta"]["tool_calls"]
        assert call["function"]["arguments"] == '{"town":"Ulm"}'

    def test_a_reply_that_breaks_ends_with_an_error_and_never_with_done(
        self, complete, switch
    ):
        switch.deltas = ["Half an ans"]
        switch.breaks_with = Interrupted("truncated")

        *_, last = events = events_of(complete(stream=True))

        assert last.data["error"] == {
            "message": "the reply broke off",
            "type": "server_error",
            "param": None,
            "code": "reply_interrupted",
        }
        reasons = [e.data["choices"][0]["finish_reason"] for e in events[:-1]]
        assert reasons == [None]  # no word that would make it look complete

    def test_headers_say_who_answers(self, complete, trail):
        headers = complete(stream=True).headers

        assert headers["Content-Type"].startswith("text/event-stream")
        assert headers["X-Gateway-Provider"] == "switch"
        assert headers["X-Gateway-Audit-Id"] == trail.closed[0][0].id
        assert headers["X-Accel-Buffering"] == "no"

    def test_where_the_time_went_is_a_comment_at_the_end(self, complete):
        text = complete(stream=True).get_data(as_text=True)

        assert "\n: queue;dur=" in text


class TestRequest:
    def test_a_conversation_keeps_its_order(self, complete, heard):
        turns = [
            ("system", "Be brief."),
            ("user", "Hello"),
            ("assistant", "Hi"),
            ("system", "Be kind."),
            ("user", "How are you?"),
        ]

        complete([{"role": role, "content": text} for role, text in turns])

        assert [(m.role, m.content) for m in heard[0].messages] == turns
        assert all(m.raw is None for m in heard[0].messages)

    def test_unknown_fields_pass_through_untouched(self, complete, heard):
        fields = {"temperature": 0.2, "stop": ["x"], "vendor": {"deep": [1]}}

        complete(**fields, tools=[WEATHER], user="u-1")

        assert heard[0].extra == fields | {"tools": [WEATHER], "user": "u-1"}
        assert heard[0].model == "any"

    @pytest.mark.parametrize(
        ("fields", "needs"),
        [
            ({}, set()),
            ({"n": 1, "tools": [], "response_format": None}, set()),
            ({"n": 2}, {MULTIPLE}),
            ({"n": 2.0}, {MULTIPLE}),
            ({"tools": [WEATHER], "tool_choice": "required"}, {TOOLS}),
            ({"tools": [WEATHER], "tool_choice": NAMED}, {TOOLS}),
            ({"tools": [WEATHER], "tool_choice": allowed("required")}, {TOOLS}),
            ({"functions": [FUNCTION], "function_call": {"name": "f"}}, {TOOLS}),
            ({"response_format": {"type": "text"}}, set()),
            ({"response_format": {"type": "json_object"}}, {JSON}),
            ({"response_format": {"type": "json_schema"}, "n": 2}, {JSON, MULTIPLE}),
        ],
    )
    def test_what_it_needs_is_known(self, complete, heard, fields, needs):
        complete(**fields)

        assert heard[0].needs == needs

    @pytest.mark.parametrize(
        "fields",
        [
            {"tools": [WEATHER]},
            {"tools": [WEATHER], "tool_choice": None},
            {"tools": [WEATHER], "tool_choice": "auto"},
            {"tools": [WEATHER], "tool_choice": "none"},
            {"tools": [WEATHER], "tool_choice": allowed("auto")},
            {"functions": [FUNCTION], "function_call": "auto"},
        ],
    )
    def test_tools_that_need_not_be_called_are_only_wanted(
        self, complete, heard, fields
    ):
        complete(**fields)

        assert (heard[0].needs, heard[0].wants) == (set(), {TOOLS})

    def test_its_callers_want_choices(self, complete, heard):
        complete()

        assert heard[0].wants_choices

    def test_images_are_needed_by_a_message_that_shows_one(self, complete, heard):
        url = {"url": "data:image/png;base64,AAAA"}
        parts = [
            {"type": "text", "text": "What is"},
            {"type": "image_url", "image_url": url},
            {"type": "text", "text": "this?"},
        ]

        complete([{"role": "user", "content": parts}])

        [message] = heard[0].messages
        assert heard[0].needs == {IMAGES}
        assert message.content == "What is\nthis?"
        assert message.raw == {"role": "user", "content": parts}

    def test_text_parts_need_nothing(self, complete, heard):
        complete([{"role": "user", "content": [{"type": "text", "text": "Hello"}]}])

        assert heard[0].needs == set()
        assert heard[0].last_user_message == "Hello"

    def test_a_conversation_with_tools_is_kept_whole(self, complete, heard):
        messages = [
            {"role": "developer", "content": "Use tools."},
            *USER,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        ]

        complete(messages)

        assert [m.role for m in heard[0].messages] == [
            "system",
            "user",
            "assistant",
            "tool",
        ]
        raws = [
            m.raw or {"role": m.role, "content": m.content} for m in heard[0].messages
        ]
        assert raws == messages
        assert heard[0].needs == {TOOLS}

    def test_a_conversation_with_a_call_of_old_needs_tools(self, complete, heard):
        call = {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}

        complete([*USER, call])

        assert heard[0].needs == {TOOLS}

    @pytest.mark.parametrize(
        ("headers", "fields", "expected"),
        [
            ({"X-Session-Id": "h"}, {"metadata": {"session_id": "m"}}, "h"),
            ({}, {"metadata": {"session_id": "m"}, "user": "u"}, "m"),
            ({}, {"user": "u"}, "u"),
            ({}, {"metadata": {"session_id": 7}, "user": "u"}, "u"),
            ({}, {"user": "x" * 201, "metadata": {"session_id": "m"}}, "m"),
            ({"X-Session-Id": TOKEN}, {"user": "u"}, "u"),
            ({}, {"metadata": {"session_id": f"s-{TOKEN}"}, "user": "u"}, "u"),
        ],
    )
    def test_the_session_is_named_by_header_metadata_or_user(
        self, complete, heard, headers, fields, expected
    ):
        complete(headers=headers, **fields)

        assert heard[0].session_id == expected

    def test_without_a_name_a_session_gets_one(self, complete, heard):
        complete(user="two\nlines")

        assert uuid.UUID(heard[0].session_id).version == 4

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
    def test_the_token_comes_as_openai_clients_send_it(self, client, token, scheme):
        headers = {"Authorization": f"{scheme} {token['X-VX11-Token']}"}

        answer = client.post(COMPLETIONS, json={"messages": USER}, headers=headers)

        assert answer.status_code == 200


class TestErrors:
    def error(self, answer, status):
        assert answer.status_code == status, answer.json
        assert answer.headers["X-Correlation-ID"]
        assert answer.json.keys() == {"error"}
        error = answer.json["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        return error

    def test_no_token(self, client):
        answer = client.post(COMPLETIONS, json={"messages": USER})

        assert self.error(answer, 401)["code"] == "auth_required"
        assert answer.headers["WWW-Authenticate"]

    def test_a_wrong_token(self, client):
        headers = {"Authorization": "Bearer wrong"}
        answer = client.post(COMPLETIONS, json={"messages": USER}, headers=headers)

        error = self.error(answer, 401)
        assert (error["type"], error["code"]) == (
            "invalid_request_error",
            "invalid_api_key",
        )
        assert answer.headers["WWW-Authenticate"]

    def test_a_token_that_may_not_chat(self, services):
        reader = Keyring([Token.of(Caller("reader", frozenset({"audit"})), TOKEN)])
        client = make_app(
            PerProcess(lambda: replace(services, keyring=reader))
        ).test_client()

        answer = client.get("/v1/models", headers={"X-VX11-Token": TOKEN})

        assert self.error(answer, 403)["code"] == "forbidden"

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/v1/nowhere", 404),
            ("GET", COMPLETIONS, 405),
            ("PUT", "/v1/models", 405),
        ],
    )
    def test_what_is_not_there(self, client, method, path, status):
        assert self.error(client.open(path, method=method), status)["type"] == (
            "invalid_request_error"
        )

    def test_a_body_of_another_kind(self, client, token):
        answer = client.post(COMPLETIONS, data="x", headers=token)

        self.error(answer, 415)

    def test_a_body_that_is_too_large(self, complete):
        self.error(complete([{"role": "user", "content": "x" * 70000}]), 413)

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"messages": []}, "messages"),
            ({"messages": "Hello"}, "messages"),
            ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
            ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content.str"),
            ({"messages": [{"role": "user", "content": ""}]}, "messages"),
            ({"messages": USER, "n": 0}, "n"),
            ({"messages": USER, "n": 1.5}, "n"),
            ({"messages": USER, "tools": [None]}, "tools.0"),
            ({"messages": USER, "n": True}, "n"),
            (
                {"messages": USER, "stream_options": {"include_usage": "yes"}},
                "stream_options.include_usage",
            ),
            ({"messages": USER, "stream": "yes"}, "stream"),
            ({"messages": USER, "model": "m\x00"}, "model"),
        ],
    )
    def test_a_bad_field_is_named_and_never_repeated(
        self, client, token, fields, param
    ):
        answer = client.post(COMPLETIONS, json=fields, headers=token)

        error = self.error(answer, 400)
        assert (error["type"], error["param"]) == ("invalid_request_error", param)
        assert "wizard" not in answer.get_data(as_text=True)

    @pytest.mark.parametrize("body", [b"{", b"[]", b"null", b'"x"'])
    def test_a_body_that_is_no_object(self, client, token, body):
        answer = client.post(
            COMPLETIONS, data=body, content_type="application/json", headers=token
        )

        assert self.error(answer, 400)["code"] == "invalid_request"

    @pytest.mark.parametrize("stream", [True, False])
    def test_nobody_answers(self, complete, switch, madre, stream):
        switch.fail(NoAnswer("read_timeout"))
        madre.fail(NoAnswer("read_timeout"))

        answer = complete(stream=stream)

        assert self.error(answer, 503)["code"] == "upstream_unavailable"
        assert answer.headers["Retry-After"]

    @pytest.mark.parametrize(
        ("fault", "code"),
        [
            (CallerFault("rejected"), "upstream_rejected"),
            (ContentFiltered("content_filter"), "content_filter"),
        ],
    )
    def test_a_rejected_request_does_not_look_like_an_outage(
        self, complete, switch, fault, code
    ):
        """OpenAI's clients would send it twice more after a 502."""
        switch.fail(fault)

        assert self.error(complete(), 400)["code"] == code

    def test_a_refusal_is_on_record_under_its_door(self, complete, trail):
        complete([])

        [(intent, closing)] = trail.closed
        assert (intent.route, closing.status) == ("openai", 400)


class TestModels:
    def test_upstreams_and_routes_are_listed(self, client, token):
        answer = client.get("/v1/models", headers=token)

        assert answer.json["object"] == "list"
        assert [m["id"] for m in answer.json["data"]] == ["switch", "madre"]
        assert all(m["object"] == "model" for m in answer.json["data"])

    def test_one_alone_and_what_it_can_read(self, client, token):
        madre = client.get("/v1/models/madre", headers=token).json

        assert madre == {
            "id": "madre",
            "object": "model",
            "created": 0,
            "owned_by": "gateway",
            "context_length": 4096,
            "max_model_len": 4096,
        }
        assert (
            "context_length" not in client.get("/v1/models/switch", headers=token).json
        )

    def test_nobody_knows_it(self, client, token):
        answer = client.get("/v1/models/no/body", headers=token)

        assert answer.status_code == 404
        assert answer.json["error"]["code"] == "model_not_found"

    def test_only_callers_see_them(self, client):
        assert client.get("/v1/models").status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1", 404),
        ("GET", "/v1/", 404),
        ("POST", "/v1/v1/chat/completions", 404),
        ("GET", COMPLETIONS, 405),
        ("POST", "/v1//chat/completions", 404),
    ],
)
def test_what_is_not_there_is_told_in_openais_words(client, method, path, status):
    answer = client.open(path, method=method)

    assert answer.status_code == status
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert answer.headers["X-Request-Id"] == answer.headers["X-Correlation-ID"]
    if status == 404:
        assert "POST /v1/responses" in answer.json["error"]["message"]
    else:
        assert answer.headers["Allow"] == "POST"
