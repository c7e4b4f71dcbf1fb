"""Needs: what a request in OpenAI's words asks of an upstream beyond words.

Whoever cannot do what is needed is not asked; what is only wanted is left out for
whoever can do nothing with it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from app.gateway.abilities import JSON, MULTIPLE, TOOLS

# Choices of a tool that an answer in words fulfils.
_MAY_BE_WORDS = (None, "auto", "none")
_PLAIN_FORMATS: tuple[Any, ...] = (None, {}, {"type": "text"})


def needs(body: Mapping[str, Any]) -> Iterator[str]:
    """The abilities without which the fields of a body have no answer."""
    if _must_call(body):
        yield TOOLS
    if (body.get("n") or 1) > 1:
        yield MULTIPLE
    if body.get("response_format") not in _PLAIN_FORMATS:
        yield JSON


def wants(body: Mapping[str, Any]) -> Iterator[str]:
    """The abilities that the fields of a body make use of where they are there."""
    if body.get("tools") or body.get("functions"):
        yield TOOLS


def _must_call(body: Mapping[str, Any]) -> bool:
    """Whether an answer has to be a call: of one tool, or of any."""
    if body.get("function_call") not in _MAY_BE_WORDS:
        return True
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        choice = allowed.get("mode") if isinstance(allowed, Mapping) else choice
    return choice not in _MAY_BE_WORDS
