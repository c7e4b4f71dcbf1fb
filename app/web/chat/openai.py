"""OpenAI's chat completions: any client that speaks them, with the same promises."""

from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue

from app.gateway import strict_json
from app.gateway.chat import NOTHING, ChatReply, ChatRequest, Delta
from app.web.chat.chat_headers import log_answer, record_refusal, timing_comment
from app.web.chat.door import Door, answer
from app.web.chat.kept import began_at
from app.web.chat.openai_facts import SESSION, facts
from app.web.chat.sse import TextEvents, event
from app.web.openapi.documented import CHAT_FAILURES, Note, documented
from app.web.openapi.headers import OF_CHATS, OF_REPLIES
from app.web.request.auth import token_required
from app.web.request.caller_error import CallerError
from app.web.request.values import parsed
from app.web.schemas import openai as schemas
from app.web.schemas.completions import Completion, CompletionChunk
from app.web.schemas.errors import OpenAIErrorBody

bp = Blueprint("openai", __name__, url_prefix="/v1")
bp.after_request(record_refusal)

CHOICES = "X-Gateway-Choices"
to_json = strict_json.encoder(separators=(",", ":"))  # upstreams' numbers may be NaN


@bp.post("/chat/completions")
@token_required("chat")
@documented(
    Note(
        Completion,
        body=schemas.CompletionRequest,
        example={"messages": [{"role": "user", "content": "Hello"}]},
        headers=(*OF_CHATS, SESSION),
        answer_headers=(*OF_REPLIES, CHOICES),
        events=(("", CompletionChunk), ("", OpenAIErrorBody), ("", "[DONE]")),
        failures=CHAT_FAILURES,
    )
)
def post_completion() -> ResponseReturnValue:
    """Answer one chat by its deadline, on record, in OpenAI's format."""
    return answer(ChatCompletions())


class ChatCompletions(Door):
    """The door of chat completions; one for each request."""

    def read(self, data: bytes) -> ChatRequest:
        """See Door."""
        value = parsed(data)
        body = schemas.CompletionRequest.parse(value)
        self._wants_usage, self.user = body.wants_usage, body.user
        known = facts(body.metadata, body.user, len(data))
        self._asked = body.to_request(value, known)
        return self._asked

    def whole(self, reply: ChatReply) -> str:
        """See Door."""
        spent = schemas.usage(reply.usage) or schemas.UNCOUNTED
        return to_json(
            envelope(reply, "chatcmpl", "chat.completion")
            | {"choices": schemas.choices(reply), "usage": spent}
            | dict(reply.extra)
        )

    def headers(self, reply: ChatReply) -> dict[str, str]:
        """See Door."""
        return _fewer(self._asked, len(schemas.choices(reply)))

    def events(self) -> "Chunks":
        """See Door."""
        return Chunks(self._asked, self.started, with_usage=self._wants_usage)


def envelope(reply: ChatReply, prefix: str, kind: str) -> dict[str, Any]:
    """What is around the choices; the id, behind its prefix, leads to the record."""
    return {
        "id": f"{prefix}-{reply.first_id}",
        "object": kind,
        "created": began_at(reply),
        "model": reply.model,
    }


def _fewer(asked: ChatRequest, came: int) -> dict[str, str]:
    """The header that tells of a server which ignored how many answers were wanted."""
    return {CHOICES: str(came)} if came < (asked.extra.get("n") or 1) else {}


class Chunks:
    """The chunks of a streamed completion, ending with `[DONE]` or an error.

    The official client turns an error's chunk into an exception.
    """

    def __init__(self, asked: ChatRequest, started: float, *, with_usage: bool) -> None:
        self._asked = asked
        self._started = started
        self._with_usage = with_usage
        self._envelope: dict[str, Any] = {}
        self._begun: set[int] = set()  # choices whose role has been told
        self._model: str | None = None  # of the last plain chunk
        self._more: TextEvents

    def opening(self, reply: ChatReply) -> bytes:
        """Nothing; but id and time stay the same in all chunks from here."""
        self._envelope = envelope(reply, "chatcmpl", "chat.completion.chunk")
        if self._with_usage:
            self._envelope["usage"] = (
                None  # as OpenAI has it in all chunks but the last
            )
        return b""

    def delta(self, delta: Delta, reply: ChatReply) -> bytes:
        """More of the message, with its role in the first chunk of each choice."""
        if delta.choices:
            choices = [self._with_role(c) for c in delta.choices]
            return self._chunk(reply, choices, delta.extra)
        if not delta.text:
            return b""
        if delta.extra or 0 not in self._begun:
            plain = self._with_role(_plain(delta.text))
            return self._chunk(reply, [plain], delta.extra)
        if reply.model != self._model:
            self._model = reply.model
            self._more = TextEvents(self._body(reply, [_plain(TextEvents.HERE)]))
        return self._more(delta.text)

    def done(self, reply: ChatReply) -> bytes:
        """Finish reason, usage if asked for, how it went as a comment, and the end."""
        log_answer(reply, monotonic() - self._started)
        endings = list(_endings(reply))
        pieces = [self._chunk(reply, endings, reply.extra)]
        spent = schemas.usage(reply.usage) if self._with_usage else None
        if spent:  # else nobody has counted, and clients look for numbers
            pieces.append(self._chunk(reply, [], {"usage": spent}))
        timing = timing_comment(reply)
        for name, value in _fewer(self._asked, len(endings)).items():
            timing = f": {name.lower()} {value}\n".encode() + timing
        return b"".join([*pieces, timing, b"data: [DONE]\n\n"])

    def error(self, report: CallerError) -> bytes:
        """The chunk after which there is none, and no `[DONE]` either."""
        return event(report.openai())

    def _chunk(
        self,
        reply: ChatReply,
        choices: list[Mapping[str, Any]],
        more: Mapping[str, Any] = NOTHING,
    ) -> bytes:
        return event({**self._body(reply, choices), **more})

    def _body(
        self, reply: ChatReply, choices: list[Mapping[str, Any]]
    ) -> dict[str, Any]:
        model = reply.model or self._asked.model or reply.upstream
        return self._envelope | {"model": model, "choices": choices}

    def _with_role(self, choice: Mapping[str, Any]) -> Mapping[str, Any]:
        """Tell the role once: clients put the pieces of a text together."""
        index, delta = choice.get("index", 0), choice.get("delta") or {}
        piece = {k: v for k, v in delta.items() if k != "role"}
        if index not in self._begun:
            self._begun.add(index)
            piece = {"role": delta.get("role") or "assistant"} | piece
        return {**choice, "delta": piece}


def _plain(text: str) -> dict[str, Any]:
    return {
        "index": 0,
        "delta": {"content": text},
        "logprobs": None,
        "finish_reason": None,
    }


def _endings(reply: ChatReply) -> Iterator[Mapping[str, Any]]:
    """The last word on each choice of a streamed reply."""
    ends = reply.choices or ({"index": 0, "finish_reason": reply.finish_reason},)
    for end in ends:
        yield {
            "index": end.get("index", 0),
            "delta": {},
            "logprobs": None,
            "finish_reason": end.get("finish_reason"),
        }
