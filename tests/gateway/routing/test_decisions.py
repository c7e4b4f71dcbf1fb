"""What is decided of a chat before anybody is asked is what its record says."""

import json

import pytest

from app.gateway.abilities import TOOLS
from app.gateway.chat import Priority, StreamMode
from app.gateway.routing.decisions import Decisions
from app.gateway.routing.routes import Route, RouteTable
from tests.support.fakes import FakeUpstream, a_request

UPSTREAMS = [FakeUpstream("switch"), FakeUpstream("madre"), FakeUpstream("spare")]
ROUTES = [Route("gpt-*", ("madre", "spare")), Route("tiny", ("spare",))]


@pytest.fixture
def decisions():
    table = RouteTable(UPSTREAMS, ROUTES, {"madre": frozenset({TOOLS})})
    return Decisions(table, "a-digest", lambda name: name.replace("secret", "***"))


def decided(decisions, seconds=36.0, **changes):
    return json.loads(decisions.of(a_request()._replace(**changes), seconds))


def test_a_chat_for_no_model_may_ask_all_in_their_order(decisions):
    assert decided(decisions) == {
        "order": ["switch", "madre", "spare"],
        "class": "normal",
        "deadline": 36.0,
        "config": "a-digest",
    }


@pytest.mark.parametrize(
    ("model", "route", "order"),
    [
        ("gpt-4o", "gpt-*", ["madre", "spare"]),
        ("tiny", "tiny", ["spare"]),
        ("spare", None, ["spare", "switch", "madre"]),
        ("nobodys", None, None),
    ],
)
def test_the_route_that_decides_is_named(decisions, model, route, order):
    found = decided(decisions, model=model)

    assert (found.get("route"), found.get("order")) == (route, order)


def test_what_it_needs_and_wants_and_its_class_and_mode_are_told(decisions):
    found = decided(
        decisions,
        seconds=1.26,
        model="gpt-secret",
        needs=frozenset({TOOLS}),
        stream=True,
        stream_mode=StreamMode.VERIFIED,
        priority=Priority.LOW,
    )

    assert found == {
        "model": "gpt-***",
        "route": "gpt-*",
        "order": ["madre"],
        "needs": [TOOLS],
        "mode": "verified",
        "class": "low",
        "deadline": 1.3,
        "config": "a-digest",
    }


def test_a_need_that_nobody_fulfils_leaves_nobody(decisions):
    assert "order" not in decided(decisions, needs=frozenset({"telepathy"}))
