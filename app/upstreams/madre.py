"""madre: the fallback chat service (docs/contracts.md)."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.gateway.blank import is_blank
from app.gateway.budget import Budget
from app.gateway.chat import ChatReply, ChatRequest
from app.gateway.errors import BadReply
from app.gateway.handler import ReplyStream
from app.upstreams.dialect import Dialect, Surroundings
from app.upstreams.http.service import Service
from app.upstreams.http.transport import Transport
from app.upstreams.replies import marked, model_name, parse, whole

PATH = "/madre/chat"
POST_TASK = "/madre/power/maintenance/post_task"  # docs/contracts.md
UNNAMED_MODEL = "madre-local"

# What a reply lacks whose plan is not done. Its text still goes to the caller.
DEGRADED_BY = {
    "WAITING": "needs_confirmation",
    "PENDING": "unfinished",
    "RUNNING": "unfinished",
}


class _Reply(BaseModel):
    """A 200 of madre that says of itself that it is an answer."""

    model_config = ConfigDict(strict=True, frozen=True)

    status: Literal["DONE", "WAITING", "PENDING", "RUNNING"]
    response: str
    model: str | None = None


class _Failure(BaseModel):
    """A 200 of madre whose text is an error's."""

    model_config = ConfigDict(strict=True, frozen=True)

    status: Literal["ERROR", "PARTIAL"]


SHAPE: TypeAdapter[_Reply | _Failure] = TypeAdapter(
    Annotated[_Reply | _Failure, Field(discriminator="status")]
)


class MadreUpstream(Dialect):
    """Asks madre. Threads may share it.

    `timeout` is in seconds. madre wants no token: one is shown only if it is given.
    `health` is the path of its health, empty for /health behind `url`.
    A reply without a usable name of its model (see `model_name`) is UNNAMED_MODEL's.
    """

    def __init__(
        self,
        *,
        name: str,
        url: str,
        timeout: float,
        transport: Transport,
        token: str = "",
        health: str = "",
    ) -> None:
        self.name = name
        self.timeout = timeout
        self._token = token
        self._service = Service(url, transport, token, health=health)

    @classmethod
    def from_settings(cls, entry: Any, surroundings: Surroundings) -> Self:
        """Make the upstream of one entry of `[[upstreams]]`."""
        return cls(
            name=entry.name,
            url=entry.url,
            timeout=entry.timeout,
            transport=surroundings.transport,
            health=entry.health,
        )

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Ask once and return the whole reply as one delta."""
        answer = self._service.ask(PATH, _payload(request), request, budget)
        content = parse(answer, SHAPE)
        if isinstance(content, _Failure):
            raise marked(BadReply("upstream_error"), answer)
        if is_blank(content.response):
            raise marked(BadReply("schema"), answer)
        reply = ChatReply(
            content.response,
            self.name,
            model_name(content.model, secret=self._token) or UNNAMED_MODEL,
            degraded_by=DEGRADED_BY.get(content.status),
        )
        return whole(reply, answer)

    def ping(self, budget: Budget) -> None:
        """Return if madre shows a sign of life; else raise an UpstreamError."""
        self._service.ping(budget)

    def post_task(self, budget: Budget) -> str:
        """Ask for the maintenance that follows a deployment; return what madre says.

        Raises an UpstreamError if it is not a 200 of JSON.
        """
        return self._service.command(POST_TASK, budget).body.decode()


def _payload(request: ChatRequest) -> dict[str, Any]:
    return {
        "message": _storable(request.last_user_message),
        "session_id": request.session_id,
        "correlation_id": request.correlation_id,
        "context": {**_earlier_turns(request), **request.context},
    }


def _earlier_turns(request: ChatRequest) -> dict[str, Any]:
    """The rest of the conversation; madre itself takes one message."""
    users = (i for i, m in enumerate(request.messages) if m.role == "user")
    asked = max(users, default=None)
    turns = [
        {"role": m.role, "content": _storable(m.content)}
        for i, m in enumerate(request.messages)
        if i != asked
    ]
    return {"messages": turns} if turns else {}


def _storable(text: str) -> str:
    """A text that PostgreSQL takes, in which madre keeps it: NUL is replaced."""
    return text.replace("\x00", "\ufffd")
