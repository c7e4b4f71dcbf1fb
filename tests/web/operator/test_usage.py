"""Usage over HTTP: day by day, for those who may read records."""

from dataclasses import replace
from time import time

import pytest

from app.gateway.access.tokens import Caller, Keyring, Token
from app.gateway.records.activity import Usage
from app.gateway.records.usage import CALLERS_MAX, DAY
from app.services import PerProcess
from app.web import make_app
from tests.support.fakes import FakeActivity
from tests.web.conftest import TOKEN

USAGE = "/operator/api/usage"
SHOP = Usage("shop", None, 9, 6, 1, 1, 1, 1, 100, 20)


@pytest.fixture
def ask(services, token):
    def get(used=(SHOP,), **query):
        past = replace(services, activity=FakeActivity(used=used))
        client = make_app(PerProcess(lambda: past)).test_client()
        return client.get(USAGE, query_string=query, headers=token)

    return get


def test_each_day_has_its_callers_with_chats_tokens_and_errors(ask):
    answer = ask(days=2)

    assert answer.status_code == 200
    assert [day["began"] % DAY for day in answer.json["days"]] == [0, 0]
    assert answer.json["since"] == answer.json["days"][-1]["began"]
    assert answer.json["days"][0]["usage"] == [
        {
            "caller": "shop",
            "person": None,
            "chats": 9,
            "answered": 6,
            "degraded": 1,
            "failed": 1,
            "refused": 1,
            "cancelled": 1,
            "input_tokens": 100,
            "output_tokens": 20,
        }
    ]
    assert answer.json["is_whole"] is True
    assert time() - answer.json["now"] < 60


def test_it_says_if_a_day_has_more_than_is_shown(ask):
    many = tuple(replace(SHOP, caller=f"c{n}") for n in range(CALLERS_MAX))

    assert ask(many, days=1).json["is_whole"] is False


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"days": "0"}, "days"),
        ({"days": "93"}, "days"),
        ({"days": "x"}, "days"),
        ({"by": "secret-value"}, "by"),
        ({"since": "1"}, "since"),
        ({"by": ["caller", "person"]}, "by"),
    ],
)
def test_what_makes_no_sense_is_422_and_names_the_field(ask, query, field):
    answer = ask(**query)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert "secret-value" not in answer.text


def test_it_is_for_the_scope_audit_alone(services, token):
    talker = Caller("talker", frozenset({"chat", "metrics", "admin"}))
    keyring = Keyring([Token.of(talker, TOKEN)])
    ours = replace(services, keyring=keyring)
    client = make_app(PerProcess(lambda: ours)).test_client()

    assert client.get(USAGE).status_code == 401
    assert client.get(USAGE, headers=token).status_code == 403
