"""The content blocks of an answer in Anthropic's wire, told as deltas.

Deltas are in the shape that the core has for all dialects: OpenAI's. A whole answer is
a stream whose blocks come in one piece each.
"""

import json
from collections.abc import Mapping
from typing import Any

from app.gateway.blank import is_blank
from app.gateway.chat import NOTHING, Delta, Usage
from app.gateway.errors import BadReply, ContentFiltered
from app.upstreams.replies import token_count

Fields = Mapping[str, Any]

MOST_BLOCKS = 1024  # of one answer; models make a dozen
MOST_SIGNED = 4 * 1024 * 1024  # characters of all signatures, which hold the thoughts

# Why an answer ended, in OpenAI's words. A word that we do not know is a proper end
# all the same: it comes at the end of an answer, and nowhere else.
REASONS = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
    "tool_use": "tool_calls",
}
# The reasons for which an answer may have no words, as the request wanted it.
# How an answer ends that needs no more words than it was begun with.
ALL_SAID = frozenset({"end_turn", "max_tokens"})
MAY_BE_EMPTY = frozenset({"max_tokens", "stop_sequence", "refusal"})

SILENT = Delta("")


class Blocks:
    """The blocks of one answer as they come. It belongs to one thread.

    `has_said` and `has_thought` tell what came so far that a caller can see. With
    `as_text` he is told text alone. One that `is_begun` may have been all that there
    was to say. Methods raise BadReply for what is no answer.
    """

    def __init__(self, *, as_text: bool = False, is_begun: bool = False) -> None:
        self._as_text = as_text
        self._is_begun = is_begun
        self._open: dict[int, _Block] = {}
        self._begun = 0
        self._calls = self._signed_so_far = 0
        self.has_said = self.has_thought = False

    @property
    def are_whole(self) -> bool:
        """Whether each block that began has ended."""
        return not self._open

    def start(self, index: object, block: object) -> Delta:
        """Begin a block with what is in it already."""
        if not (isinstance(index, int) and isinstance(block, Mapping)):
            raise BadReply("schema")
        self._begun += 1
        if self._begun > MOST_BLOCKS:
            raise BadReply("too_large")
        if index in self._open:
            raise BadReply("protocol")
        kind = block.get("type")
        self._open[index] = made = _Block(kind if isinstance(kind, str) else "")
        if kind == "text":
            return self._words(block.get("text"))
        if kind == "thinking":
            return self._thought(made, block)
        if kind == "redacted_thinking":
            return self._choice(thinking_blocks=[dict(block)])
        return self._call(made, block) if kind == "tool_use" else SILENT

    def more(self, index: object, delta: object) -> Delta:
        """Go on with a block. What we do not know adds nothing."""
        if not isinstance(delta, Mapping):
            raise BadReply("schema")
        block = self._open.get(index) if isinstance(index, int) else None
        if block is None:
            raise BadReply("protocol")
        if block.kind == "text":
            return self._words(delta.get("text"))
        if block.kind == "thinking":
            return self._thought(block, delta)
        text = delta.get("partial_json")
        if block.kind != "tool_use" or text is None:
            return SILENT
        if not isinstance(text, str):
            raise BadReply("schema")
        block.pieces.append(text)
        return self._arguments(block, text)

    def stop(self, index: object) -> Delta:
        """End a block. Raises BadReply for half a tool call."""
        block = self._open.pop(index, None) if isinstance(index, int) else None
        if block is None:
            raise BadReply("protocol")
        if block.kind == "thinking":
            return self._signed(block)
        if block.kind != "tool_use":
            return SILENT
        text = "".join(block.pieces)
        if is_blank(text):
            return self._arguments(block, "{}")
        if not _is_object(text):
            raise BadReply("bad_tool_call")
        return SILENT

    def require_answer(self, reason: str) -> None:
        """Return if all that came is an answer that ended for this reason.

        Raises BadReply, and ContentFiltered where text alone is wanted and a filter
        took it.
        """
        if self.has_said or (self._is_begun and reason in ALL_SAID):
            return
        if self._as_text and reason == "refusal":
            raise ContentFiltered("content_filter")
        if self._as_text or not (self.has_thought or reason in MAY_BE_EMPTY):
            raise BadReply("empty")

    def _words(self, text: object) -> Delta:
        if not isinstance(text, str | None):
            raise BadReply("schema")
        self.has_said |= not is_blank(text or "")
        return Delta(text or "")

    def _thought(self, block: "_Block", fields: Fields) -> Delta:
        """More of a thought, or of its signature, which is told at its end."""
        text, signature = fields.get("thinking"), fields.get("signature")
        if isinstance(signature, str) and signature:
            block.signature.append(signature)
            self._signed_so_far += len(signature)
            if self._signed_so_far > MOST_SIGNED:
                raise BadReply("too_large")
        if not (isinstance(text, str) and text):
            return SILENT
        self.has_thought = True
        block.pieces.append(text)
        return self._choice(reasoning_content=text)

    def _signed(self, block: "_Block") -> Delta:
        """All of a thought, once: no server takes back what it has not signed."""
        if not block.signature:
            return SILENT
        thought = {"type": "thinking", "thinking": "".join(block.pieces)}
        signed = thought | {"signature": "".join(block.signature)}
        return self._choice(thinking_blocks=[signed])

    def _call(self, made: "_Block", block: Fields) -> Delta:
        name, key, given = block.get("name"), block.get("id"), block.get("input")
        if not isinstance(name, str) or is_blank(name):
            raise BadReply("bad_tool_call")
        self.has_said |= not self._as_text
        made.call, self._calls = self._calls, self._calls + 1
        text = json.dumps(given, ensure_ascii=False) if given else ""
        if text:
            made.pieces.append(text)
        call = {
            "index": made.call,
            "id": key if isinstance(key, str) and key else f"call_{made.call}",
            "type": "function",
            "function": {"name": name, "arguments": text},
        }
        return self._choice(tool_calls=[call])

    def _arguments(self, block: "_Block", text: str) -> Delta:
        call = {"index": block.call, "function": {"arguments": text}}
        return self._choice(tool_calls=[call])

    def _choice(self, **delta: Any) -> Delta:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        return Delta("", (choice,))


class _Block:
    """A block that has begun: its text so far, and its number among the tool calls."""

    __slots__ = ("call", "kind", "pieces", "signature")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.call = 0
        self.pieces: list[str] = []
        self.signature: list[str] = []


def _is_object(text: str) -> bool:
    try:
        value = json.loads(text, parse_int=float)  # numbers of any length
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict)


def finish_of(fields: Fields) -> tuple[str | None, dict[str, Any]]:
    """Why an answer ended, in its own word, and how callers are told; None if not.

    Raises BadReply for a reason that is no word.
    """
    reason, stopped_at = fields.get("stop_reason"), fields.get("stop_sequence")
    if not isinstance(reason, str | None):
        raise BadReply("schema")
    ending: dict[str, Any] = {"index": 0}
    ending["finish_reason"] = REASONS.get(reason or "", "stop")
    if reason == "stop_sequence" and isinstance(stopped_at, str):
        ending["stop_sequence"] = stopped_at
    return reason or None, ending


def usage_of(fields: object, before: Usage) -> Usage:
    """The tokens that were counted, each count in place of the one before.

    This wire counts what was read from a cache, or written to one, apart.
    """
    if not isinstance(fields, Mapping):
        return before
    spent, made = _count(fields, "input_tokens"), _count(fields, "output_tokens")
    cached = _count(fields, "cache_read_input_tokens") or 0
    stored = _count(fields, "cache_creation_input_tokens") or 0
    details: dict[str, Mapping[str, int]] = {}
    if cached or stored:
        kinds = {"cached_tokens": cached, "cache_creation_tokens": stored}
        details["prompt_tokens_details"] = kinds
    thought = fields.get("output_tokens_details")
    if isinstance(thought, Mapping) and (n := _count(thought, "thinking_tokens")):
        details["completion_tokens_details"] = {"reasoning_tokens": n}
    return Usage(
        before.input_tokens if spent is None else spent + cached + stored,
        before.output_tokens if made is None else made,
        {**before.details, **details} or NOTHING,
    )


def _count(fields: Fields, name: str) -> int | None:
    return token_count(fields.get(name))
