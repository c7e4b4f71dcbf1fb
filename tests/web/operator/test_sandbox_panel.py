"""Break it: only where a sandbox is, only for who may, and never with nonsense."""

from dataclasses import replace

import pytest

from app.gateway.access.tokens import Caller, Keyring, Token
from app.services import PerProcess
from app.upstreams.http.transport import Transport
from app.upstreams.sandbox_control import SandboxControl
from app.web import make_app
from tests.support.stack import sandbox
from tests.web.conftest import TOKEN

PANEL = "/operator/api/sandbox"
FAULT = f"{PANEL}/switch/fault"


@pytest.fixture
def stand_ins():
    with sandbox() as (switch, madre):
        yield {"switch": switch, "madre": madre}


@pytest.fixture
def panel(stand_ins):
    transport = Transport()
    urls = {name: server.control_url for name, server in stand_ins.items()}
    yield SandboxControl(urls, transport)
    transport.close()


@pytest.fixture
def breaker(services, panel):
    """A caller of a gateway with a sandbox behind it."""
    app = make_app(PerProcess(lambda: replace(services, fault_panel=panel)))
    return app.test_client()


def test_a_stand_in_is_broken_shown_and_healed(breaker, token, stand_ins):
    wish = {"fault": "slow", "times": 2, "params": {"seconds": 1}}

    shown = breaker.post(FAULT, json=wish, headers=token).json

    assert (shown["fault"], shown["times"]) == ("slow", 2)
    assert shown["params"] == {"seconds": 1.0}
    services = breaker.get(PANEL, headers=token).json["services"]
    assert services == {"switch": shown, "madre": {"fault": None}}
    assert breaker.delete(FAULT, headers=token).json == {"fault": None}


def test_a_stand_in_that_refuses_connections_can_still_be_healed(
    breaker, token, stand_ins
):
    breaker.post(FAULT, json={"fault": "refuse"}, headers=token)

    assert breaker.delete(FAULT, headers=token).json == {"fault": None}


def test_every_fault_is_told_with_its_sentence(breaker, token):
    faults = breaker.get(PANEL, headers=token).json["faults"]

    assert {"name": "hang"}.items() <= next(
        f for f in faults if f["name"] == "hang"
    ).items()
    assert all(fault["sentence"] for fault in faults)


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({}, "fault"),
        ({"fault": 7}, "fault"),
        ({"fault": "no_such_fault"}, "fault"),
        ({"fault": "hang", "times": 0}, "times"),
        ({"fault": "hang", "params": {"unknown": 1}}, "fault"),
        ({"fault": "hang", "params": {"seconds": [1]}}, "params"),
        ({"fault": "hang", "path": "/health"}, "path"),
        ([], ""),
    ],
)
def test_a_wish_that_makes_no_sense_is_422_and_breaks_nothing(
    breaker, token, wish, field
):
    answer = breaker.post(FAULT, json=wish, headers=token)

    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"].startswith(field)
    assert breaker.get(PANEL, headers=token).json["services"]["switch"] == {
        "fault": None
    }


@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_without_a_sandbox_there_is_nothing(client, token, method):
    path = PANEL if method == "get" else FAULT

    answer = getattr(client, method)(path, headers=token, json={"fault": "hang"})

    assert answer.status_code == 404


def test_a_stand_in_that_nobody_knows_is_404(breaker, token):
    path = f"{PANEL}/father/fault"

    assert breaker.post(path, json={"fault": "hang"}, headers=token).status_code == 404
    assert breaker.delete(path, headers=token).status_code == 404


def test_only_the_scope_admin_may_break_things(services, panel, token):
    talker = Caller("talker", frozenset({"chat", "audit", "metrics"}))
    keyring = Keyring([Token.of(talker, TOKEN)])
    limited = replace(services, fault_panel=panel, keyring=keyring)
    client = make_app(PerProcess(lambda: limited)).test_client()

    assert client.get(PANEL, headers=token).status_code == 403
    assert client.post(FAULT, json={"fault": "hang"}, headers=token).status_code == 403
    assert client.delete(FAULT, headers=token).status_code == 403
    assert client.get(PANEL).status_code == 401


def test_a_sandbox_that_is_gone_is_503(services, panel, token, stand_ins):
    app = make_app(PerProcess(lambda: replace(services, fault_panel=panel)))
    for server in stand_ins.values():
        server.stop()

    answer = app.test_client().get(PANEL, headers=token)

    assert (answer.status_code, answer.json["code"]) == (503, "upstream_unavailable")
