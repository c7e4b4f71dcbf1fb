"""OpenAI's text completions, for upstreams that declare them."""

from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue

from app.gateway.abilities import COMPLETIONS
from app.gateway.chat import ChatReply, ChatRequest, Delta
from app.web.chat.chat_headers import log_answer, record_refusal
from app.web.chat.door import Door, answer_if_served
from app.web.chat.openai import envelope, to_json
from app.web.chat.openai_facts import SESSION, facts
from app.web.chat.sse import event
from app.web.openapi.documented import CHAT_FAILURES, NOT_SERVED, Note, documented
from app.web.openapi.headers import OF_CHATS, OF_REPLIES
from app.web.request.auth import token_required
from app.web.request.caller_error import CallerError
from app.web.request.values import parsed
from app.web.schemas import openai as schemas
from app.web.schemas.errors import OpenAIErrorBody
from app.web.schemas.tasks.text_completions import TextCompletion, TextCompletionRequest

bp = Blueprint("completions", __name__, url_prefix="/v1")
bp.after_request(record_refusal)


@bp.post("/completions")
@token_required("chat")
@documented(
    Note(
        TextCompletion,
        body=TextCompletionRequest,
        example={"prompt": "def add(a, b):", "max_tokens": 64},
        headers=(*OF_CHATS, SESSION),
        answer_headers=OF_REPLIES,
        events=(("", TextCompletion), ("", OpenAIErrorBody), ("", "[DONE]")),
        failures=CHAT_FAILURES,
        refusals=(NOT_SERVED,),
    )
)
def post_text_completion() -> ResponseReturnValue:
    """Go on with one text by the deadline, on record, where an upstream can."""
    return answer_if_served(TextCompletions(), COMPLETIONS)


class TextCompletions(Door):
    """The door of text completions; one for each request."""

    def read(self, data: bytes) -> ChatRequest:
        """See Door."""
        value = parsed(data)
        body = TextCompletionRequest.parse(value)
        self.user = body.user
        options = body.stream_options
        self._wants_usage = bool(options and options.include_usage)
        known = facts(body.metadata, body.user, len(data))
        self._asked = body.to_request(value, known)
        return self._asked

    def whole(self, reply: ChatReply) -> str:
        """See Door."""
        spent = schemas.usage(reply.usage) or schemas.UNCOUNTED
        choices = [_choice(choice, "message") for choice in schemas.choices(reply)]
        return to_json(
            envelope(reply, "cmpl", "text_completion")
            | {"choices": choices, "usage": spent}
        )

    def events(self) -> "TextChunks":
        """See Door."""
        return TextChunks(self._asked, self.started, with_usage=self._wants_usage)


class TextChunks:
    """The chunks of a streamed text, ending with `[DONE]` or an error."""

    def __init__(self, asked: ChatRequest, started: float, *, with_usage: bool) -> None:
        self._asked = asked
        self._started = started
        self._with_usage = with_usage
        self._envelope: dict[str, Any] = {}

    def opening(self, reply: ChatReply) -> bytes:
        """Nothing; but id and time stay the same in all chunks from here."""
        self._envelope = envelope(reply, "cmpl", "text_completion")
        return b""

    def delta(self, delta: Delta, reply: ChatReply) -> bytes:
        """Some more text, of each choice that has any."""
        plain = ({"index": 0, "delta": {"content": delta.text}},) if delta.text else ()
        choices = [_choice(choice, "delta") for choice in delta.choices or plain]
        return self._chunk(reply, choices) if choices else b""

    def done(self, reply: ChatReply) -> bytes:
        """Finish reasons, usage if asked for and known, and the end."""
        log_answer(reply, monotonic() - self._started)
        ends = reply.choices or ({"index": 0, "finish_reason": reply.finish_reason},)
        pieces = [self._chunk(reply, [_choice(choice, "delta") for choice in ends])]
        spent = schemas.usage(reply.usage) if self._with_usage else None
        if spent:
            pieces.append(self._chunk(reply, (), usage=spent))
        return b"".join([*pieces, b"data: [DONE]\n\n"])

    def error(self, report: CallerError) -> bytes:
        """The chunk after which there is none, and no `[DONE]` either."""
        return event(report.openai())

    def _chunk(
        self, reply: ChatReply, choices: Iterable[Mapping[str, Any]], **more: Any
    ) -> bytes:
        model = reply.model or self._asked.model or reply.upstream
        members = {"model": model, "choices": list(choices)}
        return event(self._envelope | members | more)


def _choice(choice: Mapping[str, Any], part: str) -> dict[str, Any]:
    """A choice of a chat in the shape of a text completion's."""
    message = choice.get(part) or {}
    more = {k: v for k, v in choice.items() if k not in (part, "finish_reason")}
    return {
        "text": message.get("content") or "",
        "index": 0,
        "logprobs": None,
        **more,
        "finish_reason": choice.get("finish_reason"),
    }
