"""The wire models of replays: what is to be asked again, and how it compares."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.gateway.replay.stored import Change
from app.web.request.errors import InvalidBody
from app.web.schemas.chat import reasons, validated

if TYPE_CHECKING:
    from app.gateway.replay.comparison import Answer, Comparison

Name = Annotated[str, Field(min_length=1, max_length=200)]


class ReplayRequest(BaseModel):
    """Body of `POST /operator/api/replays`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    record: Name = Field(description="The record's own id, or a correlation id.")
    upstream: Name | None = Field(
        default=None, description="Whom to ask; default: who answered then."
    )
    model: Name | None = Field(default=None, description="Default: the one of then.")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=None, description="Default: the one of then."
    )
    redacted: bool = Field(
        default=False,
        description="Ask all the same where words were redacted, with what stands in "
        "their place.",
    )
    may_act: bool = Field(
        default=False,
        description="Ask an upstream again that may act on what it is asked.",
    )

    @classmethod
    def parse(cls, body: Any) -> Self:
        """Validate a JSON value; raise InvalidBody naming every bad field."""
        return validated(cls, body)

    def change(self) -> Change:
        """Make the core's value of it."""
        return Change(
            upstream=self.upstream,
            model=self.model,
            temperature=self.temperature,
            with_placeholders=self.redacted,
            may_act=self.may_act,
        )


class ReplayedCall(BaseModel):
    """A tool that an answer wants called; the arguments as JSON where they are any."""

    name: str
    arguments: Any


class ReplayedAnswer(BaseModel):
    """One of the two answers, as its record tells it.

    `finish_reason` is null unless the answer is whole; `text` is null where its words
    were not kept. `duration` is in seconds, tokens are null where nobody counted.
    """

    record: str
    outcome: str
    code: str | None
    provider: str | None
    model: str | None
    finish_reason: str | None
    text: str | None
    tools: list[ReplayedCall]
    duration: float | None
    input_tokens: int | None
    output_tokens: int | None

    @classmethod
    def of(cls, answer: "Answer") -> Self:
        """Make the wire form of an answer."""
        record = answer.record
        return cls(
            record=record.id,
            outcome=record.outcome or "open",
            code=record.code,
            provider=record.provider,
            model=record.model,
            finish_reason=answer.finish_reason,
            text=answer.text,
            tools=[ReplayedCall(name=n, arguments=a) for n, a in answer.tools],
            duration=record.duration,
            input_tokens=record.input_tokens,
            output_tokens=record.output_tokens,
        )


class Sameness(BaseModel):
    """Where both answers are the same; of tools, by names and arguments, in order."""

    outcome: bool
    finish_reason: bool
    tools: bool


class TextPiece(BaseModel):
    """A piece of both texts: in both, only in the first, or only in the second."""

    kind: Literal["same", "gone", "new"]
    text: str


class Replay(BaseModel):
    """Answer of `POST /operator/api/replays`: what was said then, and now.

    `upstream` is who was asked. `likeness` is the share of words that both texts have
    (1: equal), null where one was not kept; `pieces` tell the difference.
    `is_redacted`: the question was asked with placeholders, so it was another one.
    """

    upstream: str
    before: ReplayedAnswer
    after: ReplayedAnswer
    same: Sameness
    likeness: float | None
    pieces: list[TextPiece]
    is_redacted: bool

    @classmethod
    def of(cls, found: "Comparison", upstream: str, *, is_redacted: bool) -> Self:
        """Make the wire form of a comparison."""
        return cls(
            upstream=upstream,
            before=ReplayedAnswer.of(found.before),
            after=ReplayedAnswer.of(found.after),
            same=Sameness(
                outcome=found.is_same_outcome,
                finish_reason=found.is_same_finish,
                tools=found.is_same_tools,
            ),
            likeness=found.likeness,
            pieces=[TextPiece.model_validate(p._asdict()) for p in found.pieces],
            is_redacted=is_redacted,
        )


class PlayQuery(BaseModel):
    """Query string of a play."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    speed: float = Field(
        default=1.0,
        ge=0,
        le=1000,
        allow_inf_nan=False,
        description="How many times as fast as it came; 0: at once. Default: 1.",
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


class PlayMeta(BaseModel):
    """The first event of a play: whose answer it is, and how true to what came.

    `is_streamed`: it came in pieces, and so it is played. `is_exact` is false where
    something was redacted: the pieces are then not quite those that came. `seconds` is
    how long all of it takes at speed 1.
    """

    record: str
    outcome: str
    provider: str | None
    model: str | None
    is_streamed: bool
    is_exact: bool
    seconds: float


class PlayDone(BaseModel):
    """The last event of a play: how the answer ended, and all of it beside its text."""

    outcome: str
    code: str | None
    finish_reason: str | None
    choices: list[Any]
    input_tokens: int | None
    output_tokens: int | None
