"""The stand-in for a server that speaks OpenAI's chat completions."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandbox import eliza
from sandbox.service import Events, Service, parse
from sandbox.wire import Answer, Request, encode

if TYPE_CHECKING:
    from sandbox.exchange import Exchange

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: sandbox\r\ncache-control: no-cache\r\n"
    b"content-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
STREAM_END = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"
CREATED = 1_700_000_000  # Unix time; always the same, so that answers are too


@dataclass(frozen=True, slots=True)
class Voice:
    """How a stand-in talks.

    `speech` is all it ever says, a small talk if empty; `pace` is the time in
    seconds before each word of a stream.
    """

    speech: str = ""
    pace: float = 0.0
    model: str = eliza.NAME


class OpenAI(Service):
    """Wants its key as Bearer; without one of its own any or none will do.

    Given tools it calls the first one; asked for `n` choices it says the same in
    each.
    """

    name = "openai"
    chat_path = "/v1/chat/completions"
    text_fields = ("choices",)

    def __init__(
        self,
        token: str | None = None,
        latency: float = 0.0,
        voice: Voice = Voice(),
    ) -> None:
        self._key = token
        self._voice = voice
        self.latency = latency
        self.routes = {
            self.chat_path: {"POST": self._chat},
            "/v1/models": {"GET": self._models},
            "/health": {"GET": self.health},
        }

    def reply(self, request: Request) -> dict[str, Any]:
        """The body of a proper 200 that was not asked to stream."""
        return self.saying(request, self._speech(request))

    def saying(self, request: Request, text: object) -> dict[str, Any]:
        """The body of a 200 with any content."""
        body = _body(request)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if calls := _tool_calls(body):
            message |= {"content": None, "tool_calls": calls}
        reason = "tool_calls" if calls else "stop"
        choices = [
            {"index": i, "message": message, "finish_reason": reason}
            for i in range(_wanted(body))
        ]
        return self._frame("chat.completion", choices, usage=_usage(body, str(text)))

    def failure(self, status: str, text: str) -> dict[str, Any]:
        """A 200 that holds an error object, as proxies in front of models send it."""
        return {"error": {"message": text, "type": "server_error", "code": status}}

    def events(self, request: Request) -> Events:
        """A proper streamed answer, in its parts."""
        body, text = _body(request), self._speech(request)
        indexes = range(_wanted(body))
        calls = _tool_calls(body)
        said = _called(calls[0]) if calls else [{"content": w} for w in _words(text)]
        reason = "tool_calls" if calls else "stop"
        closing = [self._chunk(indexes, {}, finish_reason=reason)]
        if (body.get("stream_options") or {}).get("include_usage"):
            closing.append(self._event([], usage=_usage(body, text)))
        return Events(
            opening=self._chunk(indexes, {"role": "assistant", "content": ""}),
            words=[self._chunk(indexes, delta) for delta in said],
            closing=closing,
            done=DONE,
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
        body = parse(request)
        if isinstance(body, Answer):
            return error(400, "invalid_request_error", "That is no JSON.")
        if not self._may_enter(request):
            return error(401, "invalid_api_key", "Incorrect API key provided.")
        if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
            return error(400, "invalid_request_error", "'messages' is required.")
        if not _are_tools(body.get("tools")):
            return error(400, "invalid_request_error", "Invalid 'tools'.")
        if body.get("stream"):
            return Answer(200, self.events(request).joined(), EVENT_STREAM)
        return Answer.of(self.reply(request))

    def _models(self, request: Request) -> Answer:
        if not self._may_enter(request):
            return error(401, "invalid_api_key", "Incorrect API key provided.")
        model = {"id": self._voice.model, "object": "model", "owned_by": "sandbox"}
        return Answer.of({"object": "list", "data": [{**model, "created": CREATED}]})

    def _may_enter(self, request: Request) -> bool:
        shown = request.header("authorization").removeprefix("Bearer ")
        return self._key is None or hmac.compare_digest(
            shown.encode(), self._key.encode()
        )

    def _speech(self, request: Request) -> str:
        return self._voice.speech or eliza.reply(_turns(_body(request)))

    def _chunk(self, indexes: range, delta: Mapping[str, Any], **more: object) -> bytes:
        ending = {"finish_reason": None, **more}
        return self._event([{"index": i, "delta": delta, **ending} for i in indexes])

    def _event(self, choices: list[dict[str, Any]], **more: object) -> bytes:
        frame = self._frame("chat.completion.chunk", choices, **more)
        return b"data: " + encode(frame) + b"\n\n"

    def _frame(self, kind: str, choices: object, **more: object) -> dict[str, Any]:
        return {
            "id": "chatcmpl-sandbox",
            "object": kind,
            "created": CREATED,
            "model": self._voice.model,
            "choices": choices,
            **more,
        }


EVENT_STREAM = "text/event-stream"


def error(status: int, code: str, message: str) -> Answer:
    """An error in OpenAI's shape."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return Answer.of(
        {"error": {"message": message, "type": kind, "param": None, "code": code}},
        status,
    )


def chunk(data: bytes) -> bytes:
    """Data as one chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def _body(request: Request) -> dict[str, Any]:
    body = parse(request)
    return body if isinstance(body, dict) else {}


def _turns(body: Mapping[str, Any]) -> list[str]:
    """What the user said, oldest first; of parts the text alone."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return []
    users = [m for m in messages if isinstance(m, dict) and m.get("role") == "user"]
    return [_text(message.get("content")) for message in users]


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [p.get("text") for p in parts if isinstance(p, dict)]
    return " ".join(text for text in texts if isinstance(text, str))


def _words(text: str) -> list[str]:
    """The words with their spaces, so that joined they are the text again."""
    first, *others = text.split(" ")
    return [first, *(f" {word}" for word in others)]


def _wanted(body: Mapping[str, Any]) -> int:
    wanted = body.get("n")
    return wanted if isinstance(wanted, int) and 1 <= wanted <= 8 else 1


def _are_tools(tools: object) -> bool:
    """Whether there are none, or all of them name a function."""
    if not isinstance(tools, list):
        return tools is None
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)]
    named = [f for f in functions if isinstance(f, dict) and "name" in f]
    return len(named) == len(tools)


def _tool_calls(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A call of the first tool, with the last question as its argument."""
    tools = body.get("tools")
    messages = body.get("messages")
    if not tools or not isinstance(messages, list) or not messages:
        return []
    if not isinstance(messages[-1], dict):
        return []
    if messages[-1].get("role") == "tool":
        return []  # it has its result
    name = tools[0]["function"]["name"]
    asked = encode({"question": (_turns(body) or [""])[-1]}).decode()
    call = {"name": name, "arguments": asked}
    return [{"id": "call_sandbox", "type": "function", "function": call}]


def _called(call: dict[str, Any]) -> list[dict[str, Any]]:
    """A tool call as a stream sends it: its name, then its arguments in pieces."""
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    first = {**call, "index": 0, "function": {"name": name, "arguments": ""}}
    pieces = [arguments[i : i + 8] for i in range(0, len(arguments), 8)]
    rest = [{"index": 0, "function": {"arguments": piece}} for piece in pieces]
    return [{"tool_calls": [part]} for part in (first, *rest)]


def _usage(body: Mapping[str, Any], text: str) -> dict[str, int]:
    asked = sum(len(turn.split()) for turn in _turns(body))
    said = len(text.split())
    return {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": asked + said,
    }
