"""Dialect: what every kind of upstream declares about itself.

Its methods run in many threads at once. A new dialect is a class with this base in a
file of its own, and one entry of `KINDS` in `app/upstreams/__init__.py`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from app.gateway.abilities import CHAT_ONLY
from app.gateway.budget import Budget
from app.gateway.chat import ChatRequest
from app.gateway.handler import ReplyStream
from app.upstreams.http.transport import Transport


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all upstreams of one gateway have in common.

    `token` is the gateway's own, empty for none. `metadata_allowed` are the keys of a
    request's metadata that may be sent to an upstream.
    """

    transport: Transport
    token: str = ""
    metadata_allowed: frozenset[str] = frozenset()


class Dialect(Protocol):
    """An upstream of one kind.

    `own_settings` are the entries of `[[upstreams]]` that are for this kind, and for
    no other that does not declare them too. `is_repeatable`: a chat may be sent twice,
    since the server does nothing but answer. `timeout` is in seconds. `abilities` are
    what a chat may need of it (`ChatRequest.needs`), `serves` the tasks that it is
    asked for (`ChatRequest.task`).
    """

    own_settings: ClassVar[frozenset[str]] = frozenset()
    is_repeatable: ClassVar[bool] = False

    name: str
    timeout: float
    abilities: frozenset[str] = frozenset()
    serves: frozenset[str] = CHAT_ONLY

    @classmethod
    def from_settings(cls, entry: Any, surroundings: Surroundings) -> Self:
        """Make the upstream of one entry of `[[upstreams]]`, its keys as attributes."""
        ...

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Ask the server; see `ChatHandler.open`."""
        ...

    def ping(self, budget: Budget) -> None:
        """Return if the server shows a sign of life; else raise an UpstreamError."""
        ...

    def post_task(self, budget: Budget) -> str | None:  # noqa: ARG002
        """Run the maintenance that follows a deployment; return the server's answer.

        None if this kind has no maintenance. Raises an UpstreamError if it fails.
        """
        return None
