"""The wire models of OpenAI's embeddings: texts in, a vector for each out."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from app.gateway import abilities, chat
from app.web.schemas.chat import validated
from app.web.schemas.facts import Facts
from app.web.schemas.openai import Name, Object
from app.web.schemas.text import ShownAs

MOST_INPUTS = 2048  # texts of one request, as OpenAI has it
MOST_TOKENS = 300_000  # of one request, all texts together, as OpenAI has it

# What only the gateway decides, so it is not passed on.
_OURS = frozenset({"model", "input", "stream"})
_LIST = Field(min_length=1, max_length=MOST_INPUTS)
_Token = Annotated[int, Field(ge=0)]
_Tokens = Annotated[list[_Token], Field(min_length=1)]
_Shown = str | Annotated[list[str], _LIST] | _Tokens | Annotated[list[_Tokens], _LIST]


def _input(given: Any) -> Any:
    """A text, a list of texts, tokens, or a list of tokens; looked at once."""
    if isinstance(given, str):
        return given
    if not (isinstance(given, list) and given):
        raise PydanticCustomError("input", "must be a text, texts or tokens")
    if _are_tokens(given):
        return given
    if len(given) > MOST_INPUTS:
        raise PydanticCustomError("input", f"must not be more than {MOST_INPUTS}")
    if all(isinstance(item, str) for item in given) or all(map(_are_tokens, given)):
        return given
    raise PydanticCustomError("input", "must be a text, texts or tokens, all of a kind")


def _are_tokens(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and all(map(_is_token, given))


def _is_token(given: Any) -> bool:
    return type(given) is int and given >= 0


class EmbeddingsRequest(BaseModel):
    """Body of `POST /v1/embeddings`; unknown fields are kept."""

    model_config = ConfigDict(strict=True, extra="allow")

    input: Annotated[Any, BeforeValidator(_input), ShownAs(_Shown)] = Field(
        description=f"A text, up to {MOST_INPUTS} texts, or the same as tokens."
    )
    model: Name | None = Field(
        default=None, description="An upstream or a route; others are passed on."
    )
    encoding_format: Literal["float", "base64"] | None = None
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
        """Make the core's value of it; `body` is what was parsed.

        Each text is a message; tokens are nobody's words, so they are left as they are.
        """
        given = [self.input] if isinstance(self.input, str) else self.input
        is_text = isinstance(given[0], str)
        tokens = {} if is_text else {"input": given}
        texts = given if is_text else ()
        return chat.ChatRequest(
            messages=tuple(chat.Message("user", text) for text in texts),
            session_id=facts["session_id"],
            names_session=facts["names_session"],
            correlation_id=facts["correlation_id"],
            caller=facts["caller"],
            metadata=self.metadata or chat.NOTHING,
            priority=facts["priority"],
            model=self.model or None,
            extra={k: v for k, v in body.items() if k not in _OURS} | tokens,
            wants_choices=True,
            route="embeddings",
            size=facts["size"],
            task=abilities.EMBEDDINGS,
        )


class Embedding(BaseModel):
    """The vector of one text."""

    model_config = ConfigDict(extra="allow")

    embedding: list[float] | str = Field(description="Numbers, or base64 of float32.")
    index: int = 0


class EmbeddingsUsage(BaseModel):
    """Tokens, as counted by the upstream; all 0 if it did not."""

    model_config = ConfigDict(extra="allow")

    prompt_tokens: int = 0
    total_tokens: int = 0


class Embeddings(BaseModel):
    """The vectors of all texts, in their order, as the upstream made them."""

    model_config = ConfigDict(extra="allow")

    data: list[Embedding]
    usage: EmbeddingsUsage
