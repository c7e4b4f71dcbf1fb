"""The stand-in for servers that speak OpenAI's chat completions."""

import json

import pytest
import requests

from sandbox.openai import OpenAI, Voice
from sandbox.server import SandboxServer

KEY = "sk-canary"
SPEECH = "Five words and no more"
TOOL = {"type": "function", "function": {"name": "lookup"}}


@pytest.fixture
def server():
    with SandboxServer(OpenAI(KEY, voice=Voice(SPEECH, model="m"))) as server:
        yield server


@pytest.fixture
def ask(server):
    def ask(key=KEY, **fields):
        body = {"messages": [{"role": "user", "content": "I need a boat"}]} | fields
        return requests.post(
            f"{server.url}/v1/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {key}"},
            timeout=10,
        )

    return ask


def events(answer):
    lines = [line for line in answer.text.split("\n\n") if line]
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_it_answers_whole_with_model_and_usage(ask):
    said = ask().json()

    assert said["choices"][0]["message"]["content"] == SPEECH
    assert said["model"] == "m"
    assert said["usage"] == {
        "prompt_tokens": 4,
        "completion_tokens": 5,
        "total_tokens": 9,
    }


def test_it_streams_word_by_word(ask):
    answer = ask(stream=True, stream_options={"include_usage": True})

    first, *words, last, usage = events(answer)
    deltas = [word["choices"][0]["delta"]["content"] for word in words]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(deltas) == SPEECH
    assert last["choices"][0]["finish_reason"] == "stop"
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 5)


def test_it_says_so_many_choices_as_are_asked_for(ask):
    assert len(ask(n=3).json()["choices"]) == 3
    assert len(events(ask(n=3, stream=True))[1]["choices"]) == 3


def test_given_a_tool_it_calls_it_until_it_has_its_result(ask):
    (call,) = ask(tools=[TOOL]).json()["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {
        "name": "lookup",
        "arguments": '{"question":"I need a boat"}',
    }

    result = {"role": "tool", "content": "42", "tool_call_id": call["id"]}
    said = ask(tools=[TOOL], messages=[result]).json()
    assert said["choices"][0]["message"]["content"] == SPEECH


@pytest.mark.parametrize(
    ("wrong", "status", "code"),
    [
        ({"key": "another"}, 401, "invalid_api_key"),
        ({"messages": "none"}, 400, "invalid_request_error"),
        ({"tools": 1}, 400, "invalid_request_error"),
        ({"tools": [None]}, 400, "invalid_request_error"),
        ({"tools": [{"type": "function"}]}, 400, "invalid_request_error"),
    ],
)
def test_it_refuses_in_the_shape_that_clients_know(ask, wrong, status, code):
    answer = ask(**wrong)

    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code


def test_it_lists_its_model(server):
    url, headers = f"{server.url}/v1/models", {"Authorization": f"Bearer {KEY}"}

    (model,) = requests.get(url, headers=headers, timeout=10).json()["data"]

    assert model["id"] == "m"
    assert requests.get(url, timeout=10).status_code == 401


def test_without_a_speech_of_its_own_it_holds_a_small_talk():
    with SandboxServer("openai") as server:
        body = {"messages": [{"role": "user", "content": "I need a boat"}]}
        url = f"{server.url}/v1/chat/completions"

        said = requests.post(url, json=body, timeout=10).json()

    assert "boat" in said["choices"][0]["message"]["content"]


def test_a_conversation_that_ends_with_the_assistant_may_be_rejected(server, ask):
    server.break_with("rejects_prefill")
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]

    assert ask().status_code == 200
    assert ask(messages=turns).status_code == 400
