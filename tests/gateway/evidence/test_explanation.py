"""Why one chat went as it did, told from its record and the events of its time."""

import json

from app.gateway.evidence.explanation import explain
from app.gateway.records.audit import Record, new_audit_id
from tests.gateway.evidence.making import Told, an_event

AT = 1_700_000_000.0
DECISION = {
    "model": "gpt-4o",
    "route": "gpt-*",
    "order": ["switch", "madre", "spare"],
    "class": "normal",
    "deadline": 36.0,
    "mode": "live",
}


def a_record(*attempts, decision=DECISION, **changes):
    made = [
        {"upstream": name, "fault": fault, "duration": took, "status": None}
        for name, fault, took in attempts
    ]
    facts = dict.fromkeys(Record.__dataclass_fields__) | {
        "id": new_audit_id(AT),
        "caller": "operator",
        "route": "chat",
        "opened_at": AT,
        "closed_at": AT + 1,
        "duration": 1.0,
        "outcome": "completed",
        "status": 200,
        "attempts": json.dumps(made),
        "decision": decision and json.dumps(decision),
        "request": '{"messages":[["user","the secret of a question"]]}',
        "reply": '{"text":"the secret of an answer"}',
    }
    return Record(**facts | changes)


def told(record, *events):
    return explain(record, Told(*events))


def test_the_whole_way_of_a_chat_is_told_in_order():
    record = a_record(
        ("switch", "unhealthy", 0.0),
        ("madre", "read_timeout", 0.6),
        ("spare", None, 0.3),
        provider="spare",
        degraded_by="unhealthy",
    )
    down = an_event(AT - 60, "health", "upstream_down", "switch", reason="dns")

    assert told(record, down) == (
        "operator asked at the door chat for the model gpt-4o, as a stream.",
        "The route gpt-* decided: the order was switch, madre, spare. It had 36 s in "
        "all, in class normal.",
        "switch was passed over (unhealthy): switch was known to be down: it has a "
        "name that nobody knows.",
        "madre was asked first; after 600 ms: madre did not answer in time.",
        "spare answered after 300 ms.",
        "The answer was whole, and degraded: the first choice did not give it "
        "(unhealthy) after 1 s; the caller was answered with status 200.",
    )


def test_whom_there_was_no_need_to_ask_is_named():
    record = a_record(("switch", None, 0.2), provider="switch")

    assert "There was no need to ask madre, spare." in told(record)


def test_nothing_that_was_said_is_told():
    record = a_record(("switch", None, 0.2), provider="switch")

    assert "secret" not in " ".join(told(record))


def test_a_short_deadline_is_named_as_the_cause():
    settings = {"VX11_UPSTREAMS": [{"name": "switch", "timeout": 30.0}]}
    loaded = an_event(AT - 60, "config", "config_loaded", settings=settings)
    record = a_record(
        ("switch", "read_timeout", 1.0),
        decision=DECISION | {"deadline": 2.0},
        outcome="failed",
        code="upstream_unavailable",
        status=503,
    )

    assert (
        "switch was asked first; after 1 s: the caller allowed 2 s in all, and switch "
        "may take 30." in told(record, loaded)
    )


def test_a_chat_that_nobody_can_serve_says_so():
    record = a_record(decision={"model": "x", "class": "low"}, outcome="failed")

    assert "Nobody could be asked" in told(record)[1]


def test_records_without_a_decision_or_an_ending_are_told_as_far_as_they_go():
    record = a_record(decision=None, outcome=None, attempts=None, duration=None)

    assert told(record) == (
        "operator asked at the door chat.",
        "It is under way.",
    )


def test_an_event_is_told_in_one_sentence():
    earlier = an_event(AT - 9, "config", "config_loaded", settings={"VX11_SLOTS": 4})
    record = a_record(
        route="config",
        outcome="event",
        code="config_loaded",
        request=json.dumps({"settings": {"VX11_SLOTS": 5}}),
    )

    assert told(record, earlier) == ("The settings were changed: VX11_SLOTS: 4 -> 5.",)


def test_an_answer_that_was_said_again_names_the_record_that_said_it_first():
    told = explain(a_record(reuse="cache", source="a" * 32), Told())

    assert "the cache had the answer of record " + "a" * 32 in " ".join(told)
    assert "the order was" not in " ".join(told)
