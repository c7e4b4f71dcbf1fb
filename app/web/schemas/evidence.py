"""The wire models of the report: which chats went wrong, and why.

All times are Unix times and durations are in seconds.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.gateway.records.activity import Kind
from app.web.request.errors import InvalidBody
from app.web.schemas.records import Moment, QueryString

DAY = 86400.0
LONGEST = 7 * DAY  # seconds that one report may be about

Head = Annotated[str, Field(pattern=r"^\d{1,9}:\d{1,18}:[0-9a-f]{64}$")]


class ReportQuery(QueryString):
    """Query string of `GET /operator/api/report`; left out means the last day."""

    since: Moment | None = Field(
        default=None, description="From then on: RFC 3339 or Unix seconds."
    )
    until: Moment | None = Field(
        default=None, description="Until then, 7 days at most."
    )

    def span(self, now: float) -> tuple[float, float]:
        """The time that is asked about. Raises InvalidBody for one too long."""
        until = self.until.timestamp() if self.until else now
        since = self.since.timestamp() if self.since else until - DAY
        if since >= until:
            raise InvalidBody({"since": "must be before until"})
        if until - since > LONGEST:
            raise InvalidBody({"since": "must be at most 7 days before until"})
        return since, until


class AnchorQuery(QueryString):
    """Query string of `GET /operator/api/anchor`."""

    head: Head = Field(description="A head or an anchor of earlier, LANE:SEQ:DIGEST.")


class AnchorState(BaseModel):
    """Whether the records still have a head of earlier where it was."""

    state: Literal["there", "pruned", "missing"] = Field(
        description="`pruned`: it is older than the records that are kept."
    )


class Explanation(BaseModel):
    """Why one chat went as it did."""

    id: str = Field(description="Of its record.")
    sentences: list[str] = Field(
        description="In order: what was decided, each attempt, the ending. None of "
        "them holds what was asked or answered."
    )


class _Told(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ReportCause(_Told):
    """Why chats went wrong, and how many of them it touched."""

    kind: str = Field(
        description="`verdict`, `circuit`, `rest`, `places`, `fault`, `deadline`, "
        "`audit`, `gateway`; `config` and `process` for what changed just before; "
        "`unexplained`."
    )
    upstream: str | None
    word: str = Field(description="The code of the fault or reason.")
    at: float = Field(description="Since when it held, or when it was met first.")
    chats: int
    sentence: str = Field(description="The same for people.")


class ReportHappening(_Told):
    """An event: a verdict, a circuit's move, a start, other settings, a gap."""

    at: float
    kind: str = Field(description="The route of its record.")
    upstream: str | None
    sentence: str


class ReportMinute(_Told):
    """One minute in which somebody asked."""

    at: float = Field(description="When it began.")
    chats: int
    degraded: int
    unanswered: int
    refused: int
    outcomes: dict[str, int]
    answered_by: dict[str, int]
    degraded_by: dict[str, int]
    p50: float | None = Field(description="Half were answered within; null: none was.")
    p95: float | None
    causes: list[ReportCause] = Field(description="In order; empty if all went well.")


class ReportWindow(_Told):
    """A stretch of time in which chats went wrong in one and the same way."""

    kind: Kind
    began: float
    ended: float
    chats: int
    causes: list[ReportCause] = Field(description="In the order in which they began.")
    happenings: list[ReportHappening] = Field(description="From a minute before it.")


class ReportStop(_Told):
    """A time in which whoever writes a lane of the chain was not running."""

    lane: int
    since: float
    until: float
    was_told: bool = Field(description="Whether the gateway had been told to stop.")


class ReportBody(_Told):
    """Every minute of a time in which somebody asked, and why chats went wrong."""

    since: float
    until: float
    chats: int
    degraded: int
    unanswered: int
    refused: int
    unexplained: int = Field(description="Chats with no cause on record.")
    minutes: list[ReportMinute] = Field(description="Oldest first, as all else here.")
    windows: list[ReportWindow]
    stops: list[ReportStop]
    happenings: list[ReportHappening]
    heads: list[Head] = Field(
        description="Of the chain now, LANE:SEQ:DIGEST: kept elsewhere, an anchor."
    )
