"""The wire models of what OpenAI's Responses are asked: items in, nothing stored.

Items that only servers with a memory understand (references, built-in tools' calls) are
refused by name; fields that nobody here has a use for are taken and left alone.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
)
from pydantic_core import PydanticCustomError

from app.web.request.errors import InvalidBody
from app.web.schemas.chat import WHOLE, validated
from app.web.schemas.openai import MOST_MESSAGES, Name, Object, Objects
from app.web.schemas.text import ShownAs
from app.web.schemas.unions import by_type, text_or_list

MOST_ITEMS = MOST_MESSAGES - 1  # the instructions become a message, too

Label = Annotated[str, Field(min_length=1, max_length=200)]
CallId = Annotated[str, Field(min_length=1)]

# Not only thoughts, which are left out: an item with what somebody said or called.
SAYS: dict[str, JsonValue] = {
    "anyOf": [{"required": ["content", "role"]}, {"required": ["call_id"]}],
    "not": {"properties": {"type": {"const": "reasoning"}}, "required": ["type"]},
}


class _Kept(BaseModel):
    """Unknown fields are allowed."""

    model_config = ConfigDict(strict=True, extra="allow")


class TextPart(_Kept):
    """Some text of a message."""

    type: Literal["input_text", "output_text"]
    text: str


class RefusalPart(_Kept):
    """What a model said in place of an answer."""

    type: Literal["refusal"]
    refusal: str


class ImagePart(_Kept):
    """A picture, by its address or as a data URL."""

    type: Literal["input_image"]
    image_url: CallId
    detail: str | None = None


class FilePart(_Kept):
    """A file, as a data URL."""

    type: Literal["input_file"]
    file_data: CallId
    filename: str | None = None


Part = Annotated[
    Annotated[TextPart, Tag("<input_text>")]
    | Annotated[TextPart, Tag("<output_text>")]
    | Annotated[RefusalPart, Tag("<refusal>")]
    | Annotated[ImagePart, Tag("<input_image>")]
    | Annotated[FilePart, Tag("<input_file>")],
    by_type(None, "input_text", "output_text", "refusal", "input_image", "input_file"),
]


Content = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[list[Part], Field(fail_fast=True), Tag("<list>")],
    Discriminator(text_or_list),
]


class MessageItem(_Kept):
    """One message of the conversation."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Content


class CallItem(_Kept):
    """A call of one of the caller's functions, as the model made it."""

    type: Literal["function_call"]
    call_id: CallId
    name: Label
    arguments: str


class OutputItem(_Kept):
    """What the function answered."""

    type: Literal["function_call_output"]
    call_id: CallId
    output: Content


class ReasoningItem(_Kept):
    """What a model thought; it is left out of the next request."""

    type: Literal["reasoning"]


Item = Annotated[
    Annotated[MessageItem, Tag("<message>")]
    | Annotated[CallItem, Tag("<function_call>")]
    | Annotated[OutputItem, Tag("<function_call_output>")]
    | Annotated[ReasoningItem, Tag("<reasoning>")],
    by_type(
        "message",
        "message",
        "function_call",
        "function_call_output",
        "reasoning",
        why="; nothing is stored here that could be referred to (store: false)",
    ),
]
Items = Annotated[
    list[Item],
    Field(
        min_length=1,
        max_length=MOST_ITEMS,
        fail_fast=True,
        json_schema_extra={"contains": SAYS},
    ),
]


class Tool(_Kept):
    """A function of the caller's, or a tool that is built in elsewhere."""

    type: Label
    name: Label | None = None
    description: str | None = None
    parameters: Object | None = None
    strict: bool | None = None


class FunctionChoice(_Kept):
    """The one function that has to be called."""

    type: Literal["function"]
    name: Label


class AllowedTools(_Kept):
    """The functions that may be called, or one of which has to be."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Objects


ToolChoice = Annotated[
    Annotated[Literal["auto", "none", "required"], Tag("<word>")]
    | Annotated[FunctionChoice, Tag("<function>")]
    | Annotated[AllowedTools, Tag("<allowed_tools>")],
    Discriminator(
        lambda given: "<word>" if isinstance(given, str) else _choice_tag(given),
        custom_error_type="type",
        custom_error_message="must be auto, none, required, a function or "
        "allowed_tools; nobody here has built-in tools",
    ),
]


def _choice_tag(given: Any) -> str | None:
    kind = given.get("type") if isinstance(given, dict) else None
    kind = getattr(given, "type", kind)
    return f"<{kind}>" if kind in ("function", "allowed_tools") else None


class PlainFormat(_Kept):
    """Words, or any JSON object."""

    type: Literal["text", "json_object"]


class SchemaFormat(_Kept):
    """JSON of a schema."""

    type: Literal["json_schema"]
    name: Label
    schema_: Object = Field(alias="schema")
    strict: bool | None = None
    description: str | None = None


Format = Annotated[
    Annotated[PlainFormat, Tag("<text>")]
    | Annotated[PlainFormat, Tag("<json_object>")]
    | Annotated[SchemaFormat, Tag("<json_schema>")],
    by_type(None, "text", "json_object", "json_schema"),
]


class TextOptions(_Kept):
    """How the answer is to be worded."""

    format: Format | None = None
    verbosity: str | None = None


class Reasoning(_Kept):
    """How much a model is to think."""

    effort: str | None = None


def _nothing(given: Any) -> None:
    if given is not None:
        raise PydanticCustomError(
            "stateless",
            "is not supported: nothing is stored here; send the whole conversation",
        )


def _not_later(given: Any) -> Any:
    if given is True:
        raise PydanticCustomError(
            "stateless", "is not supported: an answer is given at once or streamed"
        )
    return given


Nothing = Annotated[None, BeforeValidator(_nothing), ShownAs(None)]


class ResponsesRequest(_Kept):
    """Body of `POST /v1/responses`; nothing of it is stored but for the record."""

    input: Annotated[
        Annotated[str, Field(min_length=1), Tag("<text>")]
        | Annotated[Items, Tag("<list>")],
        Discriminator(text_or_list),
    ] = Field(description="What the user says, or the whole conversation as items.")
    model: Name | None = Field(
        default=None, description="An upstream or a route; others are passed on."
    )
    instructions: str | None = None
    stream: bool | None = None
    tools: Annotated[list[Tool], Field(fail_fast=True)] | None = Field(
        default=None, description="Those that are built in elsewhere are left out."
    )
    tool_choice: ToolChoice | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    max_output_tokens: Annotated[int, Field(ge=1), WHOLE] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20), WHOLE] | None = None
    include: list[str] | None = None
    store: bool | None = Field(default=None, description="Nothing is, either way.")
    previous_response_id: Nothing = None
    conversation: Nothing = None
    prompt: Nothing = None
    background: Annotated[
        bool | None, BeforeValidator(_not_later), ShownAs(Literal[False] | None)
    ] = None
    metadata: Object | None = Field(
        default=None, description="`session_id` in it names the session."
    )
    user: str | None = Field(
        default=None, description="The session, if nothing else names it."
    )

    @classmethod
    def parse(cls, body: Any) -> Self:
        """Validate a JSON value; raise InvalidBody naming every bad field."""
        parsed = validated(cls, body)
        if all(isinstance(item, ReasoningItem) for item in parsed.input):
            raise InvalidBody({"input": "must hold more than thoughts"})
        return parsed
