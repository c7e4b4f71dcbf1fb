"""What happened to the gateway itself is on record: in full, or as a sum."""

import json
from contextvars import Context

import pytest

from app.gateway import correlation
from app.gateway.guard.breaker import Transition
from app.gateway.guard.circuit import Phase
from app.gateway.records.events import MOST, Events
from tests.support.fakes import FakeTrail

NOW = 1_700_000_000.0


@pytest.fixture
def trail():
    return FakeTrail()


@pytest.fixture
def events(trail, clock):
    return Events(trail, lambda: NOW, clock, later=lambda _seconds, _work: None)


def told(trail):
    return [
        (intent.route, closing.code, closing.provider, json.loads(intent.request))
        for intent, closing in trail.closed
    ]


def a_move(**changes):
    facts = {"upstream": "switch", "before": Phase.OPEN, "after": Phase.HALF_OPEN}
    return Transition(**facts | {"until": 0.0} | changes)


def test_a_move_of_a_circuit_is_found_by_the_chat_that_caused_it(events, trail):
    chat = Context()

    chat.run(correlation.current.set, "the-chat")
    chat.run(events.breaker_moved, a_move())

    ((intent, closing),) = trail.closed
    assert (intent.correlation_id, intent.route) == ("the-chat", "breaker")
    assert intent.opened_at == closing.closed_at == NOW
    assert (closing.outcome, closing.code) == ("event", "circuit_half_open")
    assert (closing.provider, intent.request) == ("switch", "{}")


def test_a_circuit_of_one_caller_names_that_caller(events, trail):
    events.breaker_moved(a_move(after=Phase.OPEN, caller="mallory"))

    assert told(trail) == [("breaker", "circuit_open", "switch", {"caller": "mallory"})]


def test_each_kind_of_event_says_what_it_knows(events, trail):
    events.verdict_turned("switch", "connect_refused")
    events.verdict_turned("switch", None)
    events.started("8.0.0", 4)
    events.config_loaded("abc", {"VX11_SLOTS": 8})
    events.clock_jumped(-3600.0)
    events.stopped()

    assert told(trail) == [
        ("health", "upstream_down", "switch", {"reason": "connect_refused"}),
        ("health", "upstream_up", "switch", {}),
        ("process", "gateway_started", None, {"version": "8.0.0", "workers": 4}),
        (
            "config",
            "config_loaded",
            None,
            {"digest": "abc", "settings": {"VX11_SLOTS": 8}},
        ),
        ("clock", "clock_jumped", None, {"seconds": -3600.0}),
        ("process", "gateway_stopped", None, {}),
    ]


def test_a_flapping_circuit_leaves_a_bounded_number_of_records(events, trail, clock):
    for _ in range(10 * MOST):
        events.breaker_moved(a_move())
    events.verdict_turned("switch", None)  # another kind is not crowded out

    assert len(trail.closed) == MOST + 1

    events.close()

    *_, (route, code, _, facts) = told(trail)
    assert (route, code) == ("breaker", "events_left_out")
    assert facts == {"events": 9 * MOST}

    clock.advance(60)
    events.breaker_moved(a_move())
    assert len(trail.closed) == MOST + 3
