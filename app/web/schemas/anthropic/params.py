"""What Anthropic's messages may hold, as the document of the API tells it.

The translation checks each block where it reads it (`blocks`), so these
models describe and never run. Blocks other than texts are told in words.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

NonEmpty = Annotated[str, Field(min_length=1)]

# A message that is not empty (see `MessagesRequest.parse`).
NOT_EMPTY: dict[str, JsonValue] = {
    "anyOf": [
        {"properties": {"content": {"type": "string", "minLength": 1}}},
        {"properties": {"content": {"type": "array", "minItems": 1}}},
    ],
    "required": ["content"],
}


class _Param(BaseModel):
    """May have more fields, such as `cache_control`."""

    model_config = ConfigDict(extra="allow")


class TextParam(_Param):
    """A text."""

    type: Literal["text"]
    text: str


class AnyMessageParam(_Param):
    """One turn of a conversation.

    Blocks may also be `image`, `document`, `search_result` and `tool_result` of the
    user, `tool_use`, `thinking` and `redacted_thinking` of the assistant, as
    Anthropic's own documents describe them.
    """

    role: Literal["user", "assistant", "system"]
    content: str | list[TextParam]


class ToolParam(_Param):
    """A tool that the caller runs himself."""

    type: Literal["custom"] | None = None
    name: NonEmpty
    input_schema: dict[str, Any]


class ToolChoiceParam(_Param):
    """Whether a tool is to be called."""

    type: Literal["auto", "any", "none"]


class NamedToolChoiceParam(_Param):
    """The tool that is to be called."""

    type: Literal["tool"]
    name: NonEmpty


class JsonSchemaParam(_Param):
    """The shape that the answer is to have."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfigParam(_Param):
    """How the answer is to be."""

    format: JsonSchemaParam | None = None
