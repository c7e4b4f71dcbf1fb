"""The wire models of usage: who used how much on which day.

Days are those of UTC, by the beginning of the chats; all times are Unix times.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.web.schemas.records import QueryString

DAYS_MAX = 92


class UsageQuery(QueryString):
    """Query string of `GET /operator/api/usage`; left out or empty is the default."""

    days: int = Field(
        default=7, ge=1, le=DAYS_MAX, description="Days, today's included; default: 7."
    )
    by: Literal["caller", "person"] = Field(
        default="caller",
        description="`person`: also by the person for whom a caller spoke; default: "
        "`caller`.",
    )


class UsageEntry(BaseModel):
    """What one caller, or one person of a caller, used on a day."""

    model_config = ConfigDict(from_attributes=True)

    caller: str = Field(description="The name of the token.")
    person: str | None = Field(description="For whom it spoke, if it said so.")
    chats: int = Field(description="All that were asked for.")
    answered: int = Field(description="Answered in full.")
    degraded: int = Field(description="Of these, not by the first choice.")
    failed: int = Field(description="Taken on, and not answered in full.")
    refused: int = Field(description="Not taken on: over a limit, or a mistake.")
    cancelled: int = Field(description="Given up by the caller.")
    input_tokens: int = Field(description="As far as upstreams have counted them.")
    output_tokens: int


class UsageDay(BaseModel):
    """One day; who asked for most comes first."""

    began: float
    usage: list[UsageEntry]


class UsageReport(BaseModel):
    """The newest days, today first."""

    now: float
    since: float
    is_whole: bool = Field(
        description="False if there was no time for all days, or a day has more "
        "entries than are shown."
    )
    days: list[UsageDay]
