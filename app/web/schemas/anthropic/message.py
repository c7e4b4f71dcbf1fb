"""The wire models of what Anthropic's doors answer, and how a reply becomes one."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.gateway.chat import NOTHING, ChatReply, Usage

Fields = Mapping[str, Any]
Block = dict[str, Any]

to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
# Members in which servers tell thoughts as a text, the best known first.
THOUGHTS = ("reasoning_content", "reasoning", "reasoning_text", "thinking")


class MessageUsage(BaseModel):
    """Tokens, as counted by the upstream; 0 where it counted none."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0


class AnthropicMessage(BaseModel):
    """A whole answer."""

    id: str = Field(description="`msg_` and the record's id.")
    type: Literal["message"]
    role: Literal["assistant"]
    model: str = Field(description="The one that answered.")
    content: list[dict[str, Any]] = Field(
        description="Blocks: `text`, `tool_use`, `thinking`, `redacted_thinking`."
    )
    stop_reason: str | None = Field(description="null at the beginning of a stream.")
    stop_sequence: str | None
    usage: MessageUsage


class TokenCount(BaseModel):
    """The tokens of a request."""

    input_tokens: int = Field(
        description="An estimate if X-Gateway-Provider is `estimate`."
    )


class MessageStart(BaseModel):
    """The beginning of a stream: a message without content."""

    type: Literal["message_start"]
    message: AnthropicMessage


class ContentBlockStart(BaseModel):
    """The beginning of a block."""

    type: Literal["content_block_start"]
    index: int
    content_block: dict[str, Any]


class ContentBlockDelta(BaseModel):
    """Some more of a block."""

    type: Literal["content_block_delta"]
    index: int
    delta: dict[str, Any] = Field(
        description="`text_delta`, `input_json_delta`, `thinking_delta` or "
        "`signature_delta`."
    )


class ContentBlockStop(BaseModel):
    """The end of a block."""

    type: Literal["content_block_stop"]
    index: int


class MessageEnd(BaseModel):
    """Why the message ended."""

    stop_reason: str
    stop_sequence: str | None


class MessageDelta(BaseModel):
    """The last word on the message."""

    type: Literal["message_delta"]
    delta: MessageEnd
    usage: MessageUsage


class MessageStop(BaseModel):
    """The end of an answer that is whole and on record; without it, it is neither."""

    type: Literal["message_stop"]


class Ping(BaseModel):
    """Nothing has come for a while."""

    type: Literal["ping"]


class AnthropicError(BaseModel):
    """What Anthropic's clients read of an error."""

    type: str = Field(description="The kind of error, as Anthropic names it.")
    message: str = Field(description="For people.")
    code: str = Field(description="For programs: the gateway's own word.")


class AnthropicErrorBody(BaseModel):
    """Why there is no answer, in Anthropic's shape; in a stream, why it broke off."""

    type: Literal["error"]
    error: AnthropicError
    request_id: str = Field(description="The correlation id.")


def usage(usage: Usage) -> dict[str, int]:
    """Tokens as Anthropic counts them: those of a cache apart."""
    details = usage.details.get("prompt_tokens_details", NOTHING)
    cached = details.get("cached_tokens", 0)
    stored = details.get("cache_creation_tokens", 0)
    return {
        "input_tokens": max(0, (usage.input_tokens or 0) - cached - stored),
        "output_tokens": usage.output_tokens or 0,
        "cache_creation_input_tokens": stored,
        "cache_read_input_tokens": cached,
    }


def message(reply: ChatReply) -> dict[str, Any]:
    """A whole reply as a message."""
    choice = first_of(reply)
    return opening(reply) | {
        "content": list(_blocks(reply, choice.get("message") or NOTHING)),
        **ending(reply, choice),
        "usage": usage(reply.usage),
    }


def opening(reply: ChatReply) -> dict[str, Any]:
    """The message that begins a stream, with what is known by then."""
    return {
        "id": f"msg_{reply.first_id}",
        "type": "message",
        "role": "assistant",
        "model": reply.model or reply.upstream,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage(reply.usage),
    }


def first_of(reply: ChatReply) -> Fields:
    """The choice that this wire has room for; empty for plain text."""
    firsts = (choice for choice in reply.choices if not choice.get("index"))
    return next(firsts, NOTHING)


def ending(reply: ChatReply, choice: Fields) -> dict[str, str | None]:
    """Why a reply ended."""
    reason = choice.get("finish_reason") or reply.finish_reason
    stopped_at = choice.get("stop_sequence")
    if isinstance(stopped_at, str):
        return {"stop_reason": "stop_sequence", "stop_sequence": stopped_at}
    return {"stop_reason": STOP_REASONS.get(reason, "end_turn"), "stop_sequence": None}


def thought_of(part: Fields) -> str:
    """The thoughts in a message or delta; "" for none."""
    texts = (part.get(name) for name in THOUGHTS)
    return next((text for text in texts if isinstance(text, str) and text), "")


def signed_of(part: Fields) -> list[Block]:
    """The blocks of thoughts that a server will take back, in a message or delta."""
    blocks = part.get("thinking_blocks")
    blocks = blocks if isinstance(blocks, list) else []
    return [b for b in blocks if isinstance(b, dict) and _is_signed(b)]


def tool_use(call: Fields, key: str) -> Block:
    """A tool call as a block; `key` is its id if it has none of its own."""
    function = call.get("function") or call.get("custom") or NOTHING
    return {
        "type": "tool_use",
        "id": call.get("id") or key,
        "name": function.get("name") or "",
        "input": _input(function.get("arguments") or function.get("input")),
    }


def _is_signed(block: Block) -> bool:
    if block.get("type") == "redacted_thinking":
        return isinstance(block.get("data"), str)
    return isinstance(block.get("thinking"), str) and bool(block.get("signature"))


def _blocks(reply: ChatReply, part: Fields) -> Iterator[Block]:
    """The content of a whole reply, whose first message is `part`."""
    if signed := signed_of(part):
        yield from signed
    elif thought := thought_of(part):
        yield {"type": "thinking", "thinking": thought, "signature": ""}
    refusal = part.get("refusal")
    if text := reply.text or (refusal if isinstance(refusal, str) else ""):
        yield {"type": "text", "text": text}
    calls = part.get("tool_calls")
    for place, call in enumerate(calls if isinstance(calls, list) else ()):
        if isinstance(call, Mapping):
            yield tool_use(call, f"toolu_{reply.first_id}_{place}")


def _input(arguments: object) -> dict[str, Any]:
    """The arguments of a call, which are an object in this wire."""
    value = arguments
    if isinstance(arguments, str):
        try:
            value = json.loads(arguments)
        except (ValueError, RecursionError):
            value = arguments
    if isinstance(value, dict):
        return value
    return {} if value in (None, "") else {"value": value}
