"""openai: any server that speaks OpenAI's chat completions (docs/contracts.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import TypeAdapter

from app.gateway.budget import Budget
from app.gateway.chat import ChatReply, ChatRequest, Message
from app.gateway.errors import UpstreamError
from app.gateway.handler import ReplyStream
from app.upstreams.dialect import Dialect, Surroundings
from app.upstreams.http.service import Service
from app.upstreams.http.transport import JSON, Answer, Exchange, Transport
from app.upstreams.openai import chunks
from app.upstreams.openai.error_reading import Echo
from app.upstreams.openai.errors import failure, is_failure, refusal
from app.upstreams.openai.stream import StreamedReply
from app.upstreams.replies import beginning, marked, parse, whole
from app.upstreams.words_in_time import STREAM_LIMIT, WordsInTime, named

PATH = "/chat/completions"
HEALTH_PATH = "/models"
EVENTS = "text/event-stream"


MAX_ERROR = 64 * 1024  # bytes of an error's body; what they say stands at the beginning
ERROR_WAIT = 1.0  # seconds for it; its status alone is worth more than a longer wait
MAX_STREAM = 16 * 1024 * 1024  # bytes; some 200 for each token of 80,000

# Fields of a request that are not the caller's to pass through.
OURS = frozenset({"messages", "model", "stream", "stream_options"})

TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
FEW_TOKENS = 16  # with fewer, there may be no room for a word

OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for a whole answer or a stream's beginning; and for a stream's words.

    The first ones, the next ones, and all that flow once it has begun.
    """

    total: float = 30.0
    first_token: float = 30.0
    idle: float = 10.0
    stream: float = STREAM_LIMIT


class OpenAIUpstream(Dialect):
    """Asks an OpenAI-speaking server, whole or streamed. Threads may share it.

    `url` ends in /v1 or the like. `api_key` is ours, empty for none. `model` is
    asked for whatever the caller named; empty passes on the caller's. `health` is
    the path of its health, empty for /models behind `url`.
    """

    own_settings = frozenset(
        {
            "abilities",
            "api_key_env",
            "first_token_timeout",
            "idle_timeout",
            "model",
            "retries",
            "stream_timeout",
        }
    )
    is_repeatable = True

    def __init__(
        self,
        *,
        name: str,
        url: str,
        limits: Limits,
        transport: Transport,
        api_key: str = "",
        model: str = "",
        health: str = "",
    ) -> None:
        self.name = name
        self.timeout = limits.total
        self._limits = limits
        self._model = model
        self._service = Service(url, transport, bearer=api_key, health=health)

    @classmethod
    def from_settings(cls, entry: Any, surroundings: Surroundings) -> Self:
        """Make the upstream of one entry of `[[upstreams]]`."""
        upstream = cls(
            name=entry.name,
            url=entry.url,
            limits=Limits(
                total=entry.timeout,
                first_token=entry.first_token_timeout,
                idle=entry.idle_timeout,
                stream=entry.stream_timeout,
            ),
            transport=surroundings.transport,
            api_key=entry.api_key.get_secret_value(),
            model=entry.model,
            health=entry.health,
        )
        upstream.abilities = frozenset(entry.abilities)
        return upstream

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Ask once; return the whole reply, or a streamed one whose words come.

        Raises an UpstreamError, or whatever the budget's checks raise.
        """
        return (self._streamed if request.stream else self._whole)(request, budget)

    def ping(self, budget: Budget) -> None:
        """Return if the server shows a sign of life; else raise an UpstreamError."""
        self._service.ping(budget, HEALTH_PATH)

    def _whole(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        payload = self._payload(request)
        with self._service.open(
            PATH, payload, request, budget, accept=JSON
        ) as exchange:
            answer = self._accepted(exchange, request, budget).require(JSON).whole()
        return whole(self._reply(answer, request), answer)

    def _streamed(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        words_by = budget.within(self._limits.first_token)
        try:
            exchange = self._service.open(
                PATH,
                {**self._payload(request), **_streaming(request)},
                request,
                words_by,
                accept=EVENTS,
                max_body=MAX_STREAM,
            )
        except UpstreamError as error:
            raise named(error, "first_token", budget) from None
        try:
            return self._begun(exchange, request, budget, words_by)
        except BaseException:
            exchange.close()
            raise

    def _begun(
        self,
        exchange: Exchange,
        request: ChatRequest,
        budget: Budget,
        words_by: Budget,
    ) -> ReplyStream:
        if self._accepted(exchange, request, budget).media_type == JSON:
            answer = exchange.require(JSON).whole()  # it does not stream
            return whole(self._reply(answer, request), answer, is_streamed=True)
        pieces = WordsInTime(
            exchange.require(EVENTS),
            budget,
            words_by,
            self._limits.idle,
            stream_limit=self._limits.stream,
        )
        reply = StreamedReply(pieces, self._wanted(request))
        reply.begin()
        facts = ChatReply("", self.name, reply.model or self._asked_for(request))
        stream = ReplyStream(reply, facts, exchange.close)
        stream.received, stream.status = exchange.received, exchange.status
        stream.on_end(reply.report)
        return stream

    def _reply(self, answer: Answer, request: ChatRequest) -> ChatReply:
        value = parse(answer, OBJECT)
        try:
            if is_failure(value):
                raise failure(value, answer.status, self._echo(request))
            model, wanted = self._asked_for(request), self._wanted(request)
            return chunks.whole_reply(value, self.name, model, wanted)
        except UpstreamError as error:
            raise marked(error, answer) from None

    def _accepted(
        self, exchange: Exchange, request: ChatRequest, budget: Budget
    ) -> Exchange:
        """Return the exchange; raise what it means if its status tells of an error."""
        if exchange.status < 400:
            return exchange
        body = beginning(exchange, budget.within(ERROR_WAIT), MAX_ERROR)
        told = refusal(exchange.status, exchange.headers, body, self._echo(request))
        told.received = exchange.received
        raise told

    def _wanted(self, request: ChatRequest) -> chunks.Wanted:
        """What the caller wants of an answer."""
        n = request.extra.get("n")
        return chunks.Wanted(
            as_text=not request.wants_choices,
            choices=n if isinstance(n, int) and n > 1 else 1,
            may_be_empty=_may_be_empty(request),
            echo=self._echo(request),
        )

    def _echo(self, request: ChatRequest) -> Echo:
        return Echo(request, self._model)

    def _asked_for(self, request: ChatRequest) -> str:
        return self._model or request.model or self.name

    def _payload(self, request: ChatRequest) -> dict[str, Any]:
        payload = {
            **{k: v for k, v in request.extra.items() if k not in OURS},
            "messages": [_message(message) for message in request.messages],
        }
        if model := self._model or request.model:
            payload["model"] = model
        return payload


def _message(message: Message) -> Mapping[str, Any]:
    if message.raw is not None:
        return message.raw
    return {"role": message.role, "content": message.content}


def _streaming(request: ChatRequest) -> dict[str, Any]:
    """Have usage told, whatever else the caller wants of a stream."""
    options = request.extra.get("stream_options")
    wanted = options if isinstance(options, Mapping) else {}
    return {"stream": True, "stream_options": {**wanted, "include_usage": True}}


def _may_be_empty(request: ChatRequest) -> frozenset[str]:
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
