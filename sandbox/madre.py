"""The stand-in for madre, after docs/contracts.md. It asks nobody for a token."""

from typing import Any

from sandbox import eliza
from sandbox.service import (
    BROKEN,
    Service,
    invalid,
    lone_surrogate,
    missing,
    parse,
    wrong_types,
)
from sandbox.wire import Answer, Request

NULL = type(None)
FIELDS: dict[str, tuple[type, ...]] = {
    "message": (str,),
    "session_id": (str, NULL),
    "correlation_id": (str,),
    "context": (dict, NULL),
}


class Madre(Service):
    """Sees one message at a time and answers it at once."""

    name = "madre"
    chat_path = "/madre/chat"
    text_fields = ("response",)

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency
        self.routes = {
            self.chat_path: {"POST": self._chat},
            "/health": {"GET": self.health},
            "/madre/power/maintenance/post_task": {"POST": _post_task},
        }

    def reply(self, request: Request) -> dict[str, Any]:
        """The body of a 200, with every field that madre sends."""
        body = parse(request)
        body = body if isinstance(body, dict) else {}
        message = str(body.get("message", ""))
        session = body.get("session_id") or f"session-{eliza.stable(message):016x}"
        mark = eliza.stable(f"{session}\n{message}")
        return {
            "response": eliza.brief_reply(message),
            "session_id": session,
            "intent_id": f"intent-{mark:016x}",
            "plan_id": f"plan-{mark:016x}",
            "status": "DONE",
            "mode": "MADRE",
            "provider": "fallback_local",
            "model": eliza.NAME,
            "warnings": [],
            "targets": [],
            "actions": [],
        }

    def failure(self, status: str, text: str) -> dict[str, Any]:
        """As madre writes it: statuses in upper case, the error in the response."""
        return {
            "response": text,
            "status": status.upper(),
            "provider": "fallback_local",
        }

    def _chat(self, request: Request) -> Answer:
        body = parse(request)
        if isinstance(body, Answer):
            return body
        if problems := wrong_types(body, FIELDS) or missing(body, "message"):
            return invalid(problems)
        if lone_surrogate([body["message"]]):
            return BROKEN
        return Answer.of(self.reply(request))


def _post_task(_request: Request) -> Answer:
    done = {"status": "ok", "module": "madre", "task": "maintenance", "sandbox": True}
    return Answer.of(done)
