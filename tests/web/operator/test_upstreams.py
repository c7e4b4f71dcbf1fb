"""The upstreams' cards over HTTP, and asking one for its health by hand."""

import json
from concurrent.futures import Future
from dataclasses import replace
from time import time

import pytest

from app.gateway.access.tokens import Caller, Keyring, Token
from app.gateway.chain.metered import Ending
from app.gateway.chat import Attempt, ChatReply
from app.gateway.guard.health import HealthBoard
from app.gateway.records.activity import Moment
from app.gateway.shared import InProcessState
from app.services import PerProcess, Whereabouts
from app.web import make_app
from tests.support.fakes import FakeActivity, a_request
from tests.web.conftest import TOKEN

CARDS = "/operator/api/upstreams"


def answered(is_alive):
    future = Future()
    future.set_result(is_alive)
    return lambda _: future


@pytest.fixture
def call(services, token):
    def make(method, path, **changes):
        ours = replace(services, **changes)
        client = make_app(PerProcess(lambda: ours)).test_client()
        return client.open(path, method=method, headers=token)

    return make


def failed(history, correlation_id):
    attempts = (Attempt("switch", "silent", 5.0),)
    history.ended(
        Ending(
            a_request(correlation_id=correlation_id),
            ChatReply(text="", upstream="switch", model="", attempts=attempts),
            outcome="failed",
            error_type="",
            duration=5.0,
            queued=0.0,
            overhead=0.0,
            overshoot=-1.0,
        )
    )


def test_a_card_tells_where_an_upstream_is_and_how_its_calls_went(call):
    told = [
        {"upstream": "switch", "fault": "http_5xx", "duration": 0.1},
        {"upstream": "madre", "fault": None, "duration": 0.4},
    ]
    at = time() - 5
    chat = Moment(
        at, 0.5, "completed", 200, "madre", "http_5xx", None, "r1", json.dumps(told)
    )
    where = {"switch": Whereabouts("switch", "http://127.0.0.1:8200")}

    answer = call("GET", CARDS, activity=FakeActivity((chat,)), where=where)

    assert answer.status_code == 200
    switch, madre = answer.json["upstreams"]
    assert (switch["name"], switch["kind"], switch["address"]) == (
        "switch",
        "switch",
        "http://127.0.0.1:8200",
    )
    assert (switch["calls"], switch["failures"], switch["error_rate"]) == (1, 1, 1.0)
    assert switch["last_failure"] == {"at": at, "fault": "http_5xx", "record": "r1"}
    assert switch["p50"] is switch["last_success"] is None
    assert (madre["p50"], madre["p95"], madre["error_rate"]) == (0.4, 0.4, 0.0)


def test_a_failure_of_long_ago_is_told_by_its_correlation_id(call, services):
    failed(services.board.history, "c-of-yesterday")

    switch, madre = call("GET", CARDS).json["upstreams"]

    assert switch["last_failure"]["record"] == "c-of-yesterday"
    assert switch["last_failure"]["fault"] == "silent"
    assert time() - switch["last_failure"]["at"] < 60
    assert switch["calls"] == 0
    assert madre["last_failure"] is None


def test_one_that_is_alive_says_so(call):
    answer = call("POST", f"{CARDS}/switch/health", inquire=answered(True))

    assert (answer.json["status"], answer.json["reason"]) == ("up", "ok")


def test_one_that_is_not_alive_says_why(call, services):
    services.health.note("switch", "connect_refused")

    answer = call("POST", f"{CARDS}/switch/health", inquire=answered(False))

    assert (answer.json["status"], answer.json["reason"]) == ("down", "connect_refused")


def test_an_inquiry_that_is_given_up_says_nothing_of_the_upstream(call):
    future = Future()
    future.cancel()

    answer = call("POST", f"{CARDS}/switch/health", inquire=lambda _: future)

    assert answer.json["status"] == "unknown"


def test_one_that_is_never_asked_is_not_asked_now(call):
    board = HealthBoard(InProcessState(), unprobed=["switch"])

    answer = call("POST", f"{CARDS}/switch/health", health=board)

    assert answer.json["status"] == "unprobed"


def test_one_that_there_is_not_is_404(call):
    assert call("POST", f"{CARDS}/nobody/health").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"), [("GET", CARDS), ("POST", f"{CARDS}/switch/health")]
)
def test_they_are_for_the_scope_audit_alone(call, method, path):
    talker = Caller("talker", frozenset({"chat", "metrics", "admin"}))

    refused = call(method, path, keyring=Keyring([Token.of(talker, TOKEN)]))

    assert refused.status_code == 403
