"""The payload that an OpenAI-speaking upstream is sent, and what it lets come back."""

from typing import Any

from app.gateway.chat import ChatRequest
from app.upstreams.openai.request import tasks
from app.upstreams.openai.request.fields import KEPT_BACK
from app.upstreams.openai.request.stream_options import FIELD

# The gateway says these itself.
OURS = KEPT_BACK | {"messages", "model", "stream", FIELD}

TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
FEW_TOKENS = 16  # with fewer, there may be no room for a word


def payload_of(request: ChatRequest, model: str) -> dict[str, Any]:
    """Return a request in OpenAI's words, for `model`, or for the one it names."""
    payload = {
        **{k: v for k, v in request.extra.items() if k not in OURS},
        **tasks.said(request),
    }
    if asked_for := model or request.model:
        payload["model"] = asked_for
    return payload


def may_be_empty(request: ChatRequest) -> frozenset[str]:
    """The finish reasons with which the request itself may leave no words.

    One that stops at a word may stop at once, and so may one of very few tokens. One
    that merely has a limit, as most do, has no words only if it met that limit.
    """
    asked = request.extra
    limits = [n for n in map(asked.get, TOKEN_LIMITS) if isinstance(n, int | float)]
    ends = {"length"} if limits else set()
    if asked.get("stop") or min(limits, default=FEW_TOKENS) < FEW_TOKENS:
        ends.add("stop")
    return frozenset(ends)
