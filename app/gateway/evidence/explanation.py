"""Explanation: why one chat went as it did, in sentences.

It is told from its record: what was decided before anybody was asked, its attempts, its
ending. Why an upstream was passed over is told by the events of that time.
"""

from collections.abc import Iterator
from typing import Any

from app.gateway.evidence.causes import NOT_ASKED, Step, cause_of
from app.gateway.evidence.evidence import Evidence, EvidenceSource, decision_of
from app.gateway.evidence.past import Past
from app.gateway.evidence.reporting import LOOK_BACK
from app.gateway.evidence.words import CODES
from app.gateway.kept.reuse import CACHE, IDEMPOTENCY
from app.gateway.records.audit import Record
from app.gateway.records.events import EVENT

_MODES = {
    "live": "as a stream",
    "verified": "as a stream that is held back until it is whole",
    "continue": "as a stream that another upstream may go on with",
}
_OUTCOMES = {
    "completed": "The answer was whole",
    "failed": "It failed",
    "cancelled": "The caller left before the end",
    "interrupted": "It was never finished: the worker that had it died",
    "refused": "The gateway did not take it on",
}
_REUSED = {
    CACHE: "Nobody was asked: the cache had the answer of record {}.",
    IDEMPOTENCY: "Nobody was asked: its Idempotency-Key had the answer of record {}.",
}
_PLACES = ("first", "second", "third")


def explain(record: Record, source: EvidenceSource) -> tuple[str, ...]:
    """Tell why the chat of this record went as it did. Raises AuditUnavailable.

    An event is told in one sentence. None of them holds what was asked or answered.
    """
    evidence = _evidence_of(record)
    until = evidence.over_at + 1.0
    events = source.events(record.opened_at - LOOK_BACK, until)
    if record.outcome == EVENT:
        others = (one for one in events if one.id != record.id)
        told = Past([*others, evidence]).happenings[-1:]
        return tuple(_sentence(one.sentence) for one in told)
    return tuple(_sentences(record, evidence, Past(events)))


def _sentences(record: Record, evidence: Evidence, past: Past) -> Iterator[str]:
    decision = decision_of(record.decision)
    if record.corrects:
        yield f"This corrects record {record.corrects}: its answer did not go out."
    yield _asked(record, decision)
    if record.reuse:
        yield _REUSED[record.reuse].format(record.source)
    else:
        if decision:
            yield _ordered(decision)
        yield from _attempts(evidence, past)
        yield from _left(decision, evidence)
    yield _ended(record)


def _asked(record: Record, decision: dict[str, Any]) -> str:
    who = record.caller + (f", for {record.person}," if record.person else "")
    model = decision.get("model")
    what = f"for the model {model}" if model else "for no model in particular"
    how = _MODES.get(str(decision.get("mode")), "whole")
    if not decision:
        return f"{who} asked at the door {record.route}."
    return f"{who} asked at the door {record.route} {what}, {how}."


def _ordered(decision: dict[str, Any]) -> str:
    order = decision.get("order") or []
    if not order:
        return "Nobody could be asked: no upstream serves that model, or can do that."
    route = decision.get("route")
    why = f"The route {route} decided" if route else "No route decided, so all stand"
    needs = [*decision.get("needs", ()), *decision.get("task", "").split()]
    told = f"{why}: the order was {', '.join(map(str, order))}"
    told += f", of those that can {', '.join(map(str, needs))}" if needs else ""
    limit = decision.get("deadline", 0)
    return f"{told}. It had {limit:g} s in all, in class {decision.get('class')}."


def _attempts(evidence: Evidence, past: Past) -> Iterator[str]:
    asked = 0
    for attempt in evidence.made():
        name, fault = str(attempt.get("upstream")), attempt.get("fault")
        took = _seconds(attempt.get("duration"))
        if not fault:
            yield f"{name} answered after {took}."
            asked += 1
            continue
        cause = cause_of(Step(evidence, name, str(fault), past))
        if fault in NOT_ASKED:
            yield f"{name} was passed over ({fault}): {cause.sentence}."
            continue
        place = _PLACES[asked] if asked < len(_PLACES) else "then"
        asked += 1
        status = f", status {attempt['status']}" if attempt.get("status") else ""
        yield f"{name} was asked {place}; after {took}: {cause.sentence}{status}."


def _left(decision: dict[str, Any], evidence: Evidence) -> Iterator[str]:
    met = {str(attempt.get("upstream")) for attempt in evidence.made()}
    left = [str(name) for name in decision.get("order", ()) if str(name) not in met]
    if left and evidence.outcome == "completed":
        yield f"There was no need to ask {', '.join(left)}."


def _ended(record: Record) -> str:
    if record.outcome is None:
        return "It is under way."
    told = _OUTCOMES.get(record.outcome, record.outcome)
    if record.outcome == "completed" and record.degraded_by:
        told += (
            f", and degraded: the first choice did not give it ({record.degraded_by})"
        )
    if record.code:
        words = CODES.get(record.code)
        told += f": {words} ({record.code})" if words else f" ({record.code})"
    took = "" if record.duration is None else f" after {_seconds(record.duration)}"
    return f"{told}{took}; the caller was answered with status {record.status}."


def _evidence_of(record: Record) -> Evidence:
    known = {
        name: getattr(record, name, None)
        for name in Evidence._fields
        if name not in ("lane", "chats", "facts")
    }
    facts = record.request if record.outcome == EVENT else None
    return Evidence(**known, lane=1, chats=1, facts=facts)  # type: ignore[arg-type]


def _seconds(value: Any) -> str:
    if not isinstance(value, int | float):
        return "an unknown time"
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
