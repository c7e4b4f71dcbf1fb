"""The wire models of the recent past: chats as points, and outages.

All times are Unix times and durations are in seconds.
"""

from pydantic import BaseModel, ConfigDict, Field

from app.gateway.records.activity import Kind


class ActivityPoint(BaseModel):
    """One chat; all but `opened_at` and `id` is null while it is under way."""

    model_config = ConfigDict(from_attributes=True)

    opened_at: float
    duration: float | None
    outcome: str | None
    status: int | None = Field(description="What the caller was answered, in HTTP.")
    provider: str | None
    degraded_by: str | None = Field(description="Why the first choice did not answer.")
    code: str | None = Field(description="The error's, if there was one.")
    id: str = Field(description="Of its record.")


class ActivityPicture(BaseModel):
    """The newest chats."""

    now: float
    since: float
    is_whole: bool = Field(
        description="Whether these are all since then, or only as many as are shown."
    )
    chats: list[ActivityPoint] = Field(description="Newest first.")


class OutageCause(BaseModel):
    """Why chats went wrong, and how often."""

    cause: str
    chats: int


class Outage(BaseModel):
    """A stretch of time in which chats went wrong in one and the same way."""

    kind: Kind = Field(
        description="`degraded`: somebody else than the first choice answered; "
        "`unanswered`: nobody did; `refused`: the gateway itself took none on."
    )
    began: float
    ended: float
    chats: int = Field(description="How many went so.")
    causes: list[OutageCause] = Field(description="The one that began it comes first.")


class OutageList(BaseModel):
    """The newest outages."""

    now: float
    since: float
    windows: list[Outage] = Field(description="Newest first.")
