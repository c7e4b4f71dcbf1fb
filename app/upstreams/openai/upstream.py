"""openai: any server that speaks OpenAI's chat completions (docs/contracts.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import TypeAdapter

from app.gateway.abilities import COMPLETIONS, EMBEDDINGS
from app.gateway.budget import Budget
from app.gateway.chat import ChatReply, ChatRequest
from app.gateway.errors import UpstreamError
from app.gateway.handler import ReplyStream
from app.upstreams.dialect import Dialect, Surroundings
from app.upstreams.http.service import Service
from app.upstreams.http.transport import JSON, Answer, Exchange, Transport
from app.upstreams.openai import chunks
from app.upstreams.openai.body_kinds import BLANK, EVENTS, kind_of
from app.upstreams.openai.errors.meanings import failure, is_failure, refusal
from app.upstreams.openai.errors.reading import Echo
from app.upstreams.openai.halves import mended
from app.upstreams.openai.request import tasks
from app.upstreams.openai.request.payload import may_be_empty, payload_of
from app.upstreams.openai.request.stream_options import StreamOptions, are_refused
from app.upstreams.openai.stream import StreamedReply
from app.upstreams.replies import (
    MOST_VALUES,
    beginning_of,
    collected,
    marked,
    parse,
    whole,
)
from app.upstreams.words_in_time import STREAM_LIMIT, WordsInTime, named

HEALTH_PATH = "/models"
FAILED = 400  # the least status of an error

MAX_ERROR = 64 * 1024  # bytes of an error's body; what they say stands at the beginning
ERROR_WAIT = 1.0  # seconds for it; its status alone is worth more than a longer wait
MAX_ANSWER = 16 * 1024 * 1024  # bytes; some 200 for each token of 80,000

OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for a whole answer or a stream's beginning; and for a stream's words.

    The first ones, the next ones, and all that flow once it has begun. `size` is in
    bytes, of an answer and of each event in it.
    """

    total: float = 30.0
    first_token: float = 30.0
    idle: float = 10.0
    stream: float = STREAM_LIMIT
    size: int = MAX_ANSWER


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
            "max_answer",
            "model",
            "retries",
            "serves",
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
        self._stream_options = StreamOptions()

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
                size=entry.max_answer,
            ),
            transport=surroundings.transport,
            api_key=entry.api_key.get_secret_value(),
            model=entry.model,
            health=entry.health,
        )
        upstream.abilities = frozenset(entry.abilities)
        upstream.serves = frozenset(entry.serves)
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
        exchange, body = self._opened(
            request, budget, payload_of(request, self._model), JSON
        )
        with exchange:
            _require_success(exchange, body, request, self._model)
            pieces = self._pieces(exchange, budget, budget)
            beginning = pieces.peek(BLANK)
            if kind_of(exchange, beginning) == JSON:
                return self._read(exchange, beginning, request)
            return collected(self._begun(exchange, pieces, request), exchange)

    def _streamed(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        words_by = budget.within(self._limits.first_token)
        try:
            exchange, body = self._opened_as_stream(request, words_by)
        except UpstreamError as error:
            raise named(error, "first_token", budget) from None
        try:
            _require_success(exchange, body, request, self._model)
            pieces = self._pieces(exchange, budget, words_by)
            beginning = pieces.peek(BLANK)
            if kind_of(exchange, beginning) == JSON:  # it does not stream
                return self._read(exchange, beginning, request, is_streamed=True)
            return self._begun(exchange, pieces, request)
        except BaseException:
            exchange.close()
            raise

    def _opened_as_stream(
        self, request: ChatRequest, budget: Budget
    ) -> tuple[Exchange, bytes]:
        """Ask for a stream that tells the tokens spent; without, if that is refused."""
        payload = payload_of(request, self._model) | {"stream": True}
        options = self._stream_options.options(request.extra)
        exchange, body = self._opened(request, budget, {**payload, **options}, EVENTS)
        if options and are_refused(exchange.status, body):
            exchange.close()
            exchange, body = self._opened(request, budget, payload, EVENTS)
            if exchange.status < FAILED:
                self._stream_options.were_refused()
        return exchange, body

    def _opened(
        self,
        request: ChatRequest,
        budget: Budget,
        payload: Mapping[str, Any],
        accept: str,
    ) -> tuple[Exchange, bytes]:
        """Ask; return the answer, and what it says if its status tells of an error."""
        exchange = self._service.open(
            tasks.PATHS[request.task],
            payload,
            request,
            budget,
            accept=accept,
            max_body=self._limits.size,
        )
        try:
            failed = exchange.status >= FAILED
            wait = budget.within(ERROR_WAIT)
            body = beginning_of(exchange, wait, MAX_ERROR) if failed else b""
        except BaseException:  # a caller who hung up, say
            exchange.close()
            raise
        return exchange, body

    def _pieces(
        self, exchange: Exchange, budget: Budget, words_by: Budget
    ) -> WordsInTime:
        idle, lasting = self._limits.idle, self._limits.stream
        return WordsInTime(exchange, budget, words_by, idle, stream_limit=lasting)

    def _begun(
        self, exchange: Exchange, pieces: WordsInTime, request: ChatRequest
    ) -> ReplyStream:
        """Return a streamed reply once its words come."""
        reply = StreamedReply(pieces, self._wanted(request), self._limits.size)
        reply.begin()
        facts = ChatReply("", self.name, reply.model or self._asked_for(request))
        stream = ReplyStream(reply, facts, exchange.close)
        stream.received, stream.status = exchange.received, exchange.status
        stream.on_end(reply.report)
        return stream

    def _read(
        self,
        exchange: Exchange,
        beginning: bytes,
        request: ChatRequest,
        *,
        is_streamed: bool = False,
    ) -> ReplyStream:
        """Return the reply in a body that is one JSON value."""
        body = mended((beginning + exchange.read()).lstrip(BLANK))
        answer = Answer(exchange.status, body, exchange.received)
        return whole(self._reply(answer, request), answer, is_streamed=is_streamed)

    def _reply(self, answer: Answer, request: ChatRequest) -> ChatReply:
        is_long = request.task == EMBEDDINGS
        value = parse(answer, OBJECT, tasks.MOST_NUMBERS if is_long else MOST_VALUES)
        model, wanted = self._asked_for(request), self._wanted(request)
        try:
            if is_failure(value):
                raise failure(value, answer.status, wanted.echo)
            if is_long:
                names = self.name, model
                return tasks.embeddings(value, answer.body, request, names)
            if wanted.is_text:
                chat = tasks.as_chat(value, "message")
                return chunks.whole_reply(chat, self.name, model, wanted)
            return chunks.whole_reply(value, self.name, model, wanted)
        except UpstreamError as error:
            raise marked(error, answer) from None

    def _wanted(self, request: ChatRequest) -> chunks.Wanted:
        """What the caller wants of an answer."""
        n = request.extra.get("n")
        return chunks.Wanted(
            as_text=not request.wants_choices,
            is_text=request.task == COMPLETIONS,
            choices=n if isinstance(n, int) and n > 1 else 1,
            may_be_empty=may_be_empty(request),
            is_begun=request.is_begun,
            echo=Echo(request, self._model),
        )

    def _asked_for(self, request: ChatRequest) -> str:
        return self._model or request.model or self.name


def _require_success(
    exchange: Exchange, body: bytes, request: ChatRequest, model: str
) -> None:
    """Return if the answer may have a body; else raise what its status means."""
    if exchange.status < FAILED:
        exchange.require(None)
        return
    echo = Echo(request, model)
    error = refusal(exchange.status, exchange.headers, body, echo)
    error.received = exchange.received
    raise error
