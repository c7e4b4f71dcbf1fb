"""Turn: an upstream's position among those of a request, and the ports of a router."""

from typing import NamedTuple, Protocol

from app.gateway.budget import Budget
from app.gateway.chat import ChatRequest
from app.gateway.handler import ChatHandler, ReplyStream

RETRY_AFTER = 1.0  # seconds; a dead upstream is asked for its health that often


class Turn(NamedTuple):
    """An upstream's place among those that a request may still ask.

    `is_first`: the caller would rather wait for this one than ask another. `is_last`:
    nobody is left to ask behind it. `is_extra`: it was passed over before, and is
    asked after all because nobody else has answered.
    """

    is_first: bool = False
    is_last: bool = False
    is_extra: bool = False


ONLY = Turn(is_first=True, is_last=True)


class Upstream(ChatHandler, Protocol):
    """A handler with a name and a limit of its own, in seconds."""

    @property
    def name(self) -> str: ...
    @property
    def timeout(self) -> float: ...


class Candidate(Upstream, Protocol):
    """An upstream that is told of its turn, so that it can say no where others can."""

    def open(
        self, request: ChatRequest, budget: Budget, turn: Turn = ONLY
    ) -> ReplyStream: ...
