"""Anthropic's doors, as its clients see them."""

import json
from dataclasses import replace

import pytest

from app.gateway.abilities import COUNT, IMAGES, JSON, TOOLS
from app.gateway.access.tokens import Caller, Keyring, Token
from app.gateway.chain.admission import Admission
from app.gateway.chain.audited import Audited
from app.gateway.chain.counted import Counted
from app.gateway.chain.metered import Metered
from app.gateway.chat import Delta, ReplyFacts, Usage
from app.gateway.errors import (
    AuditUnavailable,
    CallerFault,
    ContextTooLong,
    Interrupted,
    NoAnswer,
    Overloaded,
    Unfit,
    UnknownModel,
)
from app.gateway.records.content import Content, ContentPolicy
from app.gateway.records.redaction import Redactor
from app.gateway.routing.router import ChatRouter
from app.services import PerProcess
from app.web import make_app
from tests.support.events import events_of
from tests.support.fakes import a_guard
from tests.web.conftest import TOKEN

MESSAGES, COUNTS = "/v1/messages", "/v1/messages/count_tokens"
USER = [{"role": "user", "content": "Hello"}]
WEATHER = {"name": "weather", "input_schema": {"type": "object"}}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"at":"here"}'},
}
HI = (Delta("Hi"),)
MARK = {"type": "ephemeral"}
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}


@pytest.fixture
def post(client, token):
    def post(messages=USER, headers=(), path=MESSAGES, **fields):
        body = {"model": "any", "max_tokens": 100, "messages": messages} | fields
        return client.post(path, json=body, headers=token | dict(headers))

    return post


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


def speaks(upstream, deltas=HI, **facts):
    """Let a fake answer with these deltas and know these facts at the end."""

    class Speaks(type(upstream)):
        def open(self, request, budget, turn=None):
            stream = super().open(request, budget)
            stream.on_end(lambda s: s.learn(ReplyFacts(**facts)))
            return stream

        def _speak(self):
            yield from deltas
            if self.breaks_with:
                raise self.breaks_with

    upstream.__class__ = Speaks


def piece(**delta):
    return Delta("", ({"index": 0, "delta": delta, "finish_reason": None},))


def calling(arguments, **call):
    function = {"arguments": arguments}
    if "name" in call:
        function["name"] = call.pop("name")
    return piece(tool_calls=[{"index": 0, "function": function} | call])


def blocks_of(events):
    """The blocks that a client makes of a stream, as the official one does."""
    blocks, opened = [], None
    for one in events:
        data = one.data
        assert one.name == data["type"]
        if one.name == "content_block_start":
            assert opened is None
            assert data["index"] == len(blocks)
            blocks.append(dict(data["content_block"]))
            opened, text = data["index"], ""
        elif one.name == "content_block_delta":
            assert data["index"] == opened
            delta = data["delta"]
            if delta["type"] == "input_json_delta":
                text += delta["partial_json"]
                continue
            key = delta["type"].removesuffix("_delta")
            blocks[opened][key] = blocks[opened].get(key, "") + delta[key]
        elif one.name == "content_block_stop":
            assert data["index"] == opened
            if blocks[opened]["type"] == "tool_use":
                blocks[opened]["input"] = json.loads(text or "{}")
            opened = None
    assert opened is None
    return blocks


class TestWhole:
    def test_it_has_anthropics_shape(self, post, switch, trail):
        details = {"prompt_tokens_details": {"cached_tokens": 2}}
        speaks(switch, usage=Usage(7, 5, details))

        answer = post()

        assert answer.status_code == 200
        assert answer.json == {
            "id": f"msg_{trail.closed[0][0].id}",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "text", "text": "Hi"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 5,
                "output_tokens": 5,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 2,
            },
        }

    def test_headers_are_those_of_the_other_doors(self, post, switch):
        switch.fail(NoAnswer("read_timeout"))

        headers = post(headers={"X-Correlation-ID": "c-9"}).headers

        assert headers["request-id"] == headers["X-Correlation-ID"] == "c-9"
        assert headers["X-Gateway-Provider"] == "madre"
        assert headers["X-Gateway-Attempts"] == "2"
        assert headers["X-Gateway-Audit-Id"]

    def test_usage_that_nobody_counted_is_zero(self, post):
        assert post().json["usage"]["input_tokens"] == 0

    @pytest.mark.parametrize(
        ("facts", "told"),
        [
            ({"finish_reason": "length"}, ("max_tokens", None)),
            ({"finish_reason": "content_filter"}, ("refusal", None)),
            ({"finish_reason": "odd"}, ("end_turn", None)),
            (
                {"choices": ({"index": 0, "stop_sequence": "X"},)},
                ("stop_sequence", "X"),
            ),
        ],
    )
    def test_it_says_why_it_ended(self, post, switch, facts, told):
        speaks(switch, **facts)

        answer = post().json

        assert (answer["stop_reason"], answer["stop_sequence"]) == told

    def test_tool_calls_and_thoughts_are_blocks(self, post, switch):
        signed = {"type": "thinking", "thinking": "Hm", "signature": "s"}
        message = {
            "role": "assistant",
            "content": "One moment",
            "reasoning_content": "Hm",
            "thinking_blocks": [signed],
            "tool_calls": [CALL, CALL | {"id": None, "function": {"name": "f"}}],
        }
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        speaks(switch, [Delta("One moment")], choices=(choice,))

        answer = post(tools=[WEATHER]).json

        *others, last = answer["content"]
        assert others == [
            signed,
            {"type": "text", "text": "One moment"},
            {
                "type": "tool_use",
                "id": "call_1",
                "name": "weather",
                "input": {"at": "here"},
            },
        ]
        assert (last["name"], last["input"]) == ("f", {})
        assert last["id"].startswith("toolu_")
        assert answer["stop_reason"] == "tool_use"

    def test_unsigned_thoughts_are_told_too(self, post, switch):
        message = {"role": "assistant", "content": "Hi", "reasoning": "Hm"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        speaks(switch, choices=(choice,))

        assert post().json["content"][0] == {
            "type": "thinking",
            "thinking": "Hm",
            "signature": "",
        }


class TestStream:
    def test_it_is_events_from_start_to_stop(self, post, switch, trail):
        speaks(switch, [Delta("Good "), Delta("morning")], usage=Usage(7, 5))

        events = events_of(post(stream=True))

        assert [e.name for e in events] == [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
        message = events[0].data["message"]
        assert message["id"] == f"msg_{trail.closed[0][0].id}"
        assert message["content"] == []
        assert message["stop_reason"] is None
        assert blocks_of(events) == [{"type": "text", "text": "Good morning"}]
        end = events[-2].data
        assert end["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
        assert (end["usage"]["input_tokens"], end["usage"]["output_tokens"]) == (7, 5)

    def test_thoughts_text_and_a_call(self, post, switch):
        signed = {"type": "thinking", "thinking": "Hm", "signature": "s"}
        redacted = {"type": "redacted_thinking", "data": "x"}
        speaks(
            switch,
            [
                piece(reasoning_content="H"),
                piece(reasoning_content="m"),
                piece(thinking_blocks=[signed]),
                piece(thinking_blocks=[redacted]),
                Delta("One "),
                Delta("moment"),
                calling("", id="call_1", name="weather"),
                calling('{"at":'),
                calling('"here"}'),
            ],
            choices=({"index": 0, "finish_reason": "tool_calls"},),
        )

        events = events_of(post(stream=True, tools=[WEATHER]))

        assert blocks_of(events) == [
            signed,
            redacted,
            {"type": "text", "text": "One moment"},
            {
                "type": "tool_use",
                "id": "call_1",
                "name": "weather",
                "input": {"at": "here"},
            },
        ]
        assert events[-2].data["delta"]["stop_reason"] == "tool_use"
        pieces = [e.data["delta"] for e in events if e.name == "content_block_delta"]
        assert [p["partial_json"] for p in pieces if "partial_json" in p] == [
            '{"at":',
            '"here"}',
        ]

    @pytest.mark.parametrize(
        "pieces",
        [
            [
                calling('{"a":', id="1", name="f", index=0),
                calling('{"b":', id="2", name="g", index=1),
                calling("1}", index=0),
                calling("2}", index=1),
            ],
            [
                calling('{"a":', id="1", name="f"),
                calling("1}", id="1", name="f"),
                calling('{"b":2}', id="2", name="g"),
            ],
            [
                calling('{"a":1}', id="1", name="f", index=None),
                calling('{"b":', id="2", name="g", index=None),
                calling("2}", index=None),
            ],
            [
                calling('{"a":1}', id="1"),
                calling("", name="f"),
                calling('{"b":2}', id="2", name="g", index=1),
            ],
        ],
        ids=["mixed", "all with one index", "no index", "name behind the arguments"],
    )
    def test_two_calls_are_two_blocks_however_they_come(self, post, switch, pieces):
        speaks(switch, pieces)

        blocks = blocks_of(events_of(post(stream=True, tools=[WEATHER])))

        assert [(b["id"], b["name"], b["input"]) for b in blocks] == [
            ("1", "f", {"a": 1}),
            ("2", "g", {"b": 2}),
        ]

    def test_more_of_a_call_behind_a_text_is_a_broken_answer(self, post, switch):
        speaks(
            switch,
            [calling('{"a":', id="1", name="f"), Delta("Well"), calling("1}")],
        )

        events = events_of(post(stream=True, tools=[WEATHER]))

        assert events[-1].name == "error"

    def test_a_cut_answer_is_never_whole(self, post, switch, trail):
        switch.deltas = ["Good ", "mor"]
        switch.breaks_with = Interrupted("truncated")

        *others, last = events_of(post(stream=True, headers={"X-Correlation-ID": "c"}))

        assert last.data == {
            "type": "error",
            "error": {
                "type": "api_error",
                "message": "the reply broke off",
                "code": "reply_interrupted",
            },
            "request_id": "c",
        }
        assert "message_stop" not in {e.name for e in others}
        assert trail.closed[0][1].outcome == "failed"

    def test_an_answer_that_is_not_on_record_is_never_whole(self, post, trail):
        def finish(*_, **__):
            raise AuditUnavailable

        trail.finish = finish

        *others, last = events_of(post(stream=True))

        assert last.data["error"]["code"] == "audit_unavailable"
        assert "message_stop" not in {e.name for e in others}

    def test_a_refusal_keeps_its_status(self, post, switch, madre):
        for upstream in (switch, madre):
            upstream.fail(NoAnswer("read_timeout"))

        answer = post(stream=True)

        assert answer.status_code == 503
        assert answer.json["type"] == "error"


class TestAsked:
    def test_a_conversation_reaches_the_core_in_its_own_shape(self, post, heard):
        thought = {"type": "thinking", "thinking": "Hm", "signature": "s"}
        picture = {"type": "image", "source": PNG}
        result = {
            "type": "tool_result",
            "tool_use_id": "t1",
            "is_error": True,
            "content": [{"type": "text", "text": "no"}, picture],
        }
        post(
            [
                {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
                {
                    "role": "assistant",
                    "content": [
                        thought,
                        {"type": "text", "text": "Well", "cache_control": MARK},
                        {
                            "type": "tool_use",
                            "id": "t1",
                            "name": "f",
                            "input": {"a": "é"},
                        },
                    ],
                },
                {"role": "user", "content": [result, {"type": "text", "text": "So?"}]},
            ],
            system=[
                {"type": "text", "text": "A"},
                {"type": "text", "text": "B", "cache_control": MARK},
            ],
            tools=[WEATHER | {"description": "d", "cache_control": MARK}],
        )

        [asked] = heard
        said = [(m.role, m.content, m.raw, m.anthropic) for m in asked.messages]
        call = {"name": "f", "arguments": '{"a":"é"}'}
        url = f"data:image/png;base64,{PNG['data']}"
        parts = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": "So?"},
        ]
        assert said == [
            ("system", "A\nB", None, {"cache_control": MARK}),
            ("user", "Hello", None, {}),
            (
                "assistant",
                "Well",
                {
                    "role": "assistant",
                    "content": "Well",
                    "tool_calls": [{"id": "t1", "type": "function", "function": call}],
                },
                {"cache_control": MARK, "thinking": [thought]},
            ),
            (
                "tool",
                "no",
                {"role": "tool", "tool_call_id": "t1", "content": "no"},
                {"is_error": True},
            ),
            ("user", "So?", {"role": "user", "content": parts}, {}),
        ]
        assert asked.needs == {TOOLS, IMAGES}
        function = {
            "name": "weather",
            "parameters": {"type": "object"},
            "description": "d",
        }
        assert asked.extra == {
            "max_tokens": 100,
            "tools": [{"type": "function", "function": function}],
        }

    @pytest.mark.parametrize(
        ("fields", "extra"),
        [
            ({"temperature": 0.5, "top_p": 1, "top_k": 3}, None),
            ({"stop_sequences": ["a"]}, {"stop": ["a"]}),
            ({"stop_sequences": []}, {}),
            ({"metadata": {"user_id": "u"}}, {"user": "u"}),
            (
                {"tools": [WEATHER], "tool_choice": {"type": "any"}},
                {"tool_choice": "required"},
            ),
            (
                {"tools": [WEATHER], "tool_choice": {"type": "none"}},
                {"tool_choice": "none"},
            ),
            (
                {
                    "tools": [WEATHER],
                    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
                },
                {"tool_choice": "auto", "parallel_tool_calls": False},
            ),
            (
                {
                    "tools": [WEATHER],
                    "tool_choice": {"type": "tool", "name": "weather"},
                },
                {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
            ),
            ({"tool_choice": {"type": "any"}}, {}),
        ],
    )
    def test_options_are_told_in_the_words_of_the_core(
        self, post, heard, fields, extra
    ):
        assert post(**fields).status_code == 200

        asked = dict(heard[0].extra)
        assert asked.pop("max_tokens") == 100
        asked.pop("tools", None)
        assert asked == (fields if extra is None else extra)

    def test_what_claude_code_sends_is_taken(self, post, heard, trail):
        fields = {
            "thinking": {"type": "adaptive"},
            "context_management": {"edits": []},
            "output_config": {"effort": "high"},
            "metadata": {"user_id": "user_1_session_2"},
            "service_tier": "auto",
        }
        headers = {
            "anthropic-version": "2023-06-01",
            "anthropic-beta": "claude-code-20250219,context-management-2025-06-27",
            "X-Claude-Code-Session-Id": "s-9",
        }

        assert post(headers=headers, **fields).status_code == 200

        [asked] = heard
        assert asked.anthropic == {"fields": fields, "betas": headers["anthropic-beta"]}
        assert asked.session_id == "s-9"
        assert "thinking" not in asked.extra
        recorded = json.loads(trail.begun[0].request)
        assert recorded["anthropic"]["fields"]["thinking"] == {"type": "adaptive"}
        assert trail.begun[0].route == "anthropic"

    def test_the_user_id_names_the_session_if_nothing_else_does(self, post, trail):
        post(metadata={"user_id": "u-1"})
        post(metadata={"user_id": "u-1"}, headers={"X-Session-Id": "s-1"})

        assert [intent.session_id for intent in trail.begun] == ["u-1", "s-1"]

    def test_claude_code_names_its_session_in_a_header(self, post, trail):
        post(metadata={"user_id": "u-1"}, headers={"X-Claude-Code-Session-Id": "s-2"})

        assert trail.begun[0].session_id == "s-2"

    def test_the_user_id_is_the_person_behind_a_shared_token(self, services, trail):
        shared = Caller("web", names_people=True)
        services = replace(services, keyring=Keyring([Token.of(shared, TOKEN)]))
        client = make_app(PerProcess(lambda: services)).test_client()

        body = {"messages": USER, "max_tokens": 9, "metadata": {"user_id": "ana"}}
        client.post(MESSAGES, json=body, headers={"x-api-key": TOKEN})

        assert (trail.begun[0].caller, trail.begun[0].person) == ("web", "ana")

    def test_a_schema_for_the_answer_is_asked_for(self, post, heard):
        schema = {"type": "object"}
        post(output_config={"format": {"type": "json_schema", "schema": schema}})

        asked = heard[0].extra["response_format"]
        assert asked["json_schema"]["schema"] == schema

    @pytest.mark.parametrize(
        ("block", "part"),
        [
            (
                {"source": {"type": "text", "data": "words"}},
                {"type": "text", "text": "words"},
            ),
            (
                {
                    "source": {
                        "type": "base64",
                        "media_type": "application/pdf",
                        "data": "JVBE",
                    },
                    "title": "a.pdf",
                },
                {
                    "type": "file",
                    "file": {
                        "filename": "a.pdf",
                        "file_data": "data:application/pdf;base64,JVBE",
                    },
                },
            ),
            (
                {"source": {"type": "content", "content": "words"}},
                {"type": "text", "text": "words"},
            ),
        ],
    )
    def test_documents(self, post, heard, block, part):
        picture = {"type": "image", "source": {"type": "url", "url": "https://a.test"}}
        post([{"role": "user", "content": [{"type": "document"} | block, picture]}])

        assert heard[0].messages[0].raw["content"][0] == part

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"messages": []}, "messages"),
            ({"messages": [{"role": "user", "content": ""}]}, "messages"),
            ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
            ({"messages": [{"role": "user"}]}, "messages.0.content"),
            ({"messages": USER, "max_tokens": 0}, "max_tokens"),
            ({"messages": USER, "temperature": 1.5}, "temperature"),
            ({"messages": USER, "system": 7}, "system"),
            ({"messages": USER, "system": [{"type": "image"}]}, "system.0.type"),
            ({"messages": USER, "mcp_servers": [{"url": "x"}]}, "mcp_servers"),
            ({"messages": USER, "tools": [{"name": "f"}]}, "tools.0.input_schema"),
            ({"messages": USER, "tools": [{"input_schema": {}}]}, "tools.0.name"),
            (
                {"messages": USER, "tools": [{"type": "web_search_20250305"}]},
                "tools.0.type",
            ),
            (
                {
                    "messages": USER,
                    "tools": [WEATHER],
                    "tool_choice": {"type": "secret"},
                },
                "tool_choice.type",
            ),
            (
                {"messages": USER, "output_config": {"format": {"type": "secret"}}},
                "output_config.format",
            ),
        ],
    )
    def test_what_is_wrong_is_named_and_never_repeated(
        self, client, token, body, field
    ):
        answer = client.post(MESSAGES, json=body, headers=token)

        assert answer.status_code == 400
        error = answer.json["error"]
        assert error["type"] == "invalid_request_error"
        assert field in error["message"]
        assert "secret" not in answer.text

    @pytest.mark.parametrize(
        ("block", "field"),
        [
            ({"type": "image"}, "source"),
            ({"type": "image", "source": {"type": "file"}}, "source.type"),
            ({"type": "image", "source": {"type": "base64"}}, "source.media_type"),
            ({"type": "text"}, "text"),
            ({"type": "tool_result"}, "tool_use_id"),
            ({"type": "tool_result", "tool_use_id": "x", "content": 7}, "content"),
            ({"type": "container_upload"}, "type"),
            ({"type": {}}, "type"),
            ({"type": "document", "source": {"type": "url"}}, "source.type"),
        ],
    )
    def test_a_block_that_cannot_be_handed_on_is_named(self, post, block, field):
        answer = post([{"role": "user", "content": [block]}])

        assert answer.status_code == 400
        assert f"messages.0.content.0.{field}" in answer.json["error"]["message"]

    def test_a_document_that_says_nothing_is_no_message(self, post):
        source = {"type": "content", "content": []}
        empty = {"role": "user", "content": [{"type": "document", "source": source}]}

        answer = post([empty])

        assert answer.status_code == 400
        assert "messages" in answer.json["error"]["message"]

    def test_a_beta_that_is_no_name_is_refused(self, post):
        answer = post(headers={"anthropic-beta": "a;b"})

        assert answer.status_code == 400
        assert "anthropic-beta" in answer.json["error"]["message"]


class TestToken:
    def test_it_is_shown_as_api_key_or_bearer(self, client):
        for headers in (
            {"x-api-key": TOKEN},
            {"Authorization": f"Bearer {TOKEN}"},
            {"Authorization": f"Bearer {TOKEN}", "x-api-key": "sk-of-another"},
        ):
            body = {"messages": USER, "max_tokens": 1}
            answer = client.post(MESSAGES, json=body, headers=headers)

            assert answer.status_code == 200

    def test_none_and_a_wrong_one_are_refused_in_anthropics_shape(self, client):
        body = {"messages": USER, "max_tokens": 1}

        none = client.post(MESSAGES, json=body)
        wrong = client.post(MESSAGES, json=body, headers={"x-api-key": "sk-wrong"})

        for answer in (none, wrong):
            assert (answer.status_code, answer.json["type"]) == (401, "error")
            assert answer.json["error"]["type"] == "authentication_error"
            assert answer.json["request_id"] == answer.headers["request-id"]

    def test_a_wrong_token_elsewhere_is_not_made_good_by_the_api_key(self, client):
        body = {"messages": USER, "max_tokens": 1}
        headers = {"x-api-key": TOKEN, "Authorization": "Bearer sk-wrong"}

        assert client.post(MESSAGES, json=body, headers=headers).status_code == 401


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "status", "kind"),
        [
            (ContextTooLong("context_length"), 400, "invalid_request_error"),
            (UnknownModel("unknown_model"), 404, "not_found_error"),
            (CallerFault("upstream_rejected"), 400, "invalid_request_error"),
            (NoAnswer("read_timeout"), 503, "api_error"),
        ],
    )
    def test_each_has_its_type(self, post, switch, madre, error, status, kind):
        for upstream in (switch, madre):
            upstream.fail(error)

        answer = post()

        assert (answer.status_code, answer.json["error"]["type"]) == (status, kind)

    def test_a_context_overflow_is_told_in_the_words_that_clients_know(
        self, post, switch, madre
    ):
        for upstream in (switch, madre):
            upstream.fail(ContextTooLong("context_length"))

        assert post().json["error"]["message"].startswith("prompt is too long: ")

    def test_too_much_load_has_its_own_type(self, post, switch):
        switch.fail(Overloaded())

        answer = post()

        assert answer.json["error"]["type"] == "overloaded_error"
        assert answer.headers["Retry-After"]

    def test_what_is_not_there_is_told_in_the_same_shape(self, client, token):
        answer = client.post("/v1/messages/batches", json={}, headers=token)

        assert answer.status_code == 404
        assert answer.json["error"]["type"] == "not_found_error"
        assert "POST /v1/messages/count_tokens" in answer.json["error"]["message"]

    def test_a_verb_that_is_not_there_is_told_in_the_same_shape(self, client, token):
        answer = client.get(MESSAGES, headers=token)

        assert answer.status_code == 405
        assert answer.headers["Allow"] == "POST"
        assert answer.json["type"] == "error"


class TestTools:
    """What an agent sends, to upstreams that know nothing of tools."""

    MANY = tuple(WEATHER | {"name": f"tool_{n}"} for n in range(28))

    @pytest.mark.parametrize("choice", [{}, {"tool_choice": {"type": "auto"}}])
    def test_tools_that_need_not_be_called_are_left_out(self, post, switch, choice):
        switch.fail(NoAnswer("read_timeout"))

        answer = post(tools=self.MANY, **choice)

        assert answer.status_code == 200
        assert answer.headers["X-Gateway-Provider"] == "madre"
        assert answer.headers["X-Gateway-Left-Out"] == "tools"

    def test_a_stream_says_so_too(self, post, switch):
        switch.fail(NoAnswer("read_timeout"))

        answer = post(tools=self.MANY, stream=True)

        assert events_of(answer)[-1].name == "message_stop"
        assert answer.headers["X-Gateway-Left-Out"] == "tools"

    @pytest.mark.parametrize(
        "choice", [{"type": "any"}, {"type": "tool", "name": "tool_1"}]
    )
    def test_one_that_must_be_called_is_a_need(self, post, switch, choice):
        switch.fail(NoAnswer("read_timeout"))

        answer = post(tools=self.MANY, tool_choice=choice)

        assert answer.status_code == 503
        assert answer.json["error"]["code"] == "ability_unavailable"

    def test_a_schema_for_the_answer_is_a_need(self, post, heard):
        schema = {"type": "json_schema", "schema": {"type": "object"}}
        post(output_config={"format": schema})

        assert heard[0].needs == {JSON}


class TestCounting:
    @pytest.fixture
    def counters(self):
        return ["switch"]

    @pytest.fixture
    def services(self, services, switch, madre, trail, health, gate, counters):
        router = ChatRouter(
            [a_guard(switch, health), a_guard(madre, health)],
            abilities={name: frozenset({COUNT}) for name in counters},
        )
        policy = ContentPolicy(Content.FULL, Redactor([TOKEN]), b"k" * 32)
        audited = Audited(Counted(router), trail, policy)
        return replace(services, chat=Admission(Metered(audited, ()), gate))

    def test_an_upstream_that_can_counts(self, post, heard, switch, trail):
        speaks(switch, (), usage=Usage(7))

        answer = post(path=COUNTS, stream=True, tools=[WEATHER])

        assert answer.json == {"input_tokens": 7}
        assert answer.headers["X-Gateway-Provider"] == "switch"
        assert heard[0].needs == {COUNT}
        assert trail.closed[0][1].outcome == "completed"

    @pytest.mark.parametrize("counters", [[]])
    def test_without_one_it_is_an_estimate_that_says_so(self, post, switch, trail):
        answer = post(path=COUNTS, max_tokens=None)

        assert 1 <= answer.json["input_tokens"] <= 10
        assert answer.headers["X-Gateway-Provider"] == "estimate"
        assert answer.headers["X-Gateway-Degraded"] == "false"
        assert switch.calls == 0
        assert trail.closed[0][1].outcome == "completed"

    def test_where_it_fails_the_estimate_is_degraded(self, post, switch):
        switch.fail(Unfit("unsupported"))

        headers = post(path=COUNTS).headers

        assert headers["X-Gateway-Provider"] == "estimate"
        assert headers["X-Gateway-Degraded"] == "true"
        assert headers["X-Gateway-Attempts"] == "2"

    def test_a_model_that_is_not_there_is_told(self, post, switch):
        switch.fail(UnknownModel("unknown_model"))

        assert post(path=COUNTS).status_code == 404

    def test_what_is_wrong_is_named(self, post):
        answer = post([], path=COUNTS)

        assert answer.status_code == 400
        assert "messages" in answer.json["error"]["message"]
