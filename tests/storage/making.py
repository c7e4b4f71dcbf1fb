"""What the tests of this room share: chats to put on record, and patience."""

import json
import subprocess
import sys
import time
from pathlib import Path
from threading import Event

from app.gateway.errors import AuditUnavailable
from app.gateway.records.audit import Closing, Intent, new_audit_id
from app.storage.chain.knots import Place

KEY = b"a key that the hosts of a test share"
ROOT = Path(__file__).parents[2]


def an_intent(**changes):
    now = changes.pop("opened_at", None) or time.time()
    facts = {
        "id": new_audit_id(now),
        "correlation_id": f"c-{new_audit_id(now)}",
        "session_id": "a-session",
        "caller": "operator",
        "route": "chat",
        "opened_at": now,
        "request": json.dumps({"messages": [["user", "What is the capital?"]]}),
    }
    return Intent(**facts | changes)


def a_closing(**changes):
    facts = {
        "outcome": "completed",
        "status": 200,
        "duration": 0.25,
        "closed_at": time.time(),
        "provider": "switch",
        "model": "a-model",
        "reply": json.dumps({"text": "Paris"}),
    }
    return Closing(**facts | changes)


def record_one(trail, timeout=10.0, **changes):
    """Put a whole chat on record; return its intent."""
    intent = an_intent(**changes)
    trail.begin(intent)
    trail.finish(intent, a_closing(), timeout)
    return intent


def place_of(head):
    """The head as one that was noted elsewhere."""
    return Place(head.lane, head.seq, head.digest)


CANARY = "Canary-{}-of-Ada"


def a_chat(number, age, **changes):
    """A whole chat that ended `age` seconds ago, with words that are in no other."""
    ended, words = time.time() - age, CANARY.format(number) * 20
    request = json.dumps({"messages": [["user", words]]})
    intent = an_intent(opened_at=ended - 1, request=request, **changes)
    return intent, a_closing(closed_at=ended, reply=json.dumps({"text": words}))


def is_refusing(trail):
    """Return the reason why new chats are refused, or None."""
    try:
        trail.check()
    except AuditUnavailable as refusal:
        return str(refusal)
    return None


def until(condition, timeout=10.0):
    """Return what the condition says once it is true; fail after the timeout."""
    never, deadline = Event(), time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, "it never came true"
        never.wait(0.02)
    return result


def run_python(code, *arguments, **options):
    """Start a Python process that has the program on its path."""
    preamble = "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
    return subprocess.Popen(
        [sys.executable, "-c", preamble + code, str(ROOT), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )
