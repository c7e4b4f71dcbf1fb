"""The stand-in madre keeps to docs/contracts.md."""

import pytest
import requests

FIELDS = {
    "response": str,
    "session_id": str,
    "intent_id": str,
    "plan_id": str,
    "status": str,
    "mode": str,
    "provider": str,
    "model": str,
    "warnings": list,
    "targets": list,
    "actions": list,
}


@pytest.fixture
def ask(madre):
    def post(body=None, *, data=None, path="/madre/chat"):
        return requests.post(madre.url + path, json=body, data=data, timeout=5)

    return post


def test_a_reply_has_every_field_in_its_type_and_wants_no_token(ask, madre_body):
    answer = ask(madre_body)

    assert answer.status_code == 200
    reply = answer.json()
    assert {name: type(value) for name, value in reply.items()} == FIELDS
    assert (reply["status"], reply["provider"]) == ("DONE", "fallback_local")
    assert reply["session_id"] == "s-1"


def test_a_reply_says_that_it_comes_from_the_sandbox(ask, madre_body):
    reply = ask(madre_body).json()

    assert reply["model"] == "sandbox-eliza"
    assert "Sandbox" in reply["response"]


def test_the_correlation_id_does_not_come_back(ask, madre_body):
    answer = ask(madre_body | {"correlation_id": "c-echo"})

    assert "echo" not in answer.text + str(answer.headers)


def test_session_and_context_may_be_null(ask, madre_body):
    answer = ask(madre_body | {"session_id": None, "context": None})

    assert answer.status_code == 200
    assert answer.json()["session_id"]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"message": None}, "message"),
        ({"message": 7}, "message"),
        ({"session_id": 7}, "session_id"),
        ({"correlation_id": None}, "correlation_id"),
        ({"context": []}, "context"),
    ],
)
def test_a_field_of_another_type_is_422_and_named(ask, madre_body, change, where):
    answer = ask(madre_body | change)

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", where]


def test_a_missing_message_is_422(ask):
    assert ask({"session_id": "s"}).json()["detail"][0]["type"] == "missing"


def test_malformed_json_is_422_bad_utf8_400_and_a_lone_surrogate_500(ask):
    bodies = [b"{", b'{"message": "\xff"}', rb'{"message": "\ud800"}']

    assert [ask(data=body).status_code for body in bodies] == [422, 400, 500]


def test_maintenance_after_a_task_is_accepted(ask):
    answer = ask(path="/madre/power/maintenance/post_task")

    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_the_same_message_gets_the_same_reply(ask, madre_body):
    assert ask(madre_body).json() == ask(madre_body).json()
