"""Anthropic's doors: any client that speaks messages, with the same promises."""

import re
from time import monotonic
from typing import Any, TypeGuard

from flask import Blueprint, Response, g
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import Headers

from app.gateway import correlation, strict_json
from app.gateway.chat import ChatReply, ChatRequest
from app.web.chat.anthropic_events import Events
from app.web.chat.chat_headers import (
    log_answer,
    record_refusal,
    seat,
    stream_mode,
    who_answers,
)
from app.web.chat.sse import stream_answer
from app.web.openapi.documented import CHAT_FAILURES, Note, documented
from app.web.openapi.headers import OF_CHATS, OF_REPLIES
from app.web.request.auth import token_required
from app.web.request.body import read_plain
from app.web.request.caller import budget_of, priority_of, waited
from app.web.request.context import services, this_request
from app.web.request.errors import InvalidBody
from app.web.request.values import parsed
from app.web.schemas import anthropic as schemas
from app.web.schemas import anthropic_message as answers
from app.web.schemas.openai import NUL

bp = Blueprint("anthropic", __name__, url_prefix="/v1/messages")
bp.after_request(record_refusal)

BETAS = "anthropic-beta"
SESSIONS = ("X-Session-Id", "X-Claude-Code-Session-Id")
_BETAS = re.compile(r"[\w.,: -]{0,2000}", re.ASCII)
_SESSION_ID = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
HELLO = {"max_tokens": 1024, "messages": [{"role": "user", "content": "Hello"}]}

_to_json = strict_json.encoder(separators=(",", ":"))  # upstreams' numbers may be NaN


@bp.post("")
@token_required("chat")
@documented(
    Note(
        answers.AnthropicMessage,
        body=schemas.MessagesRequest,
        example=HELLO,
        headers=(*OF_CHATS, *SESSIONS, BETAS),
        answer_headers=OF_REPLIES,
        events=(
            ("message_start", answers.MessageStart),
            ("content_block_start", answers.ContentBlockStart),
            ("content_block_delta", answers.ContentBlockDelta),
            ("content_block_stop", answers.ContentBlockStop),
            ("message_delta", answers.MessageDelta),
            ("message_stop", answers.MessageStop),
            ("ping", answers.Ping),
            ("error", answers.AnthropicErrorBody),
        ),
        failures=CHAT_FAILURES,
    )
)
def post_message() -> ResponseReturnValue:
    """Answer one chat by its deadline, on record, in Anthropic's words."""
    return _answer(Messages())


@bp.post("/count_tokens")
@token_required("chat")
@documented(
    Note(
        answers.TokenCount,
        body=schemas.MessagesRequest,
        example={"messages": HELLO["messages"]},
        headers=(*OF_CHATS, *SESSIONS, BETAS),
        answer_headers=OF_REPLIES,
        failures=CHAT_FAILURES,
    )
)
def post_token_count() -> ResponseReturnValue:
    """Count the tokens of a request, on record.

    An upstream counts them if it can; else it is an estimate, and X-Gateway-Provider
    says so.
    """
    return _answer(Counts())


class Messages:
    """The door of messages; one for each request.

    `started` is when the front door took the request, on the monotonic clock.
    """

    def __init__(self) -> None:
        self.started = monotonic() - waited(this_request())

    def read(self, data: bytes) -> ChatRequest:
        """Make the core's value of a body; raises InvalidBody for a bad one."""
        value, request = parsed(data, NUL), this_request()
        body = schemas.MessagesRequest.parse(value)
        return body.to_request(
            value,
            betas=_betas(request.headers),
            session_id=_session_id(body.user_id, request.headers),
            correlation_id=correlation.current.get(),
            caller=g.caller.name,
            mode=stream_mode(),
            priority=priority_of(request, g.caller),
            size=len(data),
        )

    def whole(self, reply: ChatReply) -> str:
        """The answer as JSON."""
        return _to_json(answers.message(reply))

    def events(self) -> Events:
        """The wording of a streamed answer."""
        return Events(self.started)


class Counts(Messages):
    """The door of counts; one for each request."""

    def read(self, data: bytes) -> ChatRequest:
        """See Messages."""
        return super().read(data).to_count()

    def whole(self, reply: ChatReply) -> str:
        """The count as JSON."""
        return _to_json({"input_tokens": reply.usage.input_tokens})


def _answer(door: Messages) -> Response:
    """Answer the request that came in by a door, by its deadline and on record."""
    request, ours, caller = this_request(), services(), g.caller
    budget = budget_of(request, ours.deadline, ours.drain)
    data = read_plain(request, ours.max_body)
    with seat(budget, priority_of(request, caller)) as place:
        with place.reading(len(data), budget):
            asked = door.read(data)
        del data  # nobody needs it while an upstream works
        g.is_on_record = True
        if asked.stream:
            return stream_answer(place, asked, budget, door.events())
        stream = place.open(asked, budget)
    reply = stream.collect()
    log_answer(reply, monotonic() - door.started)
    return Response(
        door.whole(reply),
        headers=who_answers(reply),
        content_type="application/json",
    )


def _betas(headers: Headers) -> str:
    """What the caller wants to try; it goes to upstreams, so it must be names."""
    betas = headers.get(BETAS, "")
    if not _BETAS.fullmatch(betas) or services().holds_secret(betas):
        raise InvalidBody({BETAS: "must be names with commas between them"})
    return betas


def _session_id(user_id: str | None, headers: Headers) -> str:
    """The first usable one of headers and metadata; else a new UUID4."""
    shown = (*map(headers.get, SESSIONS), user_id)
    return next((s for s in shown if _is_usable(s)), None) or correlation.new_id()


def _is_usable(session_id: Any) -> TypeGuard[str]:
    if not (isinstance(session_id, str) and _SESSION_ID.fullmatch(session_id)):
        return False
    return not services().holds_secret(session_id)
