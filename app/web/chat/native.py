"""The native chat endpoint: one body in, one reply out, whole or streamed."""

from time import monotonic
from typing import Any

from flask import Blueprint, Request
from flask.typing import ResponseReturnValue

from app.gateway import correlation
from app.gateway.chat import Attempt, ChatReply, ChatRequest, Delta, Seam
from app.gateway.strict_json import plain_encoder
from app.web.chat.chat_headers import log_answer, record_refusal, stream_mode
from app.web.chat.door import Door, answer
from app.web.chat.kept import as_asked_first, took
from app.web.chat.sse import TextEvents, event
from app.web.openapi.documented import CHAT_FAILURES, Note, documented
from app.web.openapi.headers import OF_CHATS, OF_REPLIES
from app.web.request.auth import token_required
from app.web.request.caller import priority_of, waited
from app.web.request.caller_error import CallerError
from app.web.request.context import (
    environ_key,
    is_usable_id,
    notes,
    services,
    this_request,
)
from app.web.request.person import is_name, session_in_headers
from app.web.request.values import parsed
from app.web.schemas import chat as schemas
from app.web.schemas.events import (
    StreamDelta,
    StreamDone,
    StreamError,
    StreamMeta,
    StreamSeam,
)
from app.web.schemas.facts import Facts

bp = Blueprint("chat", __name__, url_prefix="/operator/api")
bp.after_request(record_refusal)

ACCEPT = environ_key("Accept")
_to_json = plain_encoder(ensure_ascii=False, separators=(",", ":"))


@bp.post("/chat")
@token_required("chat")
@documented(
    Note(
        schemas.ChatResponse,
        body=schemas.ChatRequest,
        example={"message": "Hello"},
        headers=OF_CHATS,
        answer_headers=OF_REPLIES,
        events=(
            ("meta", StreamMeta),
            ("delta", StreamDelta),
            ("seam", StreamSeam),
            ("done", StreamDone),
            ("error", StreamError),
        ),
        failures=CHAT_FAILURES,
    )
)
def post_chat() -> ResponseReturnValue:
    """Answer one chat request by its deadline, on record."""
    return answer(NativeDoor())


class NativeDoor(Door):
    """The native door; one for each request."""

    def read(self, data: bytes) -> ChatRequest:
        """See Door."""
        request, caller = this_request(), notes().caller
        body = schemas.ChatRequest.parse(parsed(data, schemas.NUL))
        session = _session_id(body)
        facts: Facts = {
            "session_id": session or correlation.new_id(),
            "names_session": session is not None,
            "correlation_id": _correlation_id(body),
            "caller": caller.name,
            "mode": stream_mode(),
            "priority": priority_of(request, caller),
            "size": len(data),
        }
        stream = _wants_events(request) if body.stream is None else body.stream
        self._asked = body.to_request(facts, stream=stream)
        return self._asked

    def whole(self, reply: ChatReply) -> str:
        """See Door."""
        seconds = took(reply, monotonic() - self.started)
        asked = as_asked_first(self._asked, reply)
        return _to_json(schemas.ChatResponse.of(reply, asked, seconds))

    def events(self) -> "NativeEvents":
        """See Door."""
        return NativeEvents(self._asked, self.started)


def _correlation_id(body: schemas.ChatRequest) -> str:
    """The body's id if it may be echoed; else the one that is already current."""
    if body.correlation_id and is_usable_id(body.correlation_id, services()):
        correlation.current.set(body.correlation_id)
    return correlation.current.get()


def _session_id(body: schemas.ChatRequest) -> str | None:
    """The body's id if no secret is in it, else the headers'; None for none."""
    shown = body.session_id or session_in_headers()
    return shown if shown and is_name(shown) else None


def _wants_events(request: Request) -> bool:
    """Whether Accept names event streams, and JSON less or not at all."""
    if "event-stream" not in request.environ.get(ACCEPT, "").lower():
        return False
    shown = request.accept_mimetypes
    if "text/event-stream" not in shown.values():
        return False
    return shown["text/event-stream"] > shown["application/json"]


_delta = TextEvents({"text": TextEvents.HERE}, "delta")


class NativeEvents:
    """The events of the native stream: meta, delta, seam, then done or error.

    `started` is when the front door took the request, on the monotonic clock.
    """

    def __init__(self, asked: ChatRequest, started: float) -> None:
        self._asked = asked
        self._started = started
        self._first = 0.0

    def opening(self, reply: ChatReply) -> bytes:
        """Who answers, and under which ids all of it is found."""
        self._first = monotonic()
        asked = as_asked_first(self._asked, reply)
        meta = {
            "correlation_id": asked.correlation_id,
            "session_id": asked.session_id,
            "audit_id": reply.first_id,
            "provider": reply.upstream,
            "model": reply.model,
            "degraded": reply.is_degraded,
            "fallback_reason": reply.degraded_by,
        }
        return event(meta, "meta")

    def delta(self, delta: Delta, reply: ChatReply) -> bytes:  # noqa: ARG002  # a port
        """Some more text; before it, who goes on with what another one began."""
        seam = event(_seam(delta.seam), "seam") if delta.seam else b""
        return seam + _delta(delta.text) if delta.text else seam

    def done(self, reply: ChatReply) -> bytes:
        """All that a whole answer says besides its text, and how it went."""
        log_answer(reply, monotonic() - self._started)
        seconds, asked = self._took(reply), as_asked_first(self._asked, reply)
        attempts = reply.said.attempts if reply.said else reply.attempts
        answer = schemas.ChatResponse.of(reply, asked, seconds)
        facts = {
            "finish_reason": reply.finish_reason,
            "fallback_reason": reply.degraded_by,
            "usage": {
                "input_tokens": reply.usage.input_tokens,
                "output_tokens": reply.usage.output_tokens,
            },
            "timings": self._timings(reply),
            "attempts": [_drawn(attempt) for attempt in attempts],
            "audit_id": reply.first_id,
        }
        answer.pop("response")
        return event(answer | facts, "done")

    def error(self, report: CallerError) -> bytes:
        """Why there is no more; what came so far is not an answer."""
        body = {
            "code": report.code,
            "detail": report.detail,
            "correlation_id": self._asked.correlation_id,
            "retry_after": report.retry_after,
        }
        return event(body, "error")

    def _took(self, reply: ChatReply) -> float:
        return took(reply, monotonic() - self._started)

    def _timings(self, reply: ChatReply) -> dict[str, float]:
        """Where the time went; of an answer that stays the same, at first.

        The commit of its record is not among that: it was kept in that very commit.
        """
        queued, first = waited(this_request()), self._first - self._started
        committed = reply.audit_seconds
        if said := reply.said:
            queued, first, committed = said.queued, said.first, 0.0
        return {
            "queue_ms": _milliseconds(queued),
            "first_delta_ms": _milliseconds(first),
            "audit_ms": _milliseconds(committed),
            "total_ms": _milliseconds(self._took(reply)),
        }


def _seam(seam: Seam) -> dict[str, Any]:
    return {"provider": seam.upstream, "from_character": seam.character}


def _drawn(attempt: Attempt) -> dict[str, Any]:
    return {
        "upstream": attempt.upstream,
        "fault": attempt.fault,
        "duration_ms": _milliseconds(attempt.duration),
        "from_character": attempt.from_character,
    }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
