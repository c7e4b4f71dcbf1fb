"""The wire models of the native stream's events."""

from typing import Literal

from pydantic import BaseModel, Field


class StreamMeta(BaseModel):
    """The first event: who answers, and under which ids all of it is found."""

    correlation_id: str
    session_id: str
    audit_id: str = Field(description="The record's.")
    provider: str
    model: str = Field(description="Empty if it is not known yet.")
    degraded: bool
    fallback_reason: str | None = Field(description="Why not the first choice.")


class StreamDelta(BaseModel):
    """Some more text."""

    text: str


class StreamSeam(BaseModel):
    """The upstream of the answer so far has broken, and another one goes on with it."""

    provider: str = Field(description="Who goes on.")
    from_character: int = Field(description="Unicode characters of text before.")


class StreamUsage(BaseModel):
    """Tokens, as counted by the upstream; null if it did not."""

    input_tokens: int | None
    output_tokens: int | None


class StreamTimings(BaseModel):
    """Where the time went, in milliseconds."""

    queue_ms: float
    first_delta_ms: float = Field(description="Until the reply began.")
    audit_ms: float = Field(description="Until the record was committed.")
    total_ms: float


class StreamAttempt(BaseModel):
    """One upstream's part."""

    upstream: str
    fault: str | None = Field(description="Why it did not answer; null: it did.")
    duration_ms: float
    from_character: int | None = Field(
        description="Where its part of an answer of several begins; else null."
    )


class StreamDone(BaseModel):
    """The last event: the reply is whole and on record."""

    model_used: str
    latency_ms: float
    correlation_id: str
    session_id: str
    provider: str
    status: Literal["ok", "degraded"]
    degraded: bool
    finish_reason: str
    fallback_reason: str | None = Field(description="Why not the first choice.")
    usage: StreamUsage
    timings: StreamTimings
    attempts: list[StreamAttempt]
    audit_id: str = Field(description="The record's.")


class StreamError(BaseModel):
    """The last event: there is no more, and what came so far is not an answer."""

    code: str = Field(description="For programs: it does not change.")
    detail: str = Field(description="For people.")
    correlation_id: str
    retry_after: int | None = Field(description="Seconds to wait, where it helps.")
