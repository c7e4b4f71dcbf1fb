"""The wire models of the upstreams' cards: where they are, how calls to them went.

All times are Unix times and durations are in seconds.
"""

from typing import Literal

from pydantic import BaseModel, Field


class FailedCall(BaseModel):
    """The newest failed call to an upstream."""

    at: float
    fault: str
    record: str = Field(
        description="The id of its record, or the correlation id of its chat."
    )


class UpstreamCard(BaseModel):
    """One upstream: its address, and how the calls to it went.

    The numbers are of the newest chats; the last success and the last failure may be
    older than these. What follows from a request alone is not counted.
    """

    name: str
    kind: str
    address: str
    calls: int
    failures: int
    error_rate: float | None = Field(description="From 0 to 1; null without calls.")
    p50: float | None = Field(description="Half of the answers took no longer.")
    p95: float | None = Field(description="95 % of the answers took no longer.")
    last_success: float | None
    last_failure: FailedCall | None


class UpstreamCards(BaseModel):
    """All upstreams, in the order of asking."""

    now: float
    since: float = Field(description="From when on calls are counted.")
    upstreams: list[UpstreamCard]


class HealthAnswer(BaseModel):
    """What an upstream said when it was asked for its health just now."""

    status: Literal["up", "down", "unknown", "unprobed"] = Field(
        description="`unknown`: there was no time to ask it. `unprobed`: it is never "
        "asked for its health."
    )
    reason: str = Field(description="Why, in a word; `ok` if it is up.")
    took: float
