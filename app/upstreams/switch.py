"""switch: the primary chat service (docs/contracts.md)."""

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

PATH = "/switch/chat"


class _Reply(BaseModel):
    """A 200 of switch that says of itself that it is an answer."""

    model_config = ConfigDict(strict=True, frozen=True)

    status: Literal["ok"]
    reply: str = ""
    content: str | None = None
    engine_used: str | None = None
    provider: str | None = None

    @property
    def text(self) -> str:
        """The reply, or the content where there is no reply at all."""
        has_reply = "reply" in self.model_fields_set
        return self.reply if has_reply else self.content or ""


class _Failure(BaseModel):
    """A 200 of switch whose text is an error's."""

    model_config = ConfigDict(strict=True, frozen=True)

    status: Literal["error", "partial"]


SHAPE: TypeAdapter[_Reply | _Failure] = TypeAdapter(
    Annotated[_Reply | _Failure, Field(discriminator="status")]
)


class SwitchUpstream(Dialect):
    """Asks switch. Threads may share it.

    `timeout` is in seconds. Of a request's metadata, which steers switch, only the
    keys in `metadata_allowed` are forwarded. A reply's model is its `engine_used`,
    else its `provider`, else our name for switch; see `model_name` for what counts.
    `health` is the path of its health, empty for /health behind `url`.
    """

    def __init__(
        self,
        *,
        name: str,
        url: str,
        timeout: float,
        token: str,
        metadata_allowed: frozenset[str],
        transport: Transport,
        health: str = "",
    ) -> None:
        self.name = name
        self.timeout = timeout
        self._metadata_allowed = metadata_allowed
        self._token = token
        self._service = Service(url, transport, token, health=health)

    @classmethod
    def from_settings(cls, entry: Any, surroundings: Surroundings) -> Self:
        """Make the upstream of one entry of `[[upstreams]]`."""
        return cls(
            name=entry.name,
            url=entry.url,
            timeout=entry.timeout,
            token=surroundings.token,
            metadata_allowed=surroundings.metadata_allowed,
            transport=surroundings.transport,
            health=entry.health,
        )

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Ask once and return the whole reply as one delta."""
        answer = self._service.ask(PATH, self._payload(request), request, budget)
        reply = parse(answer, SHAPE)
        if isinstance(reply, _Failure):
            raise marked(BadReply("upstream_error"), answer)
        text = reply.text
        if is_blank(text):
            raise marked(BadReply("schema"), answer)
        model = model_name(reply.engine_used, reply.provider, secret=self._token)
        return whole(ChatReply(text, self.name, model or self.name), answer)

    def ping(self, budget: Budget) -> None:
        """Return if switch shows a sign of life; else raise an UpstreamError."""
        self._service.ping(budget)

    def _payload(self, request: ChatRequest) -> dict[str, Any]:
        allowed = self._metadata_allowed
        return {
            "messages": [
                {"role": m.role, "content": m.content} for m in request.messages
            ],
            "session_id": request.session_id,
            "correlation_id": request.correlation_id,
            "metadata": {k: v for k, v in request.metadata.items() if k in allowed},
        }
