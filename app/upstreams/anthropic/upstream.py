"""anthropic: any server that speaks Anthropic's messages (docs/contracts.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import TypeAdapter

from app.gateway.abilities import COUNT, MULTIPLE
from app.gateway.budget import Budget
from app.gateway.chat import ChatReply, ChatRequest, Delta, Usage
from app.gateway.errors import BadReply, UpstreamError
from app.gateway.handler import ReplyStream
from app.gateway.replies import as_whole
from app.upstreams.anthropic import request as wire
from app.upstreams.anthropic.blocks import Blocks, finish_of, usage_of
from app.upstreams.anthropic.errors import failure, is_failure, refusal
from app.upstreams.anthropic.stream import StreamedMessage
from app.upstreams.dialect import Dialect, Surroundings
from app.upstreams.http.service import Service
from app.upstreams.http.transport import JSON, Answer, Exchange, Transport
from app.upstreams.openai.body_kinds import BLANK, EVENTS, kind_of
from app.upstreams.openai.errors.reading import Echo
from app.upstreams.openai.halves import mended
from app.upstreams.openai.upstream import ERROR_WAIT, FAILED, MAX_ERROR, Limits
from app.upstreams.replies import (
    beginning_of,
    collected,
    marked,
    model_name,
    parse,
    token_count,
    whole,
)
from app.upstreams.words_in_time import WordsInTime, named

PATH, COUNT_PATH = "/messages", "/messages/count_tokens"
HEALTH_PATH = "/models"
VERSION = "2023-06-01"  # of the wire; there is no newer one
BETAS = "anthropic-beta"


Fields = Mapping[str, Any]

OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


@dataclass(frozen=True, slots=True)
class Model:
    """The model that is asked for whatever the caller named; "" for what he named.

    `max_tokens` limits an answer whose request names no limit: the wire wants one.
    """

    name: str = ""
    max_tokens: int = 4096


class AnthropicUpstream(Dialect):
    """Asks a server of Anthropic's wire, whole or streamed. Threads may share it.

    `url` ends in /v1 or the like. `api_key` is ours, empty for none. `health` is the
    path of its health, empty for /models behind `url`.
    """

    own_settings = frozenset(
        {
            "abilities",
            "api_key_env",
            "first_token_timeout",
            "idle_timeout",
            "max_answer",
            "max_tokens",
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
        model: Model = Model(),
        health: str = "",
    ) -> None:
        self.name = name
        self.timeout = limits.total
        self._limits = limits
        self._model = model.name
        self._max_tokens = model.max_tokens
        headers = {"anthropic-version": VERSION}
        if api_key:
            headers["x-api-key"] = api_key
        self._service = Service(url, transport, health=health, headers=headers)

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
            model=Model(entry.model, entry.max_tokens),
            health=entry.health,
        )
        # This wire has no `n`; each of its servers is asked to count.
        upstream.abilities = frozenset(entry.abilities) - {MULTIPLE} | {COUNT}
        return upstream

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Ask once; return the whole reply, or a streamed one whose words come.

        Raises an UpstreamError, or whatever the budget's checks raise.
        """
        if COUNT in request.needs:
            return self._counted(request, budget)
        return (self._streamed if request.stream else self._whole)(request, budget)

    def ping(self, budget: Budget) -> None:
        """Return if the server shows a sign of life; else raise an UpstreamError."""
        self._service.ping(budget, HEALTH_PATH)

    def _whole(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        payload = wire.payload(request, self._asked_for(request), self._max_tokens)
        with self._opened(PATH, payload, request, budget) as exchange:
            self._require_success(exchange, request, budget)
            pieces = self._pieces(exchange, budget, budget)
            beginning = pieces.peek(BLANK)
            if kind_of(exchange, beginning) == EVENTS:
                return collected(self._begun(exchange, pieces, request), exchange)
            answer = _read(exchange, beginning)
            return whole(self._reply(answer, request), answer)

    def _counted(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """The tokens of a request as the server counts them; not all servers do."""
        model = self._asked_for(request)
        payload = wire.counted(request, model)
        with self._opened(COUNT_PATH, payload, request, budget) as exchange:
            self._require_success(exchange, request, budget)
            answer = _read(exchange)
        tokens = token_count(parse(answer, OBJECT).get("input_tokens"))
        if tokens is None:
            raise marked(BadReply("schema"), answer)
        reply = ChatReply("", self.name, model, usage=Usage(tokens))
        return whole(reply, answer)

    def _streamed(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        words_by = budget.within(self._limits.first_token)
        payload = wire.payload(request, self._asked_for(request), self._max_tokens)
        try:
            payload["stream"] = True
            exchange = self._opened(PATH, payload, request, words_by, EVENTS)
        except UpstreamError as error:
            raise named(error, "first_token", budget) from None
        try:
            self._require_success(exchange, request, budget)
            pieces = self._pieces(exchange, budget, words_by)
            beginning = pieces.peek(BLANK)
            if kind_of(exchange, beginning) == EVENTS:
                return self._begun(exchange, pieces, request)
            answer = _read(exchange, beginning)  # it does not stream
            return whole(self._reply(answer, request), answer, is_streamed=True)
        except BaseException:
            exchange.close()
            raise

    def _opened(
        self,
        path: str,
        payload: dict[str, Any],
        request: ChatRequest,
        budget: Budget,
        accept: str = JSON,
    ) -> Exchange:
        return self._service.open(
            path,
            payload,
            request,
            budget,
            accept=accept,
            max_body=self._limits.size,
            headers=_headers(request),
        )

    def _pieces(
        self, exchange: Exchange, budget: Budget, words_by: Budget
    ) -> WordsInTime:
        idle, lasting = self._limits.idle, self._limits.stream
        return WordsInTime(exchange, budget, words_by, idle, stream_limit=lasting)

    def _begun(
        self, exchange: Exchange, pieces: WordsInTime, request: ChatRequest
    ) -> ReplyStream:
        """Return a streamed reply once its words come."""
        reply = StreamedMessage(
            pieces,
            as_text=not request.wants_choices,
            is_begun=request.is_begun,
            echo=self._echo(request),
            size=self._limits.size,
        )
        reply.begin()
        model = reply.model or self._asked_for(request)
        facts = ChatReply("", self.name, model, usage=reply.usage)
        stream = ReplyStream(reply, facts, exchange.close)
        stream.received, stream.status = exchange.received, exchange.status
        stream.on_end(reply.report)
        return stream

    def _reply(self, answer: Answer, request: ChatRequest) -> ChatReply:
        value = parse(answer, OBJECT)
        try:
            if is_failure(value):
                raise failure(value, answer.status, self._echo(request))
            return self._whole_reply(value, request)
        except UpstreamError as error:
            raise marked(error, answer) from None

    def _whole_reply(self, value: Fields, request: ChatRequest) -> ChatReply:
        """The reply in a whole answer. Raises BadReply if there is none in it."""
        content, (reason, ending) = value.get("content"), finish_of(value)
        if not isinstance(content, list):
            raise BadReply("schema")
        if reason is None:
            raise BadReply("truncated")
        blocks, deltas = Blocks(as_text=not request.wants_choices), list[Delta]()
        for index, block in enumerate(content):
            deltas += [blocks.start(index, block), blocks.stop(index)]
        blocks.require_answer(reason)
        model = value.get("model")
        name = model_name(model if isinstance(model, str) else None)
        reply = ChatReply(
            "".join(delta.text for delta in deltas),
            self.name,
            name or self._asked_for(request),
            usage=usage_of(value.get("usage"), Usage()),
            finish_reason=ending["finish_reason"],
        )
        if "stop_sequence" in ending or any(delta.choices for delta in deltas):
            return as_whole(reply, [*deltas, Delta("", (ending,))])
        return reply

    def _require_success(
        self, exchange: Exchange, request: ChatRequest, budget: Budget
    ) -> None:
        """Return if the answer may have a body; else raise what its status means."""
        if exchange.status < FAILED:
            exchange.require(None)
            return
        body = beginning_of(exchange, budget.within(ERROR_WAIT), MAX_ERROR)
        error = refusal(exchange.status, exchange.headers, body, self._echo(request))
        error.received = exchange.received
        raise error

    def _echo(self, request: ChatRequest) -> Echo:
        return Echo(request, self._model)

    def _asked_for(self, request: ChatRequest) -> str:
        return self._model or request.model or self.name


def _headers(request: ChatRequest) -> Mapping[str, str]:
    """What the caller wants to try, for a server that may know it."""
    betas = request.anthropic.get("betas")
    return {BETAS: betas} if betas else {}


def _read(exchange: Exchange, beginning: bytes = b"") -> Answer:
    """The body as one JSON value, behind what was read of it already."""
    body = mended((beginning + exchange.read()).lstrip(BLANK))
    return Answer(exchange.status, body, exchange.received)
