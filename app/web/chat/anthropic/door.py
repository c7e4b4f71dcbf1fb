"""Anthropic's doors: any client that speaks messages, with the same promises."""

import re

from flask import Blueprint
from flask.typing import ResponseReturnValue

from app.gateway.chat import ChatReply, ChatRequest
from app.web.chat.anthropic.events import Events
from app.web.chat.chat_headers import record_refusal
from app.web.chat.door import Door, answer
from app.web.chat.openai import to_json
from app.web.chat.openai_facts import SESSION, facts
from app.web.openapi.documented import CHAT_FAILURES, Note, documented
from app.web.openapi.headers import LEFT_OUT, OF_CHATS, OF_REPLIES
from app.web.request.auth import token_required
from app.web.request.context import services, this_request
from app.web.request.errors import InvalidBody
from app.web.request.person import is_name
from app.web.request.values import parsed
from app.web.schemas.anthropic import message as answers
from app.web.schemas.anthropic import request as schemas

bp = Blueprint("anthropic", __name__, url_prefix="/v1/messages")
bp.after_request(record_refusal)

BETAS = "anthropic-beta"
CLAUDE_SESSION = "X-Claude-Code-Session-Id"
ASKED = (*OF_CHATS, SESSION, CLAUDE_SESSION, BETAS)
_BETAS = re.compile(r"[\w.,: -]{0,2000}", re.ASCII)
HELLO = {"max_tokens": 1024, "messages": [{"role": "user", "content": "Hello"}]}


@bp.post("")
@token_required("chat")
@documented(
    Note(
        answers.AnthropicMessage,
        body=schemas.MessagesRequest,
        example=HELLO,
        headers=ASKED,
        answer_headers=(*OF_REPLIES, LEFT_OUT),
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
    """Answer one chat by its deadline, on record, in Anthropic's format."""
    return answer(Messages())


@bp.post("/count_tokens")
@token_required("chat")
@documented(
    Note(
        answers.TokenCount,
        body=schemas.MessagesRequest,
        example={"messages": HELLO["messages"]},
        headers=ASKED,
        answer_headers=OF_REPLIES,
        failures=CHAT_FAILURES,
    )
)
def post_token_count() -> ResponseReturnValue:
    """Count the tokens of a request, on record.

    An upstream counts them if it can; else it is an estimate, and X-Gateway-Provider
    says so.
    """
    return answer(Counts())


class Messages(Door):
    """The door of messages; one for each request."""

    def read(self, data: bytes) -> ChatRequest:
        """See Door."""
        value = parsed(data)
        body = schemas.MessagesRequest.parse(value)
        self.user = body.user_id
        session = _claude_session() or body.user_id
        known = facts(body.metadata, session, len(data))
        return body.to_request(value, known, _betas())

    def whole(self, reply: ChatReply) -> str:
        """See Door."""
        return to_json(answers.message(reply))

    def events(self) -> Events:
        """See Door."""
        return Events(self.started)


class Counts(Messages):
    """The door of counts; one for each request."""

    def read(self, data: bytes) -> ChatRequest:
        """See Door."""
        return super().read(data).to_count()

    def whole(self, reply: ChatReply) -> str:
        """See Door."""
        return to_json({"input_tokens": reply.usage.input_tokens})


def _betas() -> str:
    """What the caller wants to try; it goes to upstreams, so it must be names."""
    betas = this_request().headers.get(BETAS, "")
    if not _BETAS.fullmatch(betas) or services().holds_secret(betas):
        raise InvalidBody({BETAS: "must be names with commas between them"})
    return betas


def _claude_session() -> str | None:
    """The session as Claude Code names it, if it can be one."""
    shown = this_request().headers.get(CLAUDE_SESSION)
    return shown if shown and is_name(shown) else None
