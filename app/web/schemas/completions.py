"""The wire models of what OpenAI's doors answer.

What an upstream that speaks OpenAI says is handed on untouched, so there may be more
fields than these.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.gateway.routing import models


class _Open(BaseModel):
    """May have more fields."""

    model_config = ConfigDict(extra="allow")


class CompletionMessage(_Open):
    """What is said, or asked of the caller's tools."""

    role: str = "assistant"
    content: str | None = None
    tool_calls: list[Any] | None = None


class CompletionChoice(_Open):
    """One of the answers."""

    index: int = 0
    message: CompletionMessage | None = None
    finish_reason: str | None = None


class CompletionUsage(_Open):
    """Tokens, as counted by the upstream; with its details, if it gives any."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(_Open):
    """A whole answer."""

    id: str = Field(description="`chatcmpl-` and the record's id.")
    object: Literal["chat.completion"]
    created: int = Field(description="Unix time.")
    model: str = Field(description="The one that answered.")
    choices: list[CompletionChoice] = Field(min_length=1)
    usage: CompletionUsage = Field(description="Zeros where nobody has counted.")


class ChunkDelta(_Open):
    """Some more of a message; the role is told in the first one."""

    role: str = "assistant"
    content: str | None = None
    tool_calls: list[Any] | None = None


class ChunkChoice(_Open):
    """Some more of one of the answers."""

    index: int
    delta: ChunkDelta
    finish_reason: str | None = Field(description="Told in the last one.")


class CompletionChunk(_Open):
    """A piece of a streamed answer."""

    id: str = Field(description="`chatcmpl-` and the record's id; the same in all.")
    object: Literal["chat.completion.chunk"]
    created: int = Field(description="Unix time; the same in all.")
    model: str
    choices: list[ChunkChoice] = Field(description="Empty beside the usage.")
    usage: CompletionUsage | None = Field(
        default=None,
        description="In the last chunk, if `stream_options.include_usage` asks for it.",
    )


class Model(BaseModel):
    """A name that `model` may hold."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["gateway"]
    context_length: int = Field(
        default=0, description="Tokens that it can read; left out if nobody knows."
    )
    max_model_len: int = Field(default=0, description="The same, as vLLM names it.")

    @classmethod
    def of(cls, model: models.Model) -> Self:
        """Make the wire form of a model."""
        size = model.context_length
        known = {"context_length": size, "max_model_len": size} if size else {}
        return cls(
            id=model.name, object="model", created=0, owned_by="gateway", **known
        )


class ModelList(BaseModel):
    """The names that choose an upstream or a route; others are passed on."""

    object: Literal["list"]
    data: list[Model]
