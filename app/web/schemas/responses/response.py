"""The wire models of a response: what the door of Responses answers."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.gateway import chat


class _Open(BaseModel):
    """May have more fields."""

    model_config = ConfigDict(extra="allow")


class ResponseItem(_Open):
    """A message, a call of a function, or what the model thought."""

    id: str
    type: Literal["message", "function_call", "reasoning"]
    status: Literal["in_progress", "completed", "incomplete"]


class ResponseUsage(BaseModel):
    """Tokens, as counted by the upstream; all 0 if it did not."""

    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


class ResponseBody(_Open):
    """A response; `completed` is the one status of one that is whole."""

    id: str = Field(description="`resp_` and the record's id.")
    object: Literal["response"]
    created_at: int = Field(description="Unix time.")
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    model: str = Field(description="The one that answered.")
    output: list[ResponseItem]
    error: dict[str, Any] | None = Field(description="`code` and `message`.")
    incomplete_details: dict[str, Any] | None = Field(description="`reason`.")
    store: Literal[False] = Field(description="Nothing is stored.")
    usage: ResponseUsage | None = Field(
        default=None, description="There once it has ended."
    )


class ResponseEvent(_Open):
    """An event about the response as a whole."""

    type: str
    sequence_number: int
    response: ResponseBody


class OutputEvent(_Open):
    """An event about one item; `type` says what else is in it."""

    type: str
    sequence_number: int
    output_index: int


WHOLE = ("created", "in_progress", "completed", "incomplete", "failed")
PARTS = (
    "output_item.added",
    "output_item.done",
    "content_part.added",
    "content_part.done",
    "output_text.delta",
    "output_text.done",
    "refusal.delta",
    "refusal.done",
    "reasoning_text.delta",
    "reasoning_text.done",
    "function_call_arguments.delta",
    "function_call_arguments.done",
)
EVENTS: tuple[tuple[str, type[BaseModel] | str], ...] = (
    *((f"response.{name}", ResponseEvent) for name in WHOLE),
    *((f"response.{name}", OutputEvent) for name in PARTS),
)


def response_usage(usage: chat.Usage) -> dict[str, Any]:
    """Tokens in the words of Responses; clients need numbers, so unknown ones are 0."""
    spent, made = usage.input_tokens or 0, usage.output_tokens or 0
    return {
        "input_tokens": spent,
        "input_tokens_details": {
            "cached_tokens": 0,
            **usage.details.get("prompt_tokens_details", {}),
        },
        "output_tokens": made,
        "output_tokens_details": {
            "reasoning_tokens": 0,
            **usage.details.get("completion_tokens_details", {}),
        },
        "total_tokens": spent + made,
    }
