"""What a chat in OpenAI's shape becomes in Anthropic's wire."""

import pytest

from app.gateway.chat import ChatRequest, Message
from app.gateway.errors import Unfit
from app.upstreams.anthropic.request import payload

PNG = "iVBORw0KGgo="
CALL = {"id": "call.1", "type": "function", "function": {"name": "f"}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d"}}
EMPTY_SCHEMA = {"type": "object", "properties": {}}


def said(role, content="", **raw):
    told = raw and {"role": role, "content": content} | raw
    text = content if isinstance(content, str) else ""
    return Message(role, text, told or None)


def parts(role, *parts):
    return Message(role, "", {"role": role, "content": list(parts)})


def asked(*messages, anthropic=None, **extra):
    messages = messages or (said("user", "Hi"),)
    request = ChatRequest(messages, "s", "c", extra=extra, anthropic=anthropic or {})
    return payload(request, "m", 100)


def text(text):
    return {"type": "text", "text": text}


def test_system_and_developer_are_apart_from_the_turns():
    body = asked(
        said("system", "A"), said("user", "Hi"), said("developer", "B"), said("system")
    )

    assert body["system"] == [text("A"), text("B")]
    assert body["messages"] == [{"role": "user", "content": [text("Hi")]}]


def test_neighbours_of_one_role_are_one_turn_and_blank_ones_are_none():
    body = asked(
        said("user", "a"),
        said("user", " \n"),
        said("assistant", ""),
        said("user", "b"),
        said("assistant", "c"),
    )

    assert body["messages"] == [
        {"role": "user", "content": [text("a"), text("b")]},
        {"role": "assistant", "content": [text("c")]},
    ]


def test_a_conversation_with_tools():
    legacy = {"name": "g", "arguments": ""}
    body = asked(
        said("user", "Hi"),
        said("assistant", "Well", tool_calls=[CALL, CALL | {"id": "2"}]),
        said("tool", "one", tool_call_id="call.1"),
        said("tool", "", tool_call_id="2"),
        said("user", "go on"),
        said("assistant", None, function_call=legacy),
        said("function", "three", name="g"),
    )

    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                text("Well"),
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {}},
                {"type": "tool_use", "id": "2", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "call_1",
                    "content": [text("one")],
                },
                {"type": "tool_result", "tool_use_id": "2"},
                text("go on"),
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "g", "name": "g", "input": {}}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "g", "content": [text("three")]}
            ],
        },
    ]


def test_pictures_and_documents():
    picture = f"data:image/png;base64,{PNG}"
    paper = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}
    body = asked(
        parts(
            "user",
            {"type": "image_url", "image_url": {"url": picture}},
            {"type": "image_url", "image_url": "https://pictures.test/1"},
            {"type": "file", "file": paper},
            text("What is it?"),
        )
    )

    kinds = [
        ("image", {"type": "base64", "media_type": "image/png", "data": PNG}),
        ("image", {"type": "url", "url": "https://pictures.test/1"}),
        (
            "document",
            {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
        ),
    ]
    sources = [{"type": kind, "source": source} for kind, source in kinds]
    assert body["messages"][0]["content"] == [*sources, text("What is it?")]


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({"max_completion_tokens": 8, "max_tokens": 7}, {"max_tokens": 8}),
        ({"max_tokens": None}, {}),
        ({"temperature": 0.3, "top_p": 0.9}, {"temperature": 0.3, "top_p": 0.9}),
        ({"temperature": 2}, {"temperature": 1.0}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"stop": None, "seed": 7, "logprobs": True}, {}),
        ({"user": "u-1"}, {"metadata": {"user_id": "u-1"}}),
        ({"tool_choice": "auto"}, {}),
        ({"response_format": {"type": "text"}}, {}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": {"type": "object"}},
                }
            },
            {
                "output_config": {
                    "format": {"type": "json_schema", "schema": {"type": "object"}}
                }
            },
        ),
    ],
)
def test_the_options_that_both_wires_have(extra, told):
    body = asked(**extra)

    del body["model"], body["messages"]
    assert body == {"max_tokens": 100} | told


@pytest.mark.parametrize(
    ("extra", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"type": "tool", "name": "f"},
        ),
        (
            {"parallel_tool_calls": False},
            {"type": "auto", "disable_parallel_tool_use": True},
        ),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {"type": "none"}),
    ],
)
def test_tools_and_their_choice(extra, choice):
    body = asked(tools=[TOOL], **extra)

    tool = {"name": "f", "description": "d", "input_schema": EMPTY_SCHEMA}
    assert body["tools"] == [tool]
    assert body.get("tool_choice") == choice


def test_what_only_this_wire_can_say_is_said():
    thought = {"type": "thinking", "thinking": "Hm", "signature": "s"}
    mark = {"type": "ephemeral"}
    body = asked(
        Message("system", "A", None, {"cache_control": mark}),
        said("user", "Hi"),
        Message("assistant", "Yes", None, {"thinking": [thought]}),
        Message(
            "tool",
            "x",
            {"role": "tool", "content": "x", "tool_call_id": "1"},
            {"is_error": True, "cache_control": mark},
        ),
        anthropic={"fields": {"thinking": {"type": "adaptive"}}, "betas": "b"},
    )

    assert body["system"] == [text("A") | {"cache_control": mark}]
    assert body["messages"][1]["content"] == [thought, text("Yes")]
    assert body["messages"][2]["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "1",
            "content": [text("x")],
            "is_error": True,
            "cache_control": mark,
        }
    ]
    assert body["thinking"] == {"type": "adaptive"}
    assert "betas" not in body


def test_only_signed_thoughts_of_an_openai_caller_go_back():
    signed = {"type": "thinking", "thinking": "Hm", "signature": "s"}
    unsigned = {"type": "thinking", "thinking": "Hm", "signature": ""}
    body = asked(
        said("user", "Hi"), said("assistant", "Yes", thinking_blocks=[signed, unsigned])
    )

    assert body["messages"][1]["content"] == [signed, text("Yes")]


@pytest.mark.parametrize(
    "messages",
    [
        (said("system", "A"),),
        (parts("user", {"type": "input_audio", "input_audio": {}}),),
        (parts("user", {"type": "image_url", "image_url": {}}),),
        (parts("user", {"type": "file", "file": {"file_id": "f"}}),),
        (said("assistant", "", tool_calls=[CALL | {"function": {}}]),),
        (
            said(
                "assistant",
                "",
                tool_calls=[{"id": "1", "function": {"name": "f", "arguments": "{"}}],
            ),
        ),
        (
            said(
                "assistant",
                "",
                tool_calls=[{"id": "1", "function": {"name": "f", "arguments": "[]"}}],
            ),
        ),
    ],
)
def test_what_this_wire_cannot_say_is_for_another_upstream(messages):
    with pytest.raises(Unfit):
        asked(*messages)


@pytest.mark.parametrize(
    "extra",
    [
        {"tools": [{"type": "custom", "custom": {"name": "f"}}]},
        {"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema"}},
    ],
)
def test_a_need_that_this_wire_cannot_meet_is_for_another_upstream(extra):
    with pytest.raises(Unfit):
        asked(**extra)
