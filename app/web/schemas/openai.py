"""The wire models of OpenAI's chat completions: what is read of them, and no more.

Everything that is not named here passes through untouched to upstreams that speak
OpenAI.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.gateway import abilities, chat
from app.web.request.errors import InvalidBody
from app.web.schemas import needs
from app.web.schemas.chat import WHOLE, validated
from app.web.schemas.facts import Facts
from app.web.schemas.text import NUL_FREE

MOST_MESSAGES = 2000

Name = Annotated[str, Field(max_length=200, pattern=NUL_FREE)]
Object = dict[str, Any]
Objects = Annotated[list[dict[str, Any]], Field(fail_fast=True)]

# A message that is not empty, as the document tells it (see `parse`).
NOT_EMPTY: dict[str, JsonValue] = {
    "anyOf": [
        {
            "properties": {"content": {"type": "string", "minLength": 1}},
            "required": ["content"],
        },
        {
            "properties": {"content": {"type": "array", "minItems": 1}},
            "required": ["content"],
        },
        {
            "properties": {"tool_calls": {"type": "array", "minItems": 1}},
            "required": ["tool_calls"],
        },
    ]
}

# What only the gateway decides, so it is not passed on.
_OURS = frozenset({"model", "messages", "stream", "stream_options"})


class Message(BaseModel):
    """One message of a conversation; unknown fields are kept."""

    model_config = ConfigDict(strict=True, extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Objects | None = None
    tool_calls: Objects | None = None

    def to_message(self, raw: Mapping[str, Any]) -> chat.Message:
        """Make the core's value of it; `raw` is the message as it came."""
        role = "system" if self.role == "developer" else self.role
        is_plain = isinstance(self.content, str) and set(raw) == {"role", "content"}
        is_said_by_it = is_plain and role == self.role
        return chat.Message(role, self.text, None if is_said_by_it else raw)

    @property
    def text(self) -> str:
        """What is said in words, for upstreams that take nothing else."""
        if isinstance(self.content, str):
            return self.content
        parts = (part.get("text") for part in self.content or ())
        return "\n".join(part for part in parts if isinstance(part, str))

    def needs(self) -> Iterator[str]:
        """The abilities without which it cannot be understood."""
        has_called = self.tool_calls or (self.model_extra or {}).get("function_call")
        if has_called or self.role in {"tool", "function"}:
            yield abilities.TOOLS
        if isinstance(self.content, list) and not all(map(_is_text, self.content)):
            yield abilities.IMAGES


def _is_text(part: Mapping[str, Any]) -> bool:
    return part.get("type") in ("text", "refusal")  # it may be anything


class StreamOptions(BaseModel):
    """How a stream is wanted."""

    model_config = ConfigDict(strict=True)

    include_usage: bool | None = Field(
        default=None, description="End with a chunk that tells the tokens spent."
    )


class CompletionRequest(BaseModel):
    """Body of `POST /v1/chat/completions`; unknown fields are kept."""

    model_config = ConfigDict(strict=True, extra="allow")

    messages: Annotated[
        list[Message], Field(min_length=1, max_length=MOST_MESSAGES, fail_fast=True)
    ] = Field(
        description=f"At most {MOST_MESSAGES}; not all of them empty.",
        json_schema_extra={"contains": NOT_EMPTY},
    )
    model: Name | None = Field(
        default=None, description="An upstream or a route; others are passed on."
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=128), WHOLE] | None = Field(
        default=None, description="How many answers are wanted."
    )
    tools: Objects | None = None
    functions: Objects | None = None
    metadata: Object | None = Field(
        default=None, description="`session_id` in it names the session."
    )
    user: str | None = Field(
        default=None, description="The session, if nothing else names it."
    )

    @classmethod
    def parse(cls, body: Any) -> Self:
        """Validate a JSON value; raise InvalidBody naming every bad field."""
        parsed = validated(cls, body)
        if not any(m.content or m.tool_calls for m in parsed.messages):
            raise InvalidBody({"messages": "must not all be empty"})
        return parsed

    def to_request(
        self,
        body: Mapping[str, Any],
        facts: Facts,
        route: str = "openai",
    ) -> chat.ChatRequest:
        """Make the core's value of it; `body` is what was parsed."""
        pairs = zip(self.messages, body["messages"], strict=True)
        return chat.ChatRequest(
            messages=tuple(message.to_message(raw) for message, raw in pairs),
            session_id=facts["session_id"],
            names_session=facts["names_session"],
            correlation_id=facts["correlation_id"],
            caller=facts["caller"],
            metadata=self.metadata or chat.NOTHING,
            priority=facts["priority"],
            stream=bool(self.stream),
            stream_mode=facts["mode"],
            model=self.model or None,
            extra={k: v for k, v in body.items() if k not in _OURS} | self._counted(),
            needs=self._needs(body),
            wants=frozenset(needs.wants(body)),
            wants_choices=True,
            route=route,
            size=facts["size"],
        )

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with a chunk that tells the tokens spent."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def _counted(self) -> dict[str, int]:
        """`n` as a whole number, in whatever way the caller wrote it."""
        return {} if self.n is None else {"n": self.n}

    def _needs(self, body: Mapping[str, Any]) -> frozenset[str]:
        of_messages = (message.needs() for message in self.messages)
        return frozenset(chain(needs.needs(body), *of_messages))


# Clients look for numbers in a whole answer; a header says that these are none.
UNCOUNTED = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def usage(usage: chat.Usage) -> dict[str, Any] | None:
    """Tokens in OpenAI's format; None if the upstream did not count them."""
    spent, made = usage.input_tokens, usage.output_tokens
    if spent is None and made is None:
        return None
    return {
        "prompt_tokens": spent or 0,
        "completion_tokens": made or 0,
        "total_tokens": (spent or 0) + (made or 0),
        **usage.details,
    }


def choices(reply: chat.ChatReply) -> list[Mapping[str, Any]]:
    """The choices of a whole reply, untouched where an OpenAI upstream made them."""
    if reply.choices:
        return list(reply.choices)
    message = {"role": "assistant", "content": reply.text, "refusal": None}
    return [
        {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": reply.finish_reason,
        }
    ]
