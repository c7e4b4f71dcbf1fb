"""Tokens over HTTP: listed, made, rotated and revoked, each change on record."""

import json
import re
from dataclasses import replace
from typing import get_args

import pytest

from app.gateway.access.token_issuer import TokenIssuer
from app.gateway.access.tokens import ALL_SCOPES, Caller, Keyring, Token
from app.services import PerProcess
from app.storage.tokens.edit import TokenFile
from app.storage.tokens.last_used import LastUsed
from app.web import make_app
from app.web.schemas.operator.tokens import Scope
from tests.web.conftest import TOKEN

TOKENS = "/operator/api/tokens"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tokens.toml"


@pytest.fixture
def keyring():
    admin = Caller("boss", frozenset({"admin"}))
    return Keyring([Token.of(admin, TOKEN)])


@pytest.fixture
def call(services, token, trail, keyring, path, tmp_path):
    path.touch(0o600)
    used = LastUsed(tmp_path, keyring.used)
    issuer = TokenIssuer(TokenFile(path), trail, used)
    ours = replace(services, keyring=keyring, tokens=issuer)
    client = make_app(PerProcess(lambda: ours)).test_client()

    def make(method, path=TOKENS, **body):
        return client.open(path, method=method, headers=token, **body)

    return make


def listed(call):
    answer = call("GET")
    assert answer.status_code == 200
    return [one for one in answer.json["tokens"] if one["source"] == "file"]


def test_a_token_is_made_shown_once_and_in_effect(call, keyring, path, trail):
    wanted = {
        "name": "ci",
        "scopes": ["chat", "audit"],
        "class": "low",
        "rate": 60,
        "volume": 1000,
        "names_people": True,
        "expires": "2100-01-01T12:00:00.5Z",
    }

    made = call("POST", json=wanted)

    assert made.status_code == 200, made.text
    secret = made.json["token"]
    (shown,) = listed(call)
    assert shown == {k: v for k, v in made.json.items() if k != "token"}
    assert {name: shown[name] for name in ("name", "class", "rate", "volume")} == {
        "name": "ci",
        "class": "low",
        "rate": 60,
        "volume": 1000,
    }
    assert shown["scopes"] == ["audit", "chat"]
    assert shown["expires"] == "2100-01-01T12:00:00Z"
    assert shown["last_used"] is None
    keyring.replace(TokenFile(path).tokens())
    assert keyring.authenticate(secret.encode()).name == "ci"
    assert listed(call)[0]["last_used"]
    assert secret not in path.read_text()
    assert secret not in call("GET").text
    ((intent, closing),) = trail.closed
    assert (intent.caller, closing.code) == ("boss", "token_made")
    assert secret not in intent.request


def test_it_is_rotated_and_the_old_one_revoked_by_its_id(call, trail):
    old = call("POST", json={"name": "ci", "rate": 5}).json
    new = call("POST", json={"name": "ci", "rotate": True}).json
    assert (new["rate"], new["id"] != old["id"]) == (5, True)

    gone = call("DELETE", f"{TOKENS}/{old['id']}")

    assert (gone.status_code, gone.json["state"]) == (200, "revoked")
    assert [one["id"] for one in listed(call)] == [new["id"]]
    codes = [closing.code for _, closing in trail.closed]
    assert codes == ["token_made", "token_made", "token_revoked"]
    told = json.loads(trail.closed[-1][0].request)
    assert (told["token"], told["token_id"]) == ("ci", old["id"])
    assert call("DELETE", f"{TOKENS}/{old['id']}").status_code == 404


def test_a_name_is_taken_once(call):
    call("POST", json={"name": "ci"})

    again = call("POST", json={"name": "ci"})

    assert (again.status_code, again.json["code"]) == (409, "name_taken")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "Upper"}, "name"),
        ({"name": "operator"}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"name": 5}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["all-of-it"]}, "scopes.0"),
        ({"class": "best"}, "class"),
        ({"rate": 0}, "rate"),
        ({"rate": True}, "rate"),
        ({"rate": "60"}, "rate"),
        ({"volume": -1}, "volume"),
        ({"names_people": "yes"}, "names_people"),
        ({"expires": "tomorrow"}, "expires"),
        ({"expires": True}, "expires"),
        ({"token": "mine"}, "token"),
        ({"name": "nobody-yet", "rotate": True}, "name"),
    ],
)
def test_a_mistake_is_422_names_its_field_and_makes_nothing(call, trail, wrong, field):
    answer = call("POST", json={"name": "ci"} | wrong)

    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert "all-of-it" not in answer.text
    assert (listed(call), trail.closed) == ([], [])


@pytest.mark.parametrize(
    "times",
    [
        {"expires": "2020-01-01T00:00:00Z"},
        {"expires": 0},
        {"expires": "2100-01-01T00:00:00Z", "not_before": "2101-01-01T00:00:00Z"},
    ],
)
def test_a_token_that_would_never_be_valid_is_not_made(call, trail, times):
    answer = call("POST", json={"name": "ci"} | times)

    assert (answer.status_code, answer.json["code"]) == (409, "never_valid")
    assert (listed(call), trail.closed) == ([], [])


def test_every_scope_can_be_given_by_api_and_page(client):
    page = client.get("/operator/tokens").text

    assert set(get_args(Scope)) == ALL_SCOPES
    assert set(re.findall(r'name="scope" value="(\w+)"', page)) == ALL_SCOPES


def test_without_a_record_nothing_is_made(call, trail):
    trail.is_down = True

    answer = call("POST", json={"name": "ci"})

    assert (answer.status_code, answer.json["code"]) == (503, "audit_unavailable")
    assert listed(call) == []


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_file_that_cannot_be_used_says_where_and_not_what(call, path, method):
    path.write_text("[[tokens]]\nname = a-secret-that-is-no-string")
    where = f"{TOKENS}/00000000" if method == "DELETE" else TOKENS
    body = {"json": {"name": "ci", "rotate": True}} if method == "POST" else {}

    answer = call(method, where, **body)

    assert (answer.status_code, answer.json["code"]) == (409, "tokens_unusable")
    assert "tokens.toml:2:" in answer.json["detail"]
    assert "a-secret" not in answer.text


def test_where_there_is_no_file_it_is_said(services, token, keyring):
    ours = replace(services, keyring=keyring)
    client = make_app(PerProcess(lambda: ours)).test_client()

    shown = client.get(TOKENS, headers=token).json
    made = client.post(TOKENS, headers=token, json={"name": "ci"})
    gone = client.delete(f"{TOKENS}/00000000", headers=token)

    assert shown["may_change"] is False
    assert [one["source"] for one in shown["tokens"]] == ["environment"]
    assert {made.json["code"], gone.json["code"]} == {"no_tokens_file"}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", TOKENS), ("POST", TOKENS), ("DELETE", f"{TOKENS}/00000000")],
)
def test_they_are_for_the_scope_admin_alone(services, token, method, path):
    others = Caller("other", frozenset({"chat", "metrics", "audit"}))
    ours = replace(services, keyring=Keyring([Token.of(others, TOKEN)]))
    client = make_app(PerProcess(lambda: ours)).test_client()

    assert client.open(path, method=method).status_code == 401
    assert client.open(path, method=method, headers=token).status_code == 403
