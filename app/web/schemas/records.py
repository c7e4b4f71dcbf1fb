"""The wire models of the records: what may be asked, and what is shown of each."""

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    WithJsonSchema,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from app.gateway.records.audit import EXCERPT, Listed, Query, Record
from app.gateway.records.content import question_of
from app.web.request.errors import InvalidBody
from app.web.schemas.chat import reasons

_PLACE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,17})?)-([0-9a-f]{1,32})")

Id = Annotated[str, Field(min_length=1, max_length=200)]
Outcome = Literal[
    "completed", "failed", "cancelled", "interrupted", "refused", "event", "open"
]

Flag = Literal["true", "false"]

FARTHEST = 2e10  # Unix seconds; pydantic would take more for milliseconds
_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,3})?")
_RFC_3339 = re.compile(
    r"[0-9]{4}(?:-[0-9]{2}){2}[Tt](?:[0-9]{2}:){2}[0-9]{2}(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _moment(shown: object) -> datetime | str:
    if not isinstance(shown, str):
        raise PydanticCustomError("moment", "must be a text: RFC 3339 or Unix seconds")
    if _NUMBER.fullmatch(shown) and abs(seconds := float(shown)) <= FARTHEST:
        return datetime.fromtimestamp(seconds, UTC)
    if not _RFC_3339.fullmatch(shown):
        raise PydanticCustomError("moment", "must be RFC 3339 or Unix seconds")
    return shown


Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_moment),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "number", "minimum": -FARTHEST, "maximum": FARTHEST},
            ]
        }
    ),
]


def as_sent(schema: JsonDict) -> None:
    """Tell in a query's schema that nothing is null, and empty is as if left out."""
    for field in cast("dict[str, JsonDict]", schema["properties"]).values():
        told = {k: field.pop(k) for k in ("description", "default") if field.get(k)}
        choices = cast("list[JsonValue]", field.pop("anyOf", None) or [dict(field)])
        field.clear()
        kept = (choice for choice in choices if choice != {"type": "null"})
        field.update(told, anyOf=[*kept, {"const": ""}])


class QueryString(BaseModel):
    """What may be asked in a query string: each name once; empty is as if left out."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=as_sent)

    @classmethod
    def parse(cls, shown: dict[str, list[str]]) -> Self:
        """Validate a query string; raise InvalidBody naming every bad field."""
        if twice := [name for name, values in shown.items() if len(values) > 1]:
            raise InvalidBody(dict.fromkeys(twice, "must be given once"))
        try:
            return cls.model_validate({name: v for name, [v] in shown.items() if v})
        except ValidationError as error:
            raise InvalidBody(reasons(error)) from None


class RecordQuery(QueryString):
    """Query string of `GET /operator/api/records`; left out or empty means any."""

    id: Id | None = Field(default=None, description="A record's or correlation id.")
    correlation_id: Id | None = Field(default=None, description="Of this one.")
    session_id: Id | None = Field(default=None, description="Of this one.")
    person: Id | None = Field(default=None, description="Asked for this one.")
    caller: Id | None = Field(default=None, description="Asked with this one's token.")
    provider: Id | None = Field(default=None, description="Answered by this one.")
    outcome: Outcome | None = Field(
        default=None, description="`open`: under way. `event`: no chat, but a breaker."
    )
    reuse: Literal["cache", "idempotency"] | None = Field(
        default=None, description="Repeats an answer by this."
    )
    degraded: Flag | None = Field(
        default=None, description="`true`: not answered by the first choice."
    )
    failed: Flag | None = Field(
        default=None,
        description="`true`: answered by nobody, or refused by the gateway itself; "
        "with `degraded`, either.",
    )
    text: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="Looked for in questions and answers.",
    )
    since: Moment | None = Field(
        default=None, description="Not begun before: RFC 3339 or Unix seconds."
    )
    until: Moment | None = Field(
        default=None, description="Begun before: RFC 3339 or Unix seconds."
    )
    limit: int = Field(
        default=50, ge=1, le=200, description="Records on a page; default: 50."
    )
    before: str | None = Field(
        default=None,
        pattern=f"^{_PLACE.pattern}$",
        description="`next` of the page before this one.",
    )

    def to_query(self) -> Query:
        """Make the core's value of it, without the id."""
        found = _PLACE.fullmatch(self.before or "")
        return Query(
            text=self.text,
            correlation_id=self.correlation_id,
            session_id=self.session_id,
            person=self.person,
            provider=self.provider,
            caller=self.caller,
            reuse=self.reuse,
            outcome=self.outcome,
            degraded=self.degraded == "true",
            failed=self.failed == "true",
            since=self.since.timestamp() if self.since else None,
            until=self.until.timestamp() if self.until else None,
            limit=self.limit,
            before=(float(found[1]), found[2]) if found else None,
        )


class RecordSummary(BaseModel):
    """What a list shows of a record.

    Times are Unix times and durations in seconds. `outcome` is null, and so is all
    that an ending sets, while the chat is under way. `person` is for whom the caller
    spoke, if it said so. `excerpt` is the beginning of the question, null where it was
    not kept.
    """

    id: str
    correlation_id: str
    session_id: str
    caller: str
    person: str | None
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
    def of(cls, record: Record | Listed) -> Self:
        """Make the wire form of a record."""
        known = {name: getattr(record, name, None) for name in cls.model_fields}
        return cls.model_validate(known | cls._made_of(record))

    @classmethod
    def _made_of(cls, record: Record | Listed) -> dict[str, Any]:
        if isinstance(record, Listed):
            return {"excerpt": record.excerpt}
        return {"excerpt": question_of(record.request, EXCERPT)}


class RecordDetail(RecordSummary):
    """All that is on record; `seq` and `digest` are its place in the hash chain.

    `reuse` says by what it repeats the answer of the record `source`.
    """

    request: Any
    reply: Any
    attempts: Any
    reuse: str | None
    source: str | None
    worker: str
    input_tokens: int | None
    output_tokens: int | None
    closed_at: float | None
    decision: Any
    clock_step: float | None
    seq: int | None
    digest: str | None

    @classmethod
    def _made_of(cls, record: Record | Listed) -> dict[str, Any]:
        if isinstance(record, Listed):
            raise TypeError("a list does not have all of a record")
        return super()._made_of(record) | {
            "request": _value(record.request),
            "reply": _value(record.reply),
            "attempts": _value(record.attempts),
            "decision": _value(record.decision),
            "digest": record.digest.hex() if record.digest else None,
        }


class RecordPage(BaseModel):
    """Answer of `GET /operator/api/records`; `next` is null on the last page."""

    records: list[RecordSummary]
    next: str | None


def place_behind(record: Record | Listed) -> str:
    """What asks for the page that begins behind this record."""
    at, record_id = record.key
    return f"{at!r}-{record_id}"


def _value(text: str | None) -> Any:
    return json.loads(text) if text else None
