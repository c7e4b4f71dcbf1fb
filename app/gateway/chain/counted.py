"""Counted: a handler that estimates the tokens of a request where no upstream counts.

A count is a request like any other: it has a slot, a deadline and a record, and the
upstreams that can count are asked for it. The estimate is named as such: it is in the
place of the upstream.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from app.gateway.abilities import COUNT
from app.gateway.budget import Budget
from app.gateway.chat import Attempt, ChatReply, ChatRequest, Usage
from app.gateway.errors import (
    GatewayError,
    NobodyAnswered,
    Unfit,
    UnknownModel,
    Unsupported,
)
from app.gateway.handler import ChatHandler, ReplyStream
from app.gateway.routing.attempts import fault_of

ESTIMATE = "estimate"  # what answers, where nobody counted

BYTES = 4  # of UTF-8 for a token: about what the tokenizers of today need for English
OF_A_MESSAGE = 4  # tokens around each message
OF_A_FILE = 1600  # tokens of a picture; nobody can tell without looking into it
FILES = ("data:", "http://", "https://")


class Counted:
    """A handler around another, for requests that want a count. Threads may share it.

    Raises what the other raises, unless nobody there can count.
    """

    def __init__(self, inner: ChatHandler) -> None:
        self._inner = inner

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Ask, and make an estimate if need be."""
        if COUNT not in request.needs:
            return self._inner.open(request, budget)
        try:
            return self._inner.open(request, budget)
        except UnknownModel:
            raise
        except (Unsupported, NobodyAnswered, Unfit) as error:
            return _estimated(request, error)


def _estimated(request: ChatRequest, error: GatewayError) -> ReplyStream:
    """The estimate, which is a lesser answer where somebody should have counted."""
    reply = ChatReply(
        "",
        ESTIMATE,
        request.model or ESTIMATE,
        usage=Usage(estimate(request)),
        degraded_by=fault_of(error) if error.attempts else None,
        attempts=(*error.attempts, Attempt(ESTIMATE, None, 0.0)),
    )
    return ReplyStream.whole(reply)


def estimate(request: ChatRequest) -> int:
    """About how many tokens a request has; takes time in proportion to its size."""
    values = [
        *(message.raw or message.content for message in request.messages),
        request.extra.get("tools"),
    ]
    sizes = [_size(text) for value in values for text in _texts(value)]
    return math.ceil(sum(sizes)) + OF_A_MESSAGE * len(request.messages)


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value, and the names that they stand under."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            left += [*item, *item.values()]
        elif isinstance(item, list):
            left += item


def _size(text: str) -> float:
    if text.startswith(FILES) and " " not in text:
        return OF_A_FILE
    return len(text.encode("utf-8", "replace")) / BYTES
