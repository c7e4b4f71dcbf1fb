import json

import pytest

from app.gateway.records.audit import Record, new_audit_id


@pytest.fixture
def a_record():
    def make(**changes):
        told = (
            dict.fromkeys(Record.__dataclass_fields__)
            | {
                "id": new_audit_id(1000.0),
                "correlation_id": "c-1",
                "session_id": "s-1",
                "caller": "operator",
                "route": "chat",
                "opened_at": 1000.0,
                "request": {
                    "messages": [["user", "Hello"]],
                    "context": {},
                    "metadata": {},
                },
                "person": "ann",
                "worker": "w",
                "outcome": "completed",
                "code": None,
                "provider": "switch",
                "model": "m",
                "degraded_by": None,
                "status": 200,
                "reply": {"text": "Hi there"},
                "attempts": [{"upstream": "switch", "fault": None}],
                "duration": 0.5,
                "input_tokens": 1,
                "output_tokens": 2,
                "closed_at": 1000.5,
                "corrects": None,
                "clock_step": None,
                "seq": 1,
                "digest": b"d" * 32,
            }
            | changes
        )
        for name in ("request", "reply", "attempts"):
            if told[name] is not None:
                told[name] = json.dumps(told[name])
        return Record(**told)

    return make
