"""What an OpenAI-speaking upstream means by its errors.

Servers agree on the shape of an error object and on little else, so its code, its
type and its words are all looked at. Not one of these words leaves this module.
"""

import re
from collections.abc import Mapping

from pydantic_core import from_json

from app.gateway.errors import (
    BadReply,
    ContentFiltered,
    ContextTooLong,
    Refused,
    UnknownModel,
    UpstreamError,
)

# As vLLM, llama.cpp, LiteLLM and the hosted ones word it.
_CONTEXT = re.compile(
    r"context[ _](length|size|window)|exceed_context_size|maximum context"
    r"|prompt is too long|too many tokens",
    re.IGNORECASE,
)
_FILTER = re.compile(
    r"content[ _-]?(management[ _-])?(filter|policy)|responsible_?ai|moderation",
    re.IGNORECASE,
)
_FULL = re.compile(r"rate[ _-]?limit|too many requests|\b429\b", re.IGNORECASE)

WORDS = ("code", "type", "message", "detail")

REJECTIONS = frozenset({400, 403, 404, 413, 422})


def rejection(status: int, body: bytes) -> UpstreamError | None:
    """What a status of REJECTIONS means, if its body makes a difference to that."""
    said = _said(_parsed(body))
    if status == 403:  # else it is about our key, whatever it says
        return _filtered(said, status)
    if meant := _about_the_request(said, status):
        return meant
    if status == 404 and "model" in said.lower():
        return UnknownModel("unknown_model", status=status)
    return None


def is_failure(value: object) -> bool:
    """Whether what came in place of an answer is an object that tells of an error."""
    if not isinstance(value, dict):
        return False
    if value.get("error") or value.get("object") == "error":
        return True
    said_instead = value.get("detail") or value.get("message")
    return bool(said_instead) and not value.get("choices")


def failure(chunk: object, status: int) -> UpstreamError:
    """What an error object means that came where an answer should be."""
    said = _said(chunk)
    if meant := _about_the_request(said, status):
        return meant
    if _FULL.search(said):
        return Refused("rate_limited", status=status)
    return BadReply("upstream_error", status=status)


def _about_the_request(said: str, status: int) -> UpstreamError | None:
    if _CONTEXT.search(said):
        return ContextTooLong("context_length", status=status)
    return _filtered(said, status)


def _filtered(said: str, status: int) -> ContentFiltered | None:
    if _FILTER.search(said):
        return ContentFiltered("content_filter", status=status)
    return None


def _parsed(body: bytes) -> object:
    try:
        return from_json(body, allow_partial=True)  # it may be cut
    except ValueError:
        return None


def _said(value: object) -> str:
    """Code, type and message of an error object, wherever the server put it."""
    if not isinstance(value, Mapping):
        return ""
    error = value.get("error", value)
    if not isinstance(error, Mapping):
        return str(error)
    return " ".join(str(error[key]) for key in WORDS if error.get(key))
