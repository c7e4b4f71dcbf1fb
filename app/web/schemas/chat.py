"""The wire models of the native chat: what clients of the operator backend rely on."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from app.gateway import chat
from app.web.request.errors import InvalidBody
from app.web.request.values import Forbidden
from app.web.schemas.facts import Facts
from app.web.schemas.text import PLAIN, SAYS_SOMETHING, NulFreeObject, ShownAs

# madre keeps what was said in PostgreSQL, whose texts hold no NUL.
NUL = Forbidden(
    "NUL",
    re.compile("\x00"),
    re.compile(rb"\\u0000"),
    frozenset({"message", "session_id", "context", "metadata"}),
)

Shape = TypeVar("Shape", bound=BaseModel)

MOST_ERRORS = 10  # that one answer tells


def _whole(number: Any) -> Any:
    is_whole = isinstance(number, float) and number.is_integer()
    return int(number) if is_whole else number


WHOLE = BeforeValidator(_whole)  # JSON has 2.0 for 2, too
Id = Annotated[str, Field(max_length=200, pattern=PLAIN)]
FreeForm = Annotated[dict[str, Any], ShownAs(NulFreeObject)]


class ChatRequest(BaseModel):
    """Body of `POST /operator/api/chat`. Unknown fields are ignored."""

    model_config = ConfigDict(strict=True)

    message: str = Field(
        description="What the user says. Not only white space.",
        json_schema_extra={"pattern": SAYS_SOMETHING},
    )
    session_id: Id | None = Field(
        default=None,
        description="Upstreams that remember a conversation find it by this id. It "
        "is in the answer; if it is left out, a new UUID4 is made.",
    )
    correlation_id: str | None = Field(
        default=None,
        description="Echoed if 1 to 128 harmless ASCII characters, else replaced.",
    )
    context: FreeForm | None = Field(
        default=None, description="Free-form; given to the fallback."
    )
    metadata: FreeForm | None = Field(
        default=None, description="Free-form; allow-listed keys go to the primary."
    )
    stream: bool | None = Field(
        default=None,
        description="Answer as server-sent events; default: as Accept says.",
    )

    @classmethod
    def parse(cls, body: Any) -> Self:
        """Validate a JSON value; raise InvalidBody naming every bad field."""
        parsed = validated(cls, body)
        if not parsed.message.strip():
            raise InvalidBody({"message": "must not be empty"})
        return parsed

    def to_request(
        self,
        facts: Facts,
        *,
        stream: bool,
    ) -> chat.ChatRequest:
        """Make the core's value of it; the ids are already chosen."""
        return chat.ChatRequest(
            messages=(chat.Message("user", self.message),),
            session_id=facts["session_id"],
            names_session=facts["names_session"],
            correlation_id=facts["correlation_id"],
            caller=facts["caller"],
            context=self.context or chat.NOTHING,
            metadata=self.metadata or chat.NOTHING,
            priority=facts["priority"],
            stream=stream,
            stream_mode=facts["mode"],
            size=facts["size"],
        )


class ChatResponse(BaseModel):
    """Answer of `POST /operator/api/chat`: nine fields, always all of them."""

    response: str = Field(description="What is said in answer.")
    model_used: str = Field(description="The model that answered.")
    latency_ms: float = Field(description="Milliseconds in all.")
    correlation_id: str
    session_id: str
    provider: str = Field(description="The upstream that answered.")
    provider_used: str = Field(description="The same, for the operator's page.")
    status: Literal["ok", "degraded"]
    degraded: bool = Field(description="Whether it was not the first choice.")

    @staticmethod
    def of(
        reply: chat.ChatReply, request: chat.ChatRequest, seconds: float
    ) -> dict[str, Any]:
        """The wire form, by its fields, of a reply that took so many seconds in all.

        It is made for each chat, so its own values are not looked at again.
        """
        return {
            "response": reply.text,
            "model_used": reply.model,
            "latency_ms": round(seconds * 1000, 1),
            "correlation_id": request.correlation_id,
            "session_id": request.session_id,
            "provider": reply.upstream,
            "provider_used": reply.upstream,
            "status": "degraded" if reply.is_degraded else "ok",
            "degraded": reply.is_degraded,
        }


def validated(shape: type[Shape], body: Any) -> Shape:
    """A body as its wire model; raises InvalidBody naming every bad field."""
    if not isinstance(body, dict):
        raise InvalidBody({"body": "must be a JSON object"})
    try:
        return shape.model_validate(body)
    except ValidationError as error:
        raise InvalidBody(reasons(error)) from None


def reasons(error: ValidationError) -> Mapping[str, str]:
    """What is wrong with which field, without its value; the first few of them."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    first = found[:MOST_ERRORS]
    return {_named(e["loc"]): e["msg"].lower() for e in first}


def _named(place: tuple[int | str, ...]) -> str:
    """A place in a body; the names that we give to kinds of values are none of it."""
    return ".".join(part for part in map(str, place) if not part.startswith("<"))
