"""Every bad minute has its causes, in order, and what nothing explains is said so."""

import json

import pytest

from app.gateway.error_categories import FAULTS
from app.gateway.evidence import words
from app.gateway.evidence.reporting import report
from tests.gateway.evidence.making import Told, a_chat, an_event
from tests.support.stack import HOUSE

DAY = 1_700_000_040.0  # the beginning of a minute
REFUSED = (("switch", "connect_refused"), ("madre", None))
PASSED_OVER = (("switch", "unhealthy"), ("madre", None))


def a_report(*evidence, beats=(), since=DAY, until=DAY + 3600, now=None):
    source = Told(*evidence, beats=beats)
    return report(source, since, until, now=until if now is None else now)


def whys(causes):
    return [(cause.kind, cause.upstream, cause.word, cause.chats) for cause in causes]


def test_an_outage_is_told_in_the_order_in_which_it_went():
    made = a_report(
        a_chat(DAY + 1),
        a_chat(DAY + 10, attempts=REFUSED),
        an_event(DAY + 10.1, "health", "upstream_down", "switch", reason="dns"),
        an_event(DAY + 10.2, "breaker", "circuit_open", "switch"),
        a_chat(DAY + 20, attempts=PASSED_OVER),
        a_chat(DAY + 70, attempts=PASSED_OVER),
        a_chat(DAY + 75, attempts=(("switch", "circuit_open"), ("madre", None))),
        an_event(DAY + 90, "health", "upstream_up", "switch"),
        an_event(DAY + 91, "breaker", "circuit_closed", "switch"),
        a_chat(DAY + 95),
    )

    first, second = made.bad_minutes
    assert (first.at, first.chats, first.degraded) == (DAY, 3, 2)
    assert (second.chats, second.degraded) == (3, 2)
    assert first.answered_by == {"switch": 1, "madre": 2}
    assert second.degraded_by == {"unhealthy": 1, "circuit_open": 1}
    (window,) = made.windows
    assert (window.kind, window.began, window.ended, window.chats) == (
        "degraded",
        DAY + 10,
        DAY + 75.5,
        4,
    )
    assert whys(window.causes) == [
        ("fault", "switch", "connect_refused", 1),
        ("verdict", "switch", "dns", 2),
        ("circuit", "switch", "circuit_open", 1),
    ]
    assert [one.sentence for one in window.happenings] == [
        "switch was found to be down: it has a name that nobody knows",
        "the circuit of switch opened",
        "switch was up again",
        "the circuit of switch closed",
    ]
    assert (made.chats, made.degraded, made.unexplained) == (6, 4, 0)
    assert made.heads == ("1:7:" + "ab" * 32,)


def test_a_verdict_that_no_event_explains_is_unexplained():
    made = a_report(a_chat(DAY + 10, attempts=PASSED_OVER))

    assert made.unexplained == 1
    assert whys(made.windows[0].causes) == [("unexplained", "switch", "unhealthy", 1)]


def test_a_verdict_explains_nothing_after_the_upstream_is_back():
    made = a_report(
        an_event(DAY + 1, "health", "upstream_down", "switch", reason="dns"),
        an_event(DAY + 10, "health", "upstream_up", "switch"),
        a_chat(DAY + 60, attempts=PASSED_OVER),
    )

    assert made.unexplained == 1


def test_an_outage_that_began_the_day_before_is_explained():
    made = a_report(
        an_event(DAY - 50_000, "health", "upstream_down", "switch", reason="dns"),
        a_chat(DAY + 60, attempts=PASSED_OVER),
    )

    assert (made.unexplained, made.windows[0].causes[0].at) == (0, DAY - 50_000)


def test_a_circuit_of_one_caller_explains_that_callers_chats_alone():
    passed = (("switch", "circuit_open"), ("madre", None))
    made = a_report(
        an_event(DAY + 1, "breaker", "circuit_open", "switch", caller="mallory"),
        a_chat(DAY + 2, attempts=passed, caller="mallory"),
        a_chat(DAY + 3, attempts=passed, caller="alice"),
    )

    assert made.unexplained == 1


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"unhealthy", "circuit_open"}))
def test_every_other_fault_explains_itself(fault):
    made = a_report(a_chat(DAY + 1, attempts=(("switch", fault), ("madre", None))))

    (cause,) = made.windows[0].causes
    assert made.unexplained == 0
    assert (cause.upstream, cause.word) == ("switch", fault)
    assert f"({fault})" not in cause.sentence  # it has words of its own


def test_the_words_are_those_of_the_console():
    script = (HOUSE / "app/web/static/words.js").read_text()
    for fault, sentence in words.FAULTS.items():
        assert f'  {fault}: "{sentence}",\n' in script


def test_changed_settings_and_a_start_come_first():
    made = a_report(
        an_event(DAY - 90_000, "config", "config_loaded", settings={"VX11_SLOTS": 4}),
        an_event(DAY + 5, "process", "gateway_started", version="8", workers=2),
        an_event(DAY + 6, "config", "config_loaded", settings={"VX11_SLOTS": 1}),
        a_chat(DAY + 10, attempts=REFUSED),
    )

    assert [cause.kind for cause in made.windows[0].causes] == [
        "process",
        "config",
        "fault",
    ]
    assert made.windows[0].causes[1].sentence == (
        "the settings were changed: VX11_SLOTS: 4 -> 1"
    )


def test_chats_of_a_gap_of_the_audit_are_explained_by_it():
    lost = {"outcome": "failed", "code": "audit_unavailable", "status": 503}
    gap = {"reason": "disk_full", "from": DAY + 1, "until": DAY + 30, "refused": 9}
    made = a_report(
        a_chat(DAY + 2, **lost),
        an_event(DAY + 41, "audit", "audit_gap", **gap, undelivered=1),
        a_chat(DAY + 300, **lost),
    )

    assert made.unexplained == 1
    assert whys(made.windows[0].causes) == [("audit", None, "disk_full", 1)]
    assert "chats not taken on: 9" in made.happenings[0].sentence


def test_a_correction_is_no_chat_and_makes_one_unanswered():
    said = a_chat(DAY + 2)
    undone = a_chat(DAY + 4, route="correction", corrects=said.id, outcome="failed")
    gap = {"reason": "stuck", "from": DAY + 1, "until": DAY + 5}
    made = a_report(
        said,
        undone._replace(code="audit_unavailable", status=503),
        an_event(DAY + 20, "audit", "audit_gap", **gap),
    )

    (minute,) = made.bad_minutes
    assert (minute.chats, minute.unanswered, minute.outcomes) == (1, 1, {"failed": 1})
    assert (minute.answered_by, made.unexplained) == ({}, 0)


def test_replays_and_events_and_callers_own_mistakes_are_no_bad_chats():
    made = a_report(
        a_chat(DAY + 1, route="replay", attempts=(("switch", "dns"),)),
        a_chat(DAY + 2, outcome="failed", status=400, code="unsupported"),
        a_chat(DAY + 3, outcome="refused", status=429, code="rate_limited"),
        a_chat(DAY + 4, outcome="cancelled", status=499, code="client_gone"),
        a_chat(DAY + 5, outcome=None, status=None, provider=None),
    )

    assert (made.chats, made.bad_minutes, made.windows) == (4, (), ())


def test_refusals_count_as_often_as_they_were():
    full = {"outcome": "refused", "status": 503, "code": "overloaded"}
    made = a_report(
        a_chat(DAY + 1, attempts=(), **full),
        a_chat(DAY + 61, attempts=(), **full, chats=41),
    )

    (window,) = made.windows
    assert (window.kind, window.chats, made.refused) == ("refused", 42, 42)
    assert whys(window.causes) == [("gateway", None, "overloaded", 42)]


def test_a_host_that_stopped_for_three_minutes_shows():
    beats = [(1, DAY + 61 * n) for n in (-1, 0, 1, 2)]
    beats += [(1, DAY + 122 + 180 + 61 * n) for n in range(60)]

    (stop,) = a_report(beats=beats).stops

    assert (stop.lane, stop.since, stop.until) == (1, DAY + 122, DAY + 302)
    assert stop.was_told is False


def test_a_stop_that_was_told_says_so_and_an_idle_gateway_is_none():
    beats = [(1, DAY + 61 * n) for n in range(60)]
    assert a_report(beats=beats).stops == ()

    told = an_event(DAY + 130, "process", "gateway_stopped")
    made = a_report(told, beats=beats[:3], until=DAY + 600)

    (stop,) = made.stops
    assert (stop.since, stop.until, stop.was_told) == (DAY + 130, DAY + 600, True)


def test_a_time_in_which_nothing_could_be_written_is_no_stop():
    beats = [(1, DAY), (1, DAY + 400)]
    gap = {"reason": "disk_full", "from": DAY + 30, "until": DAY + 390}
    made = a_report(
        an_event(DAY + 401, "audit", "audit_gap", **gap),
        beats=beats,
        until=DAY + 450,
    )

    assert made.stops == ()


def test_odd_records_break_no_report():
    made = a_report(
        a_chat(DAY + 1)._replace(attempts=json.dumps([{"fault": "odd"}])),
        a_chat(DAY + 2, outcome="failed")._replace(attempts="nonsense"),
        an_event(DAY + 3, "audit", "audit_gap"),
        an_event(DAY + 4, "health", "upstream_down"),
        an_event(DAY + 5, "other", "unheard_of"),
    )

    assert (made.chats, made.unexplained) == (2, 1)  # no code, no attempt: unheard of
