"""The door of Responses, as Codex, OpenAI's agents and AI SDK use it."""

import json

import pytest

from app.gateway.abilities import IMAGES, TOOLS
from app.gateway.chat import Delta, ReplyFacts, Usage
from app.gateway.errors import Interrupted
from app.services import PerProcess
from app.web import make_app
from tests.support.events import events_of, parse_events

PATH = "/v1/responses"
WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
}
CALL = {"index": 0, "id": "call_7", "function": {"name": "weather", "arguments": ""}}


@pytest.fixture
def ask(client, token):
    def ask(input="Hello", headers=(), **fields):  # noqa: A002  # as it is called
        body = {"model": "any", "input": input} | fields
        return client.post(PATH, json=body, headers=token | dict(headers))

    return ask


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


def speaks(switch, *deltas, **facts):
    """Have an upstream say this, and tell these facts at the end."""

    class Speaks(type(switch)):
        def open(self, request, budget, turn=None):
            stream = super().open(request, budget)
            stream.on_end(lambda s: s.learn(ReplyFacts(**facts)))
            return stream

        def _speak(self):
            yield from deltas

    switch.__class__ = Speaks


def piece(**delta):
    return Delta(delta.get("content", ""), ({"index": 0, "delta": delta},))


def said(request):
    return [m.raw or {"role": m.role, "content": m.content} for m in request.messages]


class TestWholeAnswer:
    def test_it_has_openais_shape(self, ask, switch, trail):
        speaks(switch, Delta("Hi"), usage=Usage(7, 5))

        answer = ask(instructions="Be kind.", temperature=0.5, store=True).json

        record = trail.closed[0][0].id
        assert (answer["id"], answer["object"]) == (f"resp_{record}", "response")
        assert (answer["status"], answer["store"]) == ("completed", False)
        assert (answer["instructions"], answer["temperature"]) == ("Be kind.", 0.5)
        assert (answer["error"], answer["incomplete_details"]) == (None, None)
        [message] = answer["output"]
        assert message.pop("id").startswith("msg_")
        assert message == {
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [
                {"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}
            ],
        }
        assert answer["usage"] == {
            "input_tokens": 7,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 12,
        }

    def test_thoughts_words_and_calls_are_items(self, ask, switch):
        deltas = [piece(reasoning_content="Hm."), Delta("One moment")]
        call = CALL | {"function": {"name": "weather", "arguments": '{"town":"Rome"}'}}
        end = {"index": 0, "finish_reason": "tool_calls"}
        speaks(switch, *deltas, piece(tool_calls=[call]), choices=(end,))

        thought, message, called = ask(tools=[WEATHER]).json["output"]

        assert thought["content"] == [{"type": "reasoning_text", "text": "Hm."}]
        assert message["content"][0]["text"] == "One moment"
        assert (called["type"], called["call_id"]) == ("function_call", "call_7")
        assert (called["name"], called["arguments"]) == ("weather", '{"town":"Rome"}')
        assert len({item["id"] for item in (thought, message, called)}) == 3

    @pytest.mark.parametrize("index", [None, {}, [], "0"])
    @pytest.mark.parametrize("stream", [False, True])
    def test_calls_are_told_whatever_stands_for_their_index(
        self, ask, switch, stream, index
    ):
        end = {"index": 0, "finish_reason": "tool_calls"}
        speaks(switch, piece(tool_calls=[CALL | {"index": index}]), choices=(end,))

        answer = ask(tools=[WEATHER], stream=stream)

        told = events_of(answer)[-1].data["response"] if stream else answer.json
        assert told["output"][0]["call_id"] == "call_7"

    @pytest.mark.parametrize(
        ("finish", "reason"),
        [("length", "max_output_tokens"), ("content_filter", "content_filter")],
    )
    @pytest.mark.parametrize("stream", [False, True])
    def test_half_an_answer_is_incomplete(self, ask, switch, stream, finish, reason):
        speaks(switch, Delta("Hi"), finish_reason=finish)

        answer = ask(stream=stream)

        told = events_of(answer)[-1].data["response"] if stream else answer.json
        assert (told["status"], told["output"][-1]["status"]) == ("incomplete",) * 2
        assert told["incomplete_details"] == {"reason": reason}

    def test_clients_get_numbers_where_nobody_has_counted(self, ask):
        assert ask().json["usage"]["total_tokens"] == 0


class TestStream:
    def test_the_ends_of_a_long_text_go_out_one_by_one(self, services, token, switch):
        text, sent = "\N{GRINNING FACE}" * 20_000, []
        speaks(switch, Delta(text))
        app = make_app(PerProcess(lambda: services))
        environ = app.test_request_context(
            PATH,
            method="POST",
            json={"input": "Hello", "stream": True},
            headers=token,
        ).request.environ

        app(environ, lambda *_: sent.append)

        lines = b"".join(sent).decode().splitlines()
        *_, part, item, last = parse_events(lines)
        assert (
            part.data["part"]["text"] == item.data["item"]["content"][0]["text"] == text
        )
        assert last.name == "response.completed"
        assert max(map(len, sent)) < 1.5 * len(json.dumps(text))

    def test_its_events_come_in_openais_order_and_are_numbered(self, ask, switch):
        more = {"index": 0, "function": {"arguments": '{"town":"Rome"}'}}
        end = {"index": 0, "finish_reason": "tool_calls"}
        speaks(
            switch,
            piece(reasoning_content="Hm."),
            Delta("One "),
            Delta("moment"),
            piece(tool_calls=[CALL]),
            piece(tool_calls=[more]),
            choices=(end,),
        )

        events = events_of(ask(stream=True, tools=[WEATHER]))

        assert [e.data["sequence_number"] for e in events] == list(range(len(events)))
        assert all(e.name == e.data["type"] for e in events)
        assert [e.name.removeprefix("response.") for e in events] == [
            "created",
            "in_progress",
            *("output_item.added", "content_part.added"),
            *("reasoning_text.delta", "reasoning_text.done"),
            *("content_part.done", "output_item.done"),
            *("output_item.added", "content_part.added"),
            *("output_text.delta", "output_text.delta", "output_text.done"),
            *("content_part.done", "output_item.done"),
            "output_item.added",
            *("function_call_arguments.delta", "function_call_arguments.done"),
            "output_item.done",
            "completed",
        ]
        begun, last = events[0].data["response"], events[-1].data["response"]
        assert (begun["status"], begun["output"]) == ("in_progress", [])
        assert last["id"] == begun["id"]
        done = [e.data["item"] for e in events if e.name.endswith("item.done")]
        assert last["output"] == done
        assert {item["status"] for item in done} == {"completed"}

    def test_calls_whose_pieces_take_turns_are_kept_apart(self, ask, switch):
        pieces = [
            {"index": i, "id": f"c{i}", "function": {"name": f"f{i}", "arguments": ""}}
            for i in (0, 1)
        ] + [
            {"index": i, "function": {"arguments": text}}
            for text in ("{", "}")
            for i in (0, 1)
        ]
        speaks(switch, *(piece(tool_calls=[one]) for one in pieces))

        *_, last = events_of(ask(stream=True, tools=[WEATHER]))

        items = last.data["response"]["output"]
        assert [(i["call_id"], i["name"], i["arguments"]) for i in items] == [
            ("c0", "f0", "{}"),
            ("c1", "f1", "{}"),
        ]

    def test_one_that_breaks_off_has_failed_and_its_last_item_is_no_whole_one(
        self, ask, switch, madre
    ):
        switch.breaks_with = Interrupted("truncated")
        madre.deltas = ["Something else"]

        *_, last = events_of(ask(stream=True))

        assert last.name == "response.failed"
        told = last.data["response"]
        assert (told["status"], told["error"]["code"]) == (
            "failed",
            "reply_interrupted",
        )
        assert told["output"][-1]["status"] == "incomplete"


class TestRequest:
    def test_a_conversation_of_items_is_that_of_a_chat(self, ask, heard):
        ask(
            [
                {"role": "developer", "content": "Be brief."},
                {
                    "type": "message",
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "Hello"},
                        {"type": "input_text", "text": "Rome?"},
                    ],
                },
                {"type": "reasoning", "id": "rs_1", "summary": []},
                {
                    "id": "msg_1",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "One moment"}],
                },
                *(
                    {
                        "type": "function_call",
                        "id": "fc_1",
                        "call_id": f"c{i}",
                        "name": "weather",
                        "arguments": "{}",
                    }
                    for i in (0, 1)
                ),
                {"type": "function_call_output", "call_id": "c0", "output": "sunny"},
                {"type": "function_call_output", "call_id": "c1", "output": []},
            ],
            instructions="Be kind.",
            tools=[WEATHER],
        )

        [request] = heard
        function = {"name": "weather", "arguments": "{}"}
        assert said(request) == [
            {"role": "system", "content": "Be kind."},
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello\nRome?"},
            {
                "role": "assistant",
                "content": "One moment",
                "tool_calls": [
                    {"id": f"c{i}", "type": "function", "function": function}
                    for i in (0, 1)
                ],
            },
            {"role": "tool", "tool_call_id": "c0", "content": "sunny"},
            {"role": "tool", "tool_call_id": "c1", "content": ""},
        ]
        assert (request.route, request.needs) == ("responses", {TOOLS})

    def test_a_picture_is_one(self, ask, heard):
        picture = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}
        text = {"type": "input_text", "text": "What is it?"}
        ask([{"role": "user", "content": [text, picture | {"detail": "low"}]}])

        [request] = heard
        assert said(request)[0]["content"] == [
            {"type": "text", "text": "What is it?"},
            {
                "type": "image_url",
                "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"},
            },
        ]
        assert request.needs == {IMAGES}

    def test_its_options_are_those_of_a_chat(self, ask, heard):
        schema = {"type": "object"}
        answer = ask(
            tools=[WEATHER | {"strict": True}, {"type": "web_search"}],
            tool_choice={"type": "function", "name": "weather"},
            text={"format": {"type": "json_schema", "name": "x", "schema": schema}},
            reasoning={"effort": "low", "summary": "auto"},
            max_output_tokens=9,
            temperature=0.2,
            top_k=5,
            include=["reasoning.encrypted_content"],
            prompt_cache_key="k",
            metadata={"session_id": "s-7"},
        )

        [request] = heard
        function = {"name": "weather", "parameters": WEATHER["parameters"]}
        assert request.extra == {
            "tools": [{"type": "function", "function": function | {"strict": True}}],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": schema},
            },
            "reasoning_effort": "low",
            "max_tokens": 9,
            "temperature": 0.2,
            "top_k": 5,
        }
        assert request.session_id == "s-7"
        assert answer.headers["X-Gateway-Left-Out"] == "built-in tools"
        assert answer.json["tools"][1] == {"type": "web_search"}

    def test_only_allowed_tools_are_shown(self, ask, heard):
        clock = {"type": "function", "name": "clock"}
        allowed = {"type": "allowed_tools", "mode": "required", "tools": [clock]}

        ask(tools=[WEATHER, clock], tool_choice=allowed)

        [request] = heard
        [tool] = request.extra["tools"]
        assert tool["function"]["name"] == "clock"
        assert request.extra["tool_choice"] == "required"

    @pytest.mark.parametrize("name", [[], {}, 1, None])
    def test_an_allowed_tool_whose_name_is_none_is_nobodys(self, ask, heard, name):
        allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"name": name}]}

        assert ask(tools=[WEATHER], tool_choice=allowed).status_code == 200

        [request] = heard
        assert "tools" not in request.extra

    @pytest.mark.parametrize(
        ("field", "fields"),
        [
            ("previous_response_id", {"previous_response_id": "resp_secret"}),
            ("conversation", {"conversation": {"id": "secret"}}),
            ("prompt", {"prompt": {"id": "secret"}}),
            ("background", {"background": True}),
            (
                "tool_choice",
                {"tool_choice": "required", "tools": [{"type": "web_search"}]},
            ),
            ("tool_choice", {"tool_choice": {"type": "secret"}}),
            ("text.format", {"text": {"format": {"type": "secret"}}}),
            ("max_output_tokens", {"max_output_tokens": 0}),
            ("input", {"input": ""}),
            ("input", {"input": []}),
            ("input", {"input": [{"type": "reasoning", "secret": 1}]}),
            ("input.0", {"input": [{"type": "item_reference", "id": "secret"}]}),
            ("input.0.role", {"input": [{"role": "secret", "content": "x"}]}),
            (
                "input.0.content.1",
                {
                    "input": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "input_text", "text": "x"},
                                {"type": "secret"},
                            ],
                        }
                    ]
                },
            ),
            ("input.0.call_id", {"input": [{"type": "function_call", "name": "f"}]}),
        ],
    )
    def test_what_nobody_here_can_do_is_named_and_never_repeated(
        self, ask, switch, field, fields
    ):
        answer = ask(**fields)

        assert answer.status_code == 400
        assert answer.json["error"]["param"] == field
        assert "secret" not in json.dumps(answer.json)
        assert switch.calls == 0
