"""The stand-in for switch, after docs/contracts.md."""

import hmac
from typing import Any

from sandbox import eliza
from sandbox.service import (
    BROKEN,
    Problem,
    Service,
    invalid,
    lone_surrogate,
    missing,
    parse,
    wrong_types,
)
from sandbox.wire import Answer, Request

FIELDS: dict[str, tuple[type, ...]] = {
    "messages": (list,),
    "session_id": (str,),
    "correlation_id": (str,),
    "metadata": (dict,),
}
AUTH_REQUIRED = Answer.of({"detail": "auth_required"}, 401)


class Switch(Service):
    """Wants its token in X-VX11-Token; without one of its own any will do."""

    name = "switch"
    chat_path = "/switch/chat"
    text_fields = ("reply", "content")

    def __init__(self, token: str | None, latency: float = 0.0) -> None:
        self._token = token.encode() if token else None
        self.latency = latency
        self.routes = {
            self.chat_path: {"POST": self._chat},
            "/health": {"GET": self.health},
        }

    def reply(self, request: Request) -> dict[str, Any]:
        """The body of a 200, with every field that switch sends."""
        turns = _turns(request)
        text = eliza.reply(turns)
        return {
            "status": "ok",
            "reply": text,
            "content": text,
            "engine_used": eliza.NAME,
            "latency_ms": int(self.latency * 1000),
            "provider": "sandbox",
            "decision": "sandbox",
            "used_cli": False,
            "fallback_reason": None,
            "tokens_used": len(text.split()) + sum(len(t.split()) for t in turns),
        }

    def failure(self, status: str, text: str) -> dict[str, Any]:
        """As observed: `error` has no reply, `partial` has its error text there."""
        field = "content" if status == "error" else "reply"
        return {"status": status, field: text, "engine_used": eliza.NAME}

    def _chat(self, request: Request) -> Answer:
        body = parse(request)  # switch reads the body before it asks who is there
        if isinstance(body, Answer):
            return body
        if not self._may_enter(request):
            return AUTH_REQUIRED
        if problems := _problems(body):
            return invalid(problems)
        if lone_surrogate(message["content"] for message in body["messages"]):
            return BROKEN
        return Answer.of(self.reply(request))

    def _may_enter(self, request: Request) -> bool:
        shown = request.header("x-vx11-token").encode()
        return bool(shown) and hmac.compare_digest(shown, self._token or shown)


def _problems(body: Any) -> list[Problem]:
    if problems := wrong_types(body, FIELDS) or missing(body, "messages"):
        return problems
    types: dict[str, tuple[type, ...]] = {"role": (str,), "content": (str,)}
    for message in body["messages"]:
        found = wrong_types(message, types)
        if problems := found or missing(message, "role") + missing(message, "content"):
            return problems
    return []


def _turns(request: Request) -> list[str]:
    """What the user said, oldest first; empty if the request is not a chat."""
    body = parse(request)
    messages = body.get("messages") if isinstance(body, dict) else None
    if isinstance(body, Answer) or not isinstance(messages, list):
        return []
    users = [m for m in messages if isinstance(m, dict) and m.get("role") == "user"]
    return [text for m in users if isinstance(text := m.get("content"), str)]
