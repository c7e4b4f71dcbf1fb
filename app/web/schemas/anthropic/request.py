"""The wire model of Anthropic's messages: what is read of a request, and no more.

The core has one shape for all dialects, OpenAI's, so a request is told in it. What only
Anthropic's wire can say goes beside it, for upstreams that speak that wire.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.gateway import chat
from app.web.request.errors import InvalidBody
from app.web.schemas.anthropic.blocks import Fields, Turn, system_of, turns_of
from app.web.schemas.anthropic.params import (
    NOT_EMPTY,
    AnyMessageParam,
    NamedToolChoiceParam,
    OutputConfigParam,
    TextParam,
    ToolChoiceParam,
    ToolParam,
)
from app.web.schemas.chat import WHOLE, validated
from app.web.schemas.facts import Facts
from app.web.schemas.openai import (
    MOST_MESSAGES,
    CompletionRequest,
    Name,
    Object,
    Objects,
)
from app.web.schemas.text import ShownAs

Whole = Annotated[int, Field(ge=1, le=2**31), WHOLE]
Share = Annotated[float, Field(ge=0, le=1)]

MessageParams = Annotated[
    list[AnyMessageParam], Field(min_length=1, max_length=MOST_MESSAGES)
]

# What is told in OpenAI's shape. Everything else is for upstreams of this wire.
_TOLD = frozenset(
    {
        "max_tokens",
        "messages",
        "model",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class MessageParam(BaseModel):
    """One turn of a conversation; its content is a text, or blocks."""

    model_config = ConfigDict(strict=True, extra="allow")

    role: Literal["user", "assistant", "system"]
    content: str | Objects


class MessagesRequest(BaseModel):
    """Body of `POST /v1/messages` and of `count_tokens`; unknown fields are kept."""

    model_config = ConfigDict(strict=True, extra="allow")

    messages: Annotated[
        list[MessageParam],
        Field(min_length=1, max_length=MOST_MESSAGES, fail_fast=True),
        ShownAs(MessageParams),
    ] = Field(
        description=f"At most {MOST_MESSAGES}, with each result of a tool as one; not "
        "all of them empty.",
        json_schema_extra={"contains": NOT_EMPTY},
    )
    model: Name | None = Field(
        default=None, description="An upstream or a route; others are passed on."
    )
    max_tokens: Whole | None = Field(
        default=None, description="Most tokens of the answer."
    )
    system: Annotated[str | Objects | None, ShownAs(str | list[TextParam] | None)] = (
        None
    )
    stream: bool | None = None
    temperature: Share | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Field(ge=0, le=2**31), WHOLE] | None = None
    stop_sequences: Annotated[list[str], Field(max_length=1000)] | None = None
    tools: Annotated[Objects | None, ShownAs(list[ToolParam] | None)] = Field(
        default=None, description="Those that the caller runs himself (`custom`)."
    )
    tool_choice: Annotated[
        Object | None, ShownAs(ToolChoiceParam | NamedToolChoiceParam | None)
    ] = None
    output_config: Annotated[Object | None, ShownAs(OutputConfigParam | None)] = None
    mcp_servers: Annotated[list[Any], Field(max_length=0)] | None = Field(
        default=None, description="Not supported."
    )
    container: None = Field(default=None, description="Not supported.")
    metadata: Object | None = Field(
        default=None, description="`user_id` in it names the session."
    )

    @classmethod
    def parse(cls, body: Any) -> Self:
        """Validate a JSON value; raise InvalidBody naming every bad field."""
        parsed = validated(cls, body)
        if not any(message.content for message in parsed.messages):
            raise InvalidBody({"messages": "must not all be empty"})
        return parsed

    @property
    def user_id(self) -> str | None:
        """Who asks, or in which session, as the caller's own words say."""
        user = (self.metadata or chat.NOTHING).get("user_id")
        return user if isinstance(user, str) else None

    def to_request(
        self, body: Mapping[str, Any], facts: Facts, betas: str = ""
    ) -> chat.ChatRequest:
        """Make the core's value of it; `body` is what was parsed.

        `betas` are those that the caller's header names. Raises InvalidBody for what
        cannot be said in the core's shape.
        """
        turns = [*system_of(self.system), *turns_of(body["messages"])]
        completion = {"messages": [turn.said for turn in turns], **self._options()}
        if len(turns) > MOST_MESSAGES:
            raise InvalidBody({"messages": f"must be at most {MOST_MESSAGES}"})
        asked = validated(CompletionRequest, completion).to_request(
            completion, facts, "anthropic"
        )
        fields = {k: v for k, v in body.items() if k not in _TOLD}
        beside = {"fields": fields, "betas": betas}
        return asked._replace(
            messages=tuple(map(_with_beside, asked.messages, turns)),
            metadata=self.metadata or chat.NOTHING,
            anthropic={name: value for name, value in beside.items() if value},
        )

    def _options(self) -> dict[str, Any]:
        """All but the messages, in OpenAI's words; what was not asked is left out."""
        options = {
            "model": self.model,
            "stream": self.stream,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "stop": self.stop_sequences or None,
            "user": self.user_id,
            "response_format": _format(self.output_config or chat.NOTHING),
            **self._tools(),
        }
        return {name: value for name, value in options.items() if value is not None}

    def _tools(self) -> dict[str, Any]:
        wish = self.tool_choice
        choice = None if wish is None else _choice(wish)
        if not self.tools:
            return {}
        is_single = (wish or chat.NOTHING).get("disable_parallel_tool_use")
        return {
            "tools": [_tool(place, tool) for place, tool in enumerate(self.tools)],
            "tool_choice": choice,
            "parallel_tool_calls": False if is_single is True else None,
        }


def _with_beside(message: chat.Message, turn: Turn) -> chat.Message:
    return message._replace(anthropic=turn.beside) if turn.beside else message


def _tool(place: int, tool: Fields) -> dict[str, Any]:
    field = f"tools.{place}"
    if tool.get("type") not in (None, "custom"):
        raise InvalidBody({f"{field}.type": "must be custom; others are not supported"})
    if not isinstance(name := tool.get("name"), str) or not name:
        raise InvalidBody({f"{field}.name": "must be a text"})
    if not isinstance(schema := tool.get("input_schema"), dict):
        raise InvalidBody({f"{field}.input_schema": "must be an object"})
    function = {"name": name, "parameters": schema}
    function |= {k: tool[k] for k in ("description", "strict") if k in tool}
    return {"type": "function", "function": function}


def _choice(choice: Fields) -> str | dict[str, Any]:
    kind, name = choice.get("type"), choice.get("name")
    if isinstance(kind, str) and kind in _CHOICES:
        return _CHOICES[kind]
    if kind != "tool":
        raise InvalidBody({"tool_choice.type": "must be auto, any, tool or none"})
    if not isinstance(name, str) or not name:
        raise InvalidBody({"tool_choice.name": "must be a text"})
    return {"type": "function", "function": {"name": name}}


def _format(config: Fields) -> dict[str, Any] | None:
    """The shape that the answer is to have."""
    asked = config.get("format")
    if asked is None:
        return None
    schema = asked.get("schema") if isinstance(asked, dict) else None
    if not isinstance(schema, dict) or asked.get("type") != "json_schema":
        raise InvalidBody({"output_config.format": "must be a json_schema"})
    shape = {"name": "answer", "schema": schema, "strict": True}
    return {"type": "json_schema", "json_schema": shape}
