"""The wire models of OpenAI's text completions: a text in, and how it goes on."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from app.gateway import abilities, chat
from app.web.schemas.chat import WHOLE, validated
from app.web.schemas.completions import CompletionUsage
from app.web.schemas.facts import Facts
from app.web.schemas.openai import Name, Object, StreamOptions
from app.web.schemas.unions import text_or_list

# What only the gateway decides, so it is not passed on.
_OURS = frozenset({"model", "prompt", "stream", "stream_options", "n"})


class TextCompletionRequest(BaseModel):
    """Body of `POST /v1/completions`; unknown fields are kept."""

    model_config = ConfigDict(strict=True, extra="allow")

    prompt: Annotated[
        Annotated[str, Tag("<text>")]
        | Annotated[list[str], Field(min_length=1, max_length=1), Tag("<list>")],
        Discriminator(text_or_list),
    ] = Field(description="The text to go on with, or a list of one.")
    model: Name | None = Field(
        default=None, description="An upstream or a route; others are passed on."
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=128), WHOLE] | None = Field(
        default=None, description="How many answers are wanted."
    )
    metadata: Object | None = Field(
        default=None, description="`session_id` in it names the session."
    )
    user: str | None = Field(
        default=None, description="The session, if nothing else names it."
    )

    @classmethod
    def parse(cls, body: Any) -> Self:
        """Validate a JSON value; raise InvalidBody naming every bad field."""
        return validated(cls, body)

    def to_request(self, body: Mapping[str, Any], facts: Facts) -> chat.ChatRequest:
        """Make the core's value of it; `body` is what was parsed."""
        prompt = self.prompt if isinstance(self.prompt, str) else self.prompt[0]
        counted = {} if self.n is None else {"n": self.n}
        return chat.ChatRequest(
            messages=(chat.Message("user", prompt),),
            session_id=facts["session_id"],
            names_session=facts["names_session"],
            correlation_id=facts["correlation_id"],
            caller=facts["caller"],
            metadata=self.metadata or chat.NOTHING,
            priority=facts["priority"],
            stream=bool(self.stream),
            stream_mode=facts["mode"],
            model=self.model or None,
            extra={k: v for k, v in body.items() if k not in _OURS} | counted,
            needs=frozenset({abilities.MULTIPLE} if (self.n or 1) > 1 else ()),
            wants_choices=True,
            route="completions",
            size=facts["size"],
            task=abilities.COMPLETIONS,
        )


class TextChoice(BaseModel):
    """One of the ways in which the text goes on."""

    model_config = ConfigDict(extra="allow")

    text: str
    index: int = 0
    finish_reason: str | None = None


class TextCompletion(BaseModel):
    """How the text goes on; of a stream, some more of it."""

    id: str = Field(description="`cmpl-` and the record's id; the same in all chunks.")
    object: Literal["text_completion"]
    created: int = Field(description="Unix time.")
    model: str = Field(description="The one that answered.")
    choices: list[TextChoice]
    usage: CompletionUsage = Field(description="Zeros where nobody has counted.")
