"""Evidence that was told beforehand, for folds over it."""

import json

from app.gateway.evidence.evidence import Beat, Evidence
from app.gateway.records.audit import new_audit_id


def a_chat(at, *, attempts=(("switch", None),), **changes):
    """A chat that was answered, or what `changes` make of it."""
    answered_by = next((name for name, fault in attempts if fault is None), None)
    failed = [fault for _, fault in attempts if fault]
    made = [
        {"upstream": name, "fault": fault, "duration": 0.1} for name, fault in attempts
    ]
    facts = {
        "id": new_audit_id(at),
        "lane": 1,
        "caller": "operator",
        "route": "chat",
        "opened_at": at,
        "closed_at": at + 0.5,
        "duration": 0.5,
        "outcome": "completed" if answered_by else "failed",
        "code": None if answered_by else "upstream_unavailable",
        "status": 200 if answered_by else 503,
        "provider": answered_by,
        "degraded_by": failed[0] if answered_by and failed else None,
        "attempts": json.dumps(made),
        "corrects": None,
        "decision": None,
        "chats": 1,
        "facts": None,
    }
    return Evidence(**facts | changes)


def an_event(at, route, code, upstream=None, *, lane=1, **facts):
    return Evidence(
        id=new_audit_id(at),
        lane=lane,
        caller="gateway",
        route=route,
        opened_at=at,
        closed_at=at,
        duration=0.0,
        outcome="event",
        code=code,
        status=0,
        provider=upstream,
        degraded_by=None,
        attempts="[]",
        corrects=None,
        decision=None,
        chats=1,
        facts=json.dumps(facts),
    )


class Told:
    """Fulfils EvidenceSource with what it was given."""

    def __init__(self, *evidence, beats=()):
        self._evidence = sorted(evidence, key=lambda one: one.opened_at)
        self._beats = [Beat(*beat) for beat in beats]

    def events(self, since, until):
        return iter([e for e in self._within(since, until) if e.outcome == "event"])

    def chats(self, since, until):
        return iter([e for e in self._within(since, until) if e.outcome != "event"])

    def beats(self, since, until):
        return iter([beat for beat in self._beats if since <= beat.at < until])

    def tips(self):
        return ("1:7:" + "ab" * 32,)

    def anchored(self, head):
        return "missing"

    def _within(self, since, until):
        return [e for e in self._evidence if since <= e.opened_at < until]
