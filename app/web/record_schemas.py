"""The wire models of the records: what may be asked, and what is shown of each."""

import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from app.gateway.audit import Query, Record
from app.web.errors import InvalidBody
from app.web.schemas import reasons

EXCERPT = 160  # characters of the question that a list shows
_PLACE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,17})?)-([0-9a-f]{1,32})")

Id = Annotated[str, Field(min_length=1, max_length=200)]
Outcome = Literal[
    "completed", "failed", "cancelled", "interrupted", "refused", "event", "open"
]


class RecordQuery(BaseModel):
    """Query string of `GET /operator/api/records`; what is left out means any."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Id | None = Field(default=None, description="A record's or correlation id.")
    correlation_id: Id | None = None
    session_id: Id | None = None
    provider: Id | None = None
    outcome: Outcome | None = None
    text: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="Looked for in questions and answers.",
    )
    since: AwareDatetime | None = Field(
        default=None, description="Not begun before: ISO 8601 or Unix seconds."
    )
    until: AwareDatetime | None = Field(
        default=None, description="Begun before: ISO 8601 or Unix seconds."
    )
    limit: int = Field(default=50, ge=1, le=200)
    before: str | None = Field(
        default=None,
        pattern=f"^{_PLACE.pattern}$",
        description="`next` of the page before this one.",
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

    def to_query(self) -> Query:
        """Make the core's value of it, without the id."""
        found = _PLACE.fullmatch(self.before or "")
        return Query(
            text=self.text,
            correlation_id=self.correlation_id,
            session_id=self.session_id,
            provider=self.provider,
            outcome=self.outcome,
            since=self.since.timestamp() if self.since else None,
            until=self.until.timestamp() if self.until else None,
            limit=self.limit,
            before=(float(found[1]), found[2]) if found else None,
        )


class RecordSummary(BaseModel):
    """What a list shows of a record.

    Times are Unix times and durations in seconds. `outcome` is null, and so is all
    that an ending sets, while the chat is under way. `excerpt` is the beginning of
    the question, null where it was not kept.
    """

    id: str
    correlation_id: str
    session_id: str
    caller: str
    route: str
    opened_at: float
    outcome: str | None
    code: str | None
    status: int | None
    provider: str | None
    model: str | None
    degraded_by: str | None
    duration: float | None
    corrects: str | None
    excerpt: str | None

    @classmethod
    def of(cls, record: Record) -> Self:
        """Make the wire form of a record."""
        return cls.model_validate(cls._facts(record))

    @classmethod
    def _facts(cls, record: Record) -> dict[str, Any]:
        known = {name: getattr(record, name, None) for name in cls.model_fields}
        return known | {"excerpt": _excerpt(record.request)}


class RecordDetail(RecordSummary):
    """All that is on record; `seq` and `digest` are its place in the hash chain."""

    request: Any
    reply: Any
    attempts: Any
    worker: str
    input_tokens: int | None
    output_tokens: int | None
    closed_at: float | None
    clock_step: float | None
    seq: int | None
    digest: str | None

    @classmethod
    def _facts(cls, record: Record) -> dict[str, Any]:
        return super()._facts(record) | {
            "request": _value(record.request),
            "reply": _value(record.reply),
            "attempts": _value(record.attempts),
            "digest": record.digest.hex() if record.digest else None,
        }


class RecordPage(BaseModel):
    """Answer of `GET /operator/api/records`; `next` is null on the last page."""

    records: list[RecordSummary]
    next: str | None


def place_behind(record: Record) -> str:
    """What asks for the page that begins behind this record."""
    at, record_id = record.key
    return f"{at!r}-{record_id}"


def _value(text: str | None) -> Any:
    return json.loads(text) if text else None


def _excerpt(request: str) -> str | None:
    said = _value(request) or {}
    users = [content for role, content in said.get("messages", ()) if role == "user"]
    return users[-1][:EXCERPT] if users else None
