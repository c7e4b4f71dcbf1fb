"""The wire models of usage: who used how much on which day.

Days are those of UTC, by the beginning of the chats; all times are Unix times.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.web.request.errors import InvalidBody
from app.web.schemas.chat import reasons
from app.web.schemas.records import as_sent

DAYS_MAX = 92


class UsageQuery(BaseModel):
    """Query string of `GET /operator/api/usage`; left out or empty is the default."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=as_sent)

    days: int = Field(
        default=7, ge=1, le=DAYS_MAX, description="Days, today's included; default: 7."
    )
    by: Literal["caller", "person"] = Field(
        default="caller",
        description="`person`: also by the person for whom a caller spoke; default: "
        "`caller`.",
    )

    @classmethod
    def parse(cls, shown: dict[str, list[str]]) -> Self:
        """Validate a query string; raise InvalidBody naming every bad field."""
        if twice := [name for name, values in shown.items() if len(values) > 1]:
            raise InvalidBody(dict.fromkeys(twice, "must be given once"))
        try:
            return cls.model_validate({name: v for name, [v] in shown.items() if v})
        except ValidationError as error:
            raise InvalidBody(reasons(error)) from None


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
