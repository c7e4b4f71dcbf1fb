"""The wire models of the native chat: what clients of the operator backend rely on."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.gateway import chat, correlation
from app.web.errors import InvalidBody

# PostgreSQL refuses NUL and terminals obey the rest; tab and line ends are text.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")

Id = Annotated[str, Field(max_length=200)]


class ChatRequest(BaseModel):
    """Body of `POST /operator/api/chat`. Unknown fields are ignored."""

    model_config = ConfigDict(strict=True)

    message: str = Field(description="What the user says.")
    session_id: Id | None = Field(default=None, description="Echoed; else a new UUID4.")
    correlation_id: str | None = Field(
        default=None,
        description="Echoed if 1 to 128 harmless ASCII characters, else replaced.",
    )
    context: dict[str, Any] | None = Field(
        default=None, description="Free-form; given to the fallback."
    )
    metadata: dict[str, Any] | None = Field(
        default=None, description="Free-form; allow-listed keys go to the primary."
    )
    stream: bool | None = Field(
        default=None,
        description="Answer as server-sent events; default: as Accept says.",
    )

    @classmethod
    def parse(cls, body: Any) -> Self:
        """Validate a JSON value; raise InvalidBody naming every bad field."""
        if not isinstance(body, dict):
            raise InvalidBody({"body": "must be a JSON object"})
        try:
            parsed = cls.model_validate(body)
        except ValidationError as error:
            raise InvalidBody(reasons(error)) from None
        parsed._refuse_empty_and_control_characters()
        return parsed

    def _refuse_empty_and_control_characters(self) -> None:
        if not self.message.strip():
            raise InvalidBody({"message": "must not be empty"})
        for field in ("message", "session_id", "context", "metadata"):
            if any(_CONTROL.search(text) for text in texts(getattr(self, field))):
                raise InvalidBody({field: "must not hold control characters"})

    def to_request(
        self,
        caller: str,
        correlation_id: str,
        *,
        stream: bool,
        mode: chat.StreamMode,
        priority: chat.Priority,
    ) -> chat.ChatRequest:
        """Make the core's value of it; `correlation_id` is already chosen."""
        return chat.ChatRequest(
            messages=(chat.Message("user", self.message),),
            session_id=self.session_id or correlation.new_id(),
            correlation_id=correlation_id,
            caller=caller,
            context=self.context or chat.NOTHING,
            metadata=self.metadata or chat.NOTHING,
            priority=priority,
            stream=stream,
            stream_mode=mode,
        )


class ChatResponse(BaseModel):
    """Answer of `POST /operator/api/chat`: eight fields, always all of them."""

    response: str
    model_used: str
    latency_ms: float
    correlation_id: str
    session_id: str
    provider: str
    status: str
    degraded: bool

    @classmethod
    def of(
        cls, reply: chat.ChatReply, request: chat.ChatRequest, seconds: float
    ) -> "ChatResponse":
        """Make the wire form of a reply that took this many seconds in all."""
        return cls(
            response=reply.text,
            model_used=reply.model,
            latency_ms=round(seconds * 1000, 1),
            correlation_id=request.correlation_id,
            session_id=request.session_id,
            provider=reply.upstream,
            status="degraded" if reply.is_degraded else "ok",
            degraded=reply.is_degraded,
        )


def reasons(error: ValidationError) -> Mapping[str, str]:
    """What is wrong with which field, without its value."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return {".".join(map(str, e["loc"])): e["msg"].lower() for e in found}


def texts(value: Any) -> Iterator[str]:
    """All strings inside a JSON value, keys too. Nesting is bounded by the parser."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, member in value.items():
            yield key
            yield from texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from texts(member)
