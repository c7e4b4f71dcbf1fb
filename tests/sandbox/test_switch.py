"""The stand-in switch keeps to docs/contracts.md."""

import json

import pytest
import requests

from sandbox.server import SandboxServer

FIELDS = {
    "status": str,
    "reply": str,
    "content": str,
    "engine_used": str,
    "latency_ms": int,
    "provider": str,
    "decision": str,
    "used_cli": bool,
    "fallback_reason": type(None),
    "tokens_used": int,
}


@pytest.fixture
def ask(switch, token):
    def post(body=None, *, data=None, headers=None, path="/switch/chat"):
        shown = {"X-VX11-Token": token} if headers is None else headers
        return requests.post(
            switch.url + path,
            json=body,
            data=data,
            headers={"Content-Type": "application/json"} | shown,
            allow_redirects=False,
            timeout=5,
        )

    return post


def test_a_reply_has_every_field_in_its_type(ask, switch_body):
    answer = ask(switch_body)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert {name: type(value) for name, value in answer.json().items()} == FIELDS
    assert answer.json()["status"] == "ok"
    assert answer.json()["reply"] == answer.json()["content"]


def test_a_reply_says_that_it_comes_from_the_sandbox(ask, switch_body):
    reply = ask(switch_body).json()

    assert reply["engine_used"] == "sandbox-eliza"
    assert "sandbox" in reply["reply"]


def test_neither_correlation_nor_session_id_comes_back(ask, switch_body):
    answer = ask(switch_body | {"session_id": "s-echo", "correlation_id": "c-echo"})

    assert "echo" not in answer.text + str(answer.headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-VX11-Token": ""},
        {"X-VX11-Token": "a-wrong-token-0123456789"},
        {"Authorization": "Bearer a-token-for-tests-0123456789"},
        {"X-VX11-Token": "Bearer a-token-for-tests-0123456789"},
        {"X-VX11-Token": "caf\xe9".encode("latin-1")},
    ],
    ids=["missing", "empty", "wrong", "bearer", "bearer in the header", "not ascii"],
)
def test_no_right_token_is_401_never_403(ask, switch_body, headers):
    answer = ask(switch_body, headers=headers)

    assert answer.status_code == 401
    assert answer.json() == {"detail": "auth_required"}


def test_a_sandbox_without_a_token_takes_any_that_is_not_empty(switch_body):
    with SandboxServer("switch") as server:
        answers = [
            requests.post(
                server.url + "/switch/chat",
                json=switch_body,
                headers={"X-VX11-Token": shown},
                timeout=5,
            ).status_code
            for shown in ("anything", "")
        ]

    assert answers == [200, 401]


def test_malformed_json_is_422_even_before_authentication(ask):
    answer = ask(data=b'{"messages": [', headers={})

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["type"] == "json_invalid"


def test_bad_utf8_is_400(ask):
    assert ask(data=b'{"messages": "\xff\xfe"}').status_code == 400


def test_json_nested_too_deep_is_400(ask):
    assert ask(data=b"[" * 200_000).status_code == 400


def test_a_lone_surrogate_is_500_in_plain_text(ask):
    body = rb'{"messages": [{"role": "user", "content": "half \ud800"}]}'

    answer = ask(data=body)

    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == "Internal Server Error"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"metadata": None}, "metadata"),
        ({"session_id": None}, "session_id"),
        ({"correlation_id": 7}, "correlation_id"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, "content"),
        ({"messages": [{"content": "no role"}]}, "role"),
    ],
)
def test_a_field_of_another_type_is_422_and_named(ask, switch_body, change, where):
    answer = ask(switch_body | change)

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", where]


@pytest.mark.parametrize("body", [[], "text", {"messages": ["text"]}, {}])
def test_another_shape_is_422(ask, body):
    assert ask(data=json.dumps(body)).status_code == 422


def test_a_body_of_the_wrong_shape_does_not_get_past_the_token(ask):
    assert ask({"messages": None}, headers={}).status_code == 401


def test_a_trailing_slash_is_307_to_the_same_host(ask, switch, switch_body):
    answer = ask(switch_body, path="/switch/chat/")

    assert answer.status_code == 307
    assert answer.headers["location"] == switch.url + "/switch/chat"


def test_health_needs_no_token_and_knows_get_only(switch):
    got = requests.get(switch.url + "/health", timeout=5)
    headed = requests.head(switch.url + "/health", timeout=5)

    assert (got.status_code, got.json()["status"]) == (200, "ok")
    assert (headed.status_code, headed.headers["allow"]) == (405, "GET")


def test_other_paths_and_methods_are_404_and_405(switch, ask):
    assert ask({}, path="/switch/other").status_code == 404
    assert requests.get(switch.url + "/switch/chat", timeout=5).status_code == 405


def test_the_earlier_turns_are_part_of_the_conversation(ask, switch_body):
    turns = ["I like my garden", "It is large", "The soil is dry", "Nothing grows"]
    replies = set()
    for count in range(1, len(turns) + 1):
        messages = [{"role": "user", "content": text} for text in turns[:count]]
        replies.add(ask(switch_body | {"messages": messages}).json()["reply"])

    assert any("Earlier you spoke of your garden" in reply for reply in replies)


def test_the_same_messages_get_the_same_reply(ask, switch_body):
    assert ask(switch_body).json() == ask(switch_body).json()
