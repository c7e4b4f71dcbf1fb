"""Yesterday's chats under other settings: the same functions, no call, no guessing."""

import json
import socket
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.gateway.evidence.backtest import backtest
from app.gateway.evidence.simulation import Configuration, Known
from app.gateway.guard.circuit import Rules
from app.gateway.routing.routes import Route, RouteTable
from tests.gateway.evidence.making import Told, a_chat, an_event

AT = 1_700_000_000.0
DECISION = json.dumps({"order": ["switch", "madre"], "deadline": 36.0, "config": "old"})
ROWS = (("switch", "http_5xx"), ("madre", None))
DOWN = (("switch", "unhealthy"), ("madre", None))


@pytest.fixture(autouse=True)
def _no_calls(monkeypatch):
    def forbidden(*_):
        raise AssertionError("a backtest asks nobody")

    monkeypatch.setattr(socket, "socket", forbidden)


def configured(*names, timeout=30.0, failures=5, routes=(), slots=8, **changes):
    rules = Rules(failures=failures, min_calls=10_000)
    known = tuple(Known(name, timeout, rules, None) for name in names)
    made = Configuration(RouteTable(known, routes), known, 36.0, slots, {}, "old")
    return replace(made, **changes)


NOW = configured("switch", "madre")


def told(*chats, events=()):
    return Told(*(chat._replace(decision=DECISION) for chat in chats), *events)


def decided_again(source, then, now=NOW):
    return backtest(source, now, then, AT - 1, AT + 86_400)


def a_burst(fault=ROWS, count=12, every=0.5):
    callers = ("alice", "bob")
    return [
        a_chat(AT + every * n, attempts=fault, caller=callers[n % 2])
        for n in range(count)
    ]


FAULTS = st.sampled_from(["http_5xx", "read_timeout", "unhealthy", "no_slot", "empty"])
WAYS = st.one_of(
    st.just((("switch", None),)),
    st.tuples(st.tuples(st.just("switch"), FAULTS), st.just(("madre", None))),
    st.tuples(
        st.tuples(st.just("switch"), FAULTS), st.tuples(st.just("madre"), FAULTS)
    ),
)
TRAIL = st.lists(
    st.tuples(st.floats(0, 600), WAYS, st.sampled_from("abc")), max_size=40
)


@given(TRAIL)
@settings(max_examples=60, deadline=None)
def test_unchanged_settings_change_nothing_on_any_trail(trail):
    chats = [a_chat(AT + at, attempts=way, caller=who) for at, way, who in trail]
    events = [an_event(AT + 100, "health", "upstream_down", "switch", reason="dns")]

    result = decided_again(told(*chats, events=events), NOW)

    assert (result.chats, result.changed) == (len(chats), 0)
    assert (result.seconds_saved, result.seconds_added) == (0, 0)
    assert result.trips == result.trips_then


def test_an_exchanged_order_changes_every_chat():
    chats = [a_chat(AT + n, attempts=(("switch", None),)) for n in range(9)]
    result = decided_again(told(*chats), configured("madre", "switch"))

    assert (result.changed, result.unknown) == (9, 9)  # nobody had asked madre
    assert result.as_recorded == 9
    assert result.answered_by == {"switch": 9}
    assert result.answered_by_then == {"madre": 9}


def test_what_others_were_answered_within_half_a_minute_is_a_guess_and_said_so():
    asked_madre = a_chat(AT + 10, attempts=(("madre", None),), duration=0.1)
    of_switch = [a_chat(AT + n, attempts=(("switch", None),)) for n in range(3)]
    far_away = a_chat(AT + 300, attempts=(("switch", None),))

    result = decided_again(
        told(*of_switch, asked_madre, far_away), configured("madre", "switch")
    )

    assert result.guessed == 3
    assert result.unknown == 1


def test_the_trip_moves_to_the_second_failure():
    result = decided_again(told(*a_burst()), configured("switch", "madre", failures=2))

    assert result.trips[0].upstream == result.trips_then[0].upstream == "switch"
    # Two callers fail in turn; each failure is heard of a tenth of a second later.
    assert result.trips_then[0].at == pytest.approx(AT + 1.0 + 0.1)
    assert result.trips[0].at == pytest.approx(AT + 2.5 + 0.1)


def test_an_upstream_that_was_said_to_be_down_is_passed_over_in_both():
    down = an_event(AT - 60, "health", "upstream_down", "switch", reason="dns")
    chats = [a_chat(AT + n, attempts=DOWN) for n in range(3)]

    result = decided_again(told(*chats, events=[down]), NOW)

    assert (result.answered_by, result.as_recorded) == ({"madre": 3}, 3)


def test_a_shorter_limit_cuts_answers_that_took_longer():
    attempts = json.dumps([{"upstream": "switch", "fault": None, "duration": 9.0}])
    slow = a_chat(AT)._replace(attempts=attempts, duration=9.0)

    result = decided_again(told(slow), configured("switch", timeout=5.0))

    assert (result.changed, result.worse) == (1, 1)
    assert result.answered_by_then == {"": 1}


def test_a_longer_limit_makes_what_was_cut_unknown():
    attempts = json.dumps(
        [{"upstream": "switch", "fault": "read_timeout", "duration": 5.0}]
    )
    cut = a_chat(AT, attempts=(("switch", "dns"),))._replace(attempts=attempts)
    now = configured("switch", timeout=5.0)

    result = decided_again(told(cut), configured("switch", timeout=30.0), now)

    assert (result.changed, result.unknown) == (1, 1)


def test_routes_of_the_other_settings_decide():
    decision = json.dumps({"model": "gpt-4o", "order": ["switch"], "config": "older"})
    chat = a_chat(AT)._replace(decision=decision)
    then = configured("switch", "madre", routes=[Route("gpt-*", ("madre",))])

    result = backtest(Told(chat), NOW, then, AT - 1, AT + 1)

    assert (result.examples[0].before, result.examples[0].after) == ("switch", "madre")
    assert any("settings of their time" in one for one in result.cannot_know)


def test_a_model_that_nobody_serves_any_more_is_answered_by_nobody():
    decision = json.dumps({"model": "gpt-4o", "order": ["switch"]})
    then = configured("switch", routes=[Route("tiny", ("switch",))])

    result = backtest(
        Told(a_chat(AT)._replace(decision=decision)), NOW, then, AT - 1, AT + 1
    )

    assert (result.worse, result.answered_by_then) == (1, {"": 1})


def test_what_cannot_be_known_is_counted():
    refused = {"outcome": "refused", "status": 503, "code": "overloaded"}
    source = Told(
        a_chat(AT, attempts=(), chats=7, **refused),
        a_chat(AT + 1),  # of before there were decisions on record
        a_chat(AT + 2)._replace(decision=DECISION),
    )
    then = replace(NOW, settings={"VX11_AUDIT_CONTENT": "none", "VX11_SLOTS": 9})

    result = decided_again(source, then)

    said = " ".join(result.cannot_know)
    assert result.chats == 1
    assert "7 chats that were refused" in said
    assert "Whom 1 chats could ask" in said
    assert "VX11_AUDIT_CONTENT" in said
    assert "VX11_SLOTS" not in said


def test_answers_that_were_said_again_were_nobodys_choice():
    again = {"outcome": "completed", "status": 200, "provider": "switch"}
    source = Told(
        a_chat(AT)._replace(decision=DECISION),
        a_chat(AT + 1, attempts=(), **again)._replace(decision=DECISION),
    )

    assert decided_again(source, NOW).chats == 1


def test_chats_that_meet_a_full_gateway_are_counted():
    together = [a_chat(AT + n / 100, closed_at=AT + 5) for n in range(4)]

    result = decided_again(told(*together), configured("switch", "madre", slots=2))

    assert (result.crowded, result.crowded_then) == (0, 2)
