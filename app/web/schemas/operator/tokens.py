"""The wire models of tokens: what is shown of them, and what one is to be."""

from datetime import UTC, datetime
from math import isinf
from time import time
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from app.gateway.access.token_issuer import WantedToken
from app.gateway.access.tokens import RESERVED_NAMES, Token, name_problem
from app.gateway.chat import Priority
from app.web.schemas.chat import WHOLE, validated
from app.web.schemas.records import Moment

NAME = "^[a-z0-9][a-z0-9_.-]{0,63}$"  # as `name_problem` looks at it
Scope = Literal["chat", "audit", "metrics", "admin", "replay"]  # see ALL_SCOPES
Class = Literal["high", "normal", "low"]


class NewToken(BaseModel):
    """Body of `POST /operator/api/tokens`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(
        description="Goes on record: a-z, 0-9, `.`, `_`, `-`.",
        json_schema_extra={"pattern": NAME, "not": {"enum": [*sorted(RESERVED_NAMES)]}},
    )
    rotate: bool = Field(
        default=False,
        strict=True,
        description="One more token of a name that there is, with whatever that has "
        "and is not given here; revoke the old one when it is not used any more.",
    )
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=5)] | None = Field(
        default=None, description="What it may do; default: `chat`."
    )
    priority: Class | None = Field(
        default=None,
        alias="class",
        description="Who is served first when not all can be; default: `normal`.",
    )
    rate: Annotated[int, Field(strict=True, ge=1, le=1_000_000), WHOLE] | None = Field(
        default=None, description="Requests a minute; default: no limit."
    )
    volume: Annotated[int, Field(strict=True, ge=1, le=4_000_000_000), WHOLE] | None = (
        Field(default=None, description="Bytes of bodies a minute; default: no limit.")
    )
    names_people: bool = Field(
        default=False, strict=True, description="Whether it may say for whom it speaks."
    )
    not_before: Moment | None = Field(
        default=None, description="From when on it is valid; default: at once."
    )
    expires: Moment | None = Field(
        default=None, description="Until when it is valid; default: for good."
    )

    @field_validator("name")
    @classmethod
    def _name_is_usable(cls, name: str) -> str:
        if problem := name_problem(name):
            raise ValueError(problem)
        return name

    @classmethod
    def parse(cls, body: Any) -> Self:
        """Validate a JSON value; raise InvalidBody naming every bad field."""
        return validated(cls, body)

    @property
    def is_ever_valid(self) -> bool:
        """Whether there is a time, from now on, at which the token is valid."""
        if self.expires is None:
            return True
        begins = self.not_before.timestamp() if self.not_before else 0.0
        return self.expires.timestamp() > max(begins, time())

    def wanted(self) -> WantedToken:
        """Make the core's value of it; moments are whole seconds."""
        known: dict[str, Any] = {}
        for name in ("not_before", "expires"):
            if (moment := getattr(self, name)) is not None:
                known[name] = float(int(moment.timestamp()))
        return WantedToken(
            self.name,
            frozenset(self.scopes or ()),
            Priority[self.priority.upper()] if self.priority else None,
            self.rate,
            self.volume,
            self.names_people,
            **known,
        )


class TokenRecord(BaseModel):
    """What may be shown of a token: neither it nor its digest."""

    model_config = ConfigDict(serialize_by_alias=True)

    name: str
    id: str = Field(description="Tells the tokens of a name apart.")
    source: Literal["file", "environment"] = Field(
        description="Those of the environment are changed by a restart alone."
    )
    state: Literal["active", "not yet", "expired", "revoked"]
    scopes: list[Scope]
    priority: Class = Field(alias="class")
    rate: int | None
    volume: int | None
    names_people: bool
    not_before: AwareDatetime | None
    expires: AwareDatetime | None
    last_used: AwareDatetime | None = Field(
        description="On this host, to the minute; null if it is not known to be used."
    )

    @classmethod
    def facts(
        cls, token: Token, source: str, last_used: float | None
    ) -> dict[str, Any]:
        """The fields of a token's record."""
        caller = token.caller
        return {
            "name": caller.name,
            "id": token.id,
            "source": source,
            "state": token.state(time()),
            "scopes": sorted(caller.scopes),
            "class": caller.priority.name.lower(),
            "rate": caller.rate,
            "volume": caller.volume,
            "names_people": caller.names_people,
            "not_before": _moment(token.not_before),
            "expires": _moment(token.expires),
            "last_used": None if last_used is None else _moment(last_used),
        }


class MadeToken(TokenRecord):
    """A token that was made just now."""

    token: str = Field(
        description="The token itself. It is shown here and never again."
    )


class TokenList(BaseModel):
    """All tokens, in the order of the file."""

    now: AwareDatetime
    may_change: bool = Field(
        description="Whether there is a file of tokens (VX11_TOKENS_FILE)."
    )
    tokens: list[TokenRecord]


def _moment(at: float) -> datetime | None:
    return None if isinf(at) else datetime.fromtimestamp(at, UTC)
