"""The stand-in for a server that speaks Anthropic's messages."""

import hmac
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sandbox import eliza
from sandbox.openai import EVENT_STREAM, STREAM_END, STREAM_HEAD, Voice, chunk
from sandbox.service import Events, Service, parse
from sandbox.wire import Answer, Request, encode

if TYPE_CHECKING:
    from sandbox.exchange import Exchange

SMALL_TALK = Voice()
VERSION = "anthropic-version"
PIECE = 8  # characters of a tool's arguments in one event


class Anthropic(Service):
    """Wants its key as `x-api-key`; without one of its own any or none will do.

    Given tools it calls the first one, unless the last message has a result. A token
    is a word to it.
    """

    name = "anthropic"
    chat_path = "/v1/messages"
    text_fields = ("content",)

    def __init__(
        self,
        token: str | None = None,
        latency: float = 0.0,
        voice: Voice = SMALL_TALK,
    ) -> None:
        self._key = token
        self._voice = voice
        self.latency = latency
        self.routes = {
            self.chat_path: {"POST": self._chat},
            f"{self.chat_path}/count_tokens": {"POST": self._count},
            "/v1/models": {"GET": self._models},
            "/health": {"GET": self.health},
        }

    def reply(self, request: Request) -> dict[str, Any]:
        """The body of a proper 200 that was not asked to stream."""
        return self.saying(request, self._speech(request))

    def saying(self, request: Request, text: object) -> dict[str, Any]:
        """The body of a 200 with any content."""
        body = _body(request)
        content: object = [{"type": "text", "text": text}]
        content = text if not isinstance(text, str) else content
        call = _call(body)
        return self._message(
            [call] if call else content,
            stop_reason="tool_use" if call else "end_turn",
            usage=_usage(body, str(text)),
        )

    def failure(self, status: str, text: str) -> dict[str, Any]:
        """An error in the body of a 200."""
        return {"type": "error", "error": {"type": status, "message": text}}

    def events(self, request: Request) -> Events:
        """A proper streamed answer, in its parts."""
        body, text = _body(request), self._speech(request)
        usage, call = _usage(body, text), _call(body)
        start = self._message([], usage=usage | {"output_tokens": 1}, stop_reason=None)
        block = {**call, "input": {}} if call else {"type": "text", "text": ""}
        reason = "tool_use" if call else "end_turn"
        ending = {"stop_reason": reason, "stop_sequence": None}
        return Events(
            opening=event("message_start", message=start)
            + event("content_block_start", index=0, content_block=block)
            + event("ping"),
            words=[
                event("content_block_delta", index=0, delta=delta)
                for delta in (_pieces(call) if call else _words(text))
            ],
            closing=[
                event("content_block_stop", index=0),
                event("message_delta", delta=ending, usage=usage),
            ],
            done=event("message_stop"),
        )

    def serve(self, x: "Exchange") -> None:
        """Answer whole, or word by word where a stream is asked for."""
        answer = x.answer()
        if answer.content_type != EVENT_STREAM:
            x.respond(answer)
            return
        events = self.events(x.request)
        x.send(STREAM_HEAD + chunk(events.opening))
        for word in events.words:
            x.pause(self._voice.pace)
            x.send(chunk(word))
        x.send(chunk(b"".join(events.closing) + events.done) + STREAM_END)

    def _chat(self, request: Request) -> Answer:
        body = self._checked(request)
        if isinstance(body, Answer):
            return body
        if not isinstance(body.get("max_tokens"), int):
            return error(400, "invalid_request_error", "max_tokens: Field required")
        if body.get("stream"):
            return Answer(200, self.events(request).joined(), EVENT_STREAM)
        return Answer.of(self.reply(request))

    def _count(self, request: Request) -> Answer:
        body = self._checked(request)
        if isinstance(body, Answer):
            return body
        return Answer.of({"input_tokens": _usage(body, "")["input_tokens"]})

    def _checked(self, request: Request) -> dict[str, Any] | Answer:
        """The body, or the error that the real service would answer."""
        body = parse(request)
        if not self._may_enter(request):
            return error(401, "authentication_error", "invalid x-api-key")
        if not request.header(VERSION):
            text = f"{VERSION}: header is required"
            return error(400, "invalid_request_error", text)
        if not isinstance(body, dict):
            return error(400, "invalid_request_error", "That is no JSON object.")
        turns = body.get("messages")
        if not (isinstance(turns, list) and turns and all(map(_is_turn, turns))):
            return error(400, "invalid_request_error", "messages: Input is invalid")
        if not isinstance(body.get("model"), str):
            return error(400, "invalid_request_error", "model: Field required")
        return body

    def _models(self, request: Request) -> Answer:
        if not self._may_enter(request):
            return error(401, "authentication_error", "invalid x-api-key")
        model = {"type": "model", "id": self._voice.model, "display_name": "Stand-in"}
        return Answer.of({"data": [model], "has_more": False})

    def _may_enter(self, request: Request) -> bool:
        shown = request.header("x-api-key")
        return self._key is None or hmac.compare_digest(
            shown.encode(), self._key.encode()
        )

    def _speech(self, request: Request) -> str:
        return self._voice.speech or eliza.reply(_turns(_body(request)))

    def _message(self, content: object, **more: object) -> dict[str, Any]:
        return {
            "id": "msg_sandbox",
            "type": "message",
            "role": "assistant",
            "model": self._voice.model,
            "content": content,
            "stop_sequence": None,
            **more,
        }


def error(status: int, kind: str, message: str) -> Answer:
    """An error in Anthropic's shape."""
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return Answer.of({**body, "request_id": "req_sandbox"}, status)


def event(kind: str, **more: object) -> bytes:
    """One event of a stream."""
    data = encode({"type": kind, **more})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def _body(request: Request) -> dict[str, Any]:
    body = parse(request)
    return body if isinstance(body, dict) else {}


def _is_turn(turn: object) -> bool:
    """Whether it is a message whose texts say something, as the service asks."""
    if not isinstance(turn, dict) or turn.get("role") not in ("user", "assistant"):
        return False
    content = turn.get("content")
    blocks = content if isinstance(content, list) else [{"text": content}]
    return bool(blocks) and all(
        isinstance(b, dict) and ("text" not in b or bool(str(b["text"] or "").strip()))
        for b in blocks
    )


def _turns(body: Mapping[str, Any]) -> list[str]:
    """What the user said, oldest first; of blocks the text alone."""
    messages = body.get("messages")
    turns = messages if isinstance(messages, list) else []
    users = [m for m in turns if isinstance(m, dict) and m.get("role") == "user"]
    return [_text(message.get("content")) for message in users]


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    texts = [b.get("text") for b in blocks if isinstance(b, dict)]
    return " ".join(text for text in texts if isinstance(text, str))


def _call(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """A call of the first tool, with the last question as its argument."""
    tools, turns = body.get("tools"), body.get("messages")
    if not (isinstance(tools, list) and tools and isinstance(turns, list) and turns):
        return None
    content = turns[-1].get("content")
    blocks = content if isinstance(content, list) else []
    if any(b.get("type") == "tool_result" for b in blocks):
        return None
    asked = {"question": (_turns(body) or [""])[-1]}
    name = tools[0]["name"]
    return {"type": "tool_use", "id": "toolu_sandbox", "name": name, "input": asked}


def _pieces(call: Mapping[str, Any]) -> list[dict[str, Any]]:
    text = encode(call["input"]).decode()
    pieces = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
    return [{"type": "input_json_delta", "partial_json": p} for p in ("", *pieces)]


def _words(text: str) -> list[dict[str, Any]]:
    """The words with their spaces, so that joined they are the text again."""
    first, *others = text.split(" ")
    words = [first, *(f" {word}" for word in others)]
    return [{"type": "text_delta", "text": word} for word in words]


def _usage(body: Mapping[str, Any], text: str) -> dict[str, int]:
    asked = sum(len(turn.split()) for turn in _turns(body))
    return {"input_tokens": asked, "output_tokens": len(text.split())}
