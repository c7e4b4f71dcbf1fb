"""The events of a streamed message in Anthropic's wire.

Its blocks come one after the other, each with a beginning and an end. Pieces of tool
calls may come mixed, so all but the first call are held back until the others are over.
"""

from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any, ClassVar, TypeGuard

from app.gateway import correlation
from app.gateway.chat import NOTHING, ChatReply, Delta
from app.gateway.errors import BadReply
from app.web.chat.chat_headers import log_answer, timing_comment
from app.web.chat.sse import TextEvents, event
from app.web.request.caller_error import CallerError
from app.web.schemas.anthropic import message as answers

Fields = Mapping[str, Any]


def _event(kind: str, **data: Any) -> bytes:
    return event({"type": kind, **data}, kind)


class Events:
    """The events from `message_start` to `message_stop`, or to an error.

    `started` is when the front door took the request, on the monotonic clock.
    """

    heartbeat: ClassVar[bytes] = _event("ping")

    def __init__(self, started: float) -> None:
        self._started = started
        self._index = -1  # of the block that came last
        self._kind = ""  # of the one that is open, "" for none
        self._calls = _Calls()
        self._words: TextEvents | None = None  # for the text block that is open

    def opening(self, reply: ChatReply) -> bytes:
        """The message, without what it says."""
        return _event("message_start", message=answers.opening(reply))

    def delta(self, delta: Delta, reply: ChatReply) -> bytes:
        """More of the message, in whatever blocks it takes."""
        if not delta.choices:
            return self._text(delta.text)
        firsts = [c for c in delta.choices if not c.get("index")]
        part = (firsts[0].get("delta") if firsts else None) or NOTHING
        pieces = [*self._thoughts(part)]
        refusal = part.get("refusal")
        pieces.append(self._text(delta.text or (refusal if _is_text(refusal) else "")))
        calls = part.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, Mapping):
                pieces += self._call(call, reply)
        return b"".join(pieces)

    def done(self, reply: ChatReply) -> bytes:
        """The calls that were held back, why it ended, how it went, and the end."""
        log_answer(reply, monotonic() - self._started)
        pieces = [self._close()]
        for call in self._calls.held():
            key = call.key or f"toolu_{reply.first_id}_{call.place}"
            pieces += [self._open_call(key, call.name), *self._json(call.text)]
            pieces.append(self._close())
        ending = answers.ending(reply, answers.first_of(reply))
        spent = answers.usage(reply.usage)
        pieces += [
            _event("message_delta", delta=ending, usage=spent),
            timing_comment(reply),
            _event("message_stop"),
        ]
        return b"".join(pieces)

    def error(self, report: CallerError) -> bytes:
        """The event after which there is none: no `message_stop` either."""
        return event(report.anthropic(correlation.current.get()), "error")

    def _text(self, text: str) -> bytes:
        if not text:
            return b""
        opening = b""
        if self._kind != "text" or self._words is None:
            opening = self._open("text", text="")
            delta = {"type": "text_delta", "text": TextEvents.HERE}
            told = {"type": "content_block_delta", "index": self._index, "delta": delta}
            self._words = TextEvents(told, "content_block_delta")
        return opening + self._words(text)

    def _thoughts(self, part: Fields) -> Iterator[bytes]:
        if thought := answers.thought_of(part):
            if self._kind != "thinking":
                yield self._open("thinking", thinking="", signature="")
            yield self._more(type="thinking_delta", thinking=thought)
        for block in answers.signed_of(part):
            if block["type"] == "redacted_thinking":
                yield self._open("redacted_thinking", data=block["data"])
            else:
                if self._kind != "thinking":
                    yield self._open("thinking", thinking="", signature="")
                yield self._more(type="signature_delta", signature=block["signature"])
            yield self._close()

    def _call(self, piece: Fields, reply: ChatReply) -> Iterator[bytes]:
        """A piece of a tool call; the first one goes out as it comes."""
        call, text = self._calls.take(piece)
        if call.place or not call.name:
            return
        if not call.is_told:
            call.is_told = True
            yield self._open_call(call.key or f"toolu_{reply.first_id}_0", call.name)
            text = call.text
        elif text and self._kind != "tool_use":
            raise BadReply("bad_tool_call")  # its block is over
        yield from self._json(text)

    def _open_call(self, key: str, name: str) -> bytes:
        return self._open("tool_use", id=key, name=name, input={})

    def _json(self, text: str) -> Iterator[bytes]:
        if text:
            yield self._more(type="input_json_delta", partial_json=text)

    def _open(self, kind: str, **members: Any) -> bytes:
        """End the block that is open, and begin another one."""
        closing = self._close()
        self._index, self._kind = self._index + 1, kind
        block = {"type": kind, **members}
        start = _event("content_block_start", index=self._index, content_block=block)
        return closing + start

    def _more(self, **delta: Any) -> bytes:
        return _event("content_block_delta", index=self._index, delta=delta)

    def _close(self) -> bytes:
        if not self._kind:
            return b""
        self._kind = ""
        return _event("content_block_stop", index=self._index)


class _Calls:
    """The tool calls of one message so far, as servers number and name them."""

    def __init__(self) -> None:
        self._all: list[_Call] = []
        self._at: dict[int, _Call] = {}  # the last one with that index

    def take(self, piece: Fields) -> "tuple[_Call, str]":
        """Take in a piece; return its call, and the text that it adds.

        Servers repeat an id or a name, or number all calls alike: only who has a name
        and another id begins a new one. Without an index a name is enough.
        """
        function = piece.get("function") or piece.get("custom") or NOTHING
        name, text = function.get("name"), function.get("arguments") or ""
        index, key = piece.get("index"), piece.get("id")
        call = self._call_of(index if isinstance(index, int) else None, key, name)
        call.key = call.key or (key if _is_text(key) else "")
        call.name = call.name or (name if _is_text(name) else "")
        text = text if isinstance(text, str) else answers.to_json(text)
        call.pieces.append(text)
        return call, text

    def held(self) -> "list[_Call]":
        """Those that were not told yet."""
        return [call for call in self._all if not call.is_told]

    def _call_of(self, at: int | None, key: object, name: object) -> "_Call":
        last = self._at.get(at) if at is not None else next(reversed(self._all), None)
        is_new = last is None or bool(name and (key != last.key if key else at is None))
        if last is None or is_new:
            last = _Call(len(self._all))
            self._all.append(last)
            if at is not None:
                self._at[at] = last
        return last


class _Call:
    """One call so far; `place` is its number."""

    __slots__ = ("is_told", "key", "name", "pieces", "place")

    def __init__(self, place: int) -> None:
        self.place = place
        self.key = self.name = ""
        self.is_told = False
        self.pieces: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value)
