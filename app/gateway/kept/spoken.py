"""Spoken: an answer as bytes, piece by piece as it came, and the same answer again."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Self

from app.gateway.chat import Attempt, ChatReply, Delta, ReplyFacts, Seam, Usage
from app.gateway.handler import ReplyStream
from app.gateway.kept.reuse import Said
from app.gateway.replies import as_whole
from app.gateway.strict_json import plain_encoder

_encode = plain_encoder(separators=(",", ":"))


class Spoken(NamedTuple):
    """An answer with its pieces; `is_streamed` tells the shape that they have.

    `model` and `usage` are what was known of both when the reply began.
    """

    reply: ChatReply
    pieces: tuple[Delta, ...]
    is_streamed: bool
    model: str
    usage: Usage

    def to_bytes(self) -> bytes:
        """Return it as JSON. Raises TypeError for values that JSON lacks."""
        reply = self.reply
        return _encode(
            {
                "streamed": self.is_streamed,
                "pieces": [_packed(piece) for piece in self.pieces],
                "text": reply.text if self._is_text_apart else None,
                "upstream": reply.upstream,
                "model": reply.model,
                "usage": _spent(self.reply.usage),
                "began_with": [self.model, _spent(self.usage)],
                "finish_reason": reply.finish_reason,
                "degraded_by": reply.degraded_by,
                "choices": reply.choices,
                "extra": dict(reply.extra),
                "left_out": reply.left_out,
                "body": b64encode(reply.body).decode(),
                "said": reply.said and _told(reply.said),
            }
        ).encode("ascii")

    @classmethod
    def of_bytes(cls, data: bytes) -> Self:
        """Return what `to_bytes` made bytes of."""
        told = json.loads(data)
        pieces = tuple(map(_unpacked, told["pieces"]))
        text = told["text"]
        model, usage = told["began_with"]
        reply = ChatReply(
            "".join(piece.text for piece in pieces) if text is None else text,
            told["upstream"],
            told["model"],
            Usage(*told["usage"]),
            told["finish_reason"],
            told["degraded_by"],
            choices=tuple(told["choices"]),
            extra=told["extra"],
            left_out=tuple(told["left_out"]),
            body=b64decode(told["body"]),
            said=told["said"] and _said(told["said"]),
        )
        return cls(reply, pieces, told["streamed"], model, Usage(*usage))

    def again(self, reply: ChatReply, *, is_streamed: bool) -> ReplyStream:
        """Return the answer as a stream with this reply's facts, in the asked shape.

        What was not known when it began is not known when it begins again.
        """
        if is_streamed and not self.is_streamed:
            whole = as_whole(reply, self.pieces)
            stream = ReplyStream.whole(whole, is_streamed=True)
        elif is_streamed:
            stream = self._begun_again(reply)
        else:
            stream = ReplyStream(AtHand(self.pieces), reply)
        stream.is_repeated = True
        return stream

    def _begun_again(self, reply: ChatReply) -> ReplyStream:
        begun = reply._replace(
            text="", model=self.model, usage=self.usage, choices=(), extra={}
        )
        pieces = AtHand(self.pieces)
        stream = ReplyStream(pieces, begun)
        ending = ReplyFacts(
            model=reply.model,
            usage=reply.usage,
            choices=reply.choices,
            extra=reply.extra,
        )
        pieces.on_end = lambda: stream.learn(ending)
        return stream

    @property
    def _is_text_apart(self) -> bool:
        return self.reply.text != "".join(piece.text for piece in self.pieces)


class AtHand(Iterator[Delta]):
    """The pieces of an answer, all of which are in hand, so that they go together."""

    def __init__(self, pieces: Sequence[Delta]) -> None:
        self.on_end: Callable[[], None] = lambda: None
        self._left = iter(pieces)
        self._number = len(pieces)

    def __next__(self) -> Delta:
        self._number -= 1
        if self._number < 0:
            self.on_end()
        return next(self._left)

    @property
    def is_ready(self) -> bool:
        """Whether there is another one."""
        return self._number > 0


def _spent(usage: Usage) -> list[Any]:
    return [usage.input_tokens, usage.output_tokens, dict(usage.details)]


def _packed(piece: Delta) -> Any:
    if not (piece.choices or piece.extra or piece.seam):
        return piece.text
    return [piece.text, piece.choices, dict(piece.extra), piece.seam]


def _unpacked(packed: Any) -> Delta:
    if isinstance(packed, str):
        return Delta(packed)
    text, choices, extra, seam = packed
    return Delta(text, tuple(choices), extra, seam and Seam(*seam))


def _told(said: Said) -> list[Any]:
    *facts, attempts = said
    return [*facts, attempts]


def _said(told: list[Any]) -> Said:
    attempts = told[-1]
    return Said._make([*told[:-1], tuple(Attempt(*attempt) for attempt in attempts)])
