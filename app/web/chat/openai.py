"""OpenAI's doors: any client that speaks chat completions, with the same promises."""

from collections.abc import Iterator, Mapping
from time import monotonic, time
from typing import Any

from flask import Blueprint, Request, Response, g
from flask.typing import ResponseReturnValue

from app.gateway import correlation, strict_json
from app.gateway.access.tokens import Caller
from app.gateway.chat import NOTHING, ChatReply, ChatRequest, Delta
from app.web.chat.chat_headers import (
    log_answer,
    record_refusal,
    seat,
    server_timing,
    stream_mode,
    who_answers,
)
from app.web.chat.sse import TextEvents, event, stream_answer
from app.web.openapi.documented import CHAT_FAILURES, Note, documented
from app.web.openapi.headers import OF_CHATS, OF_REPLIES
from app.web.request.auth import token_required
from app.web.request.body import read_plain
from app.web.request.caller import budget_of, priority_of, waited
from app.web.request.caller_error import CallerError
from app.web.request.context import services, this_request
from app.web.request.json_response import json_response
from app.web.request.person import is_name, on_behalf, session_in_headers
from app.web.request.values import parsed
from app.web.schemas import openai as schemas
from app.web.schemas.completions import (
    Completion,
    CompletionChunk,
    Model,
    ModelList,
)
from app.web.schemas.errors import OpenAIErrorBody

bp = Blueprint("openai", __name__, url_prefix="/v1")
bp.after_request(record_refusal)

SESSION = "X-Session-Id"
CHOICES = "X-Gateway-Choices"
_encode = strict_json.encoder(separators=(",", ":"))  # upstreams' numbers may be NaN


@bp.post("/chat/completions")
@token_required("chat")
@documented(
    Note(
        Completion,
        body=schemas.CompletionRequest,
        example={"messages": [{"role": "user", "content": "Hello"}]},
        headers=(*OF_CHATS, SESSION),
        answer_headers=(*OF_REPLIES, CHOICES),
        events=(("", CompletionChunk), ("", OpenAIErrorBody), ("", "[DONE]")),
        failures=CHAT_FAILURES,
    )
)
def post_completion() -> ResponseReturnValue:
    """Answer one chat by its deadline, on record, in OpenAI's words."""
    started, request, ours, caller = monotonic(), this_request(), services(), g.caller
    budget = budget_of(request, ours.deadline, ours.drain)
    data = read_plain(request, ours.max_body)
    with seat(budget, priority_of(request, caller)) as place:
        with place.reading(len(data), budget):
            value = parsed(data, schemas.NUL)
            asked, wants_usage = _asked(value, request, caller, len(data))
        del data, value  # nobody needs it while an upstream works
        g.is_on_record = True
        if asked.stream:
            chunks = Chunks(asked, started, with_usage=wants_usage)
            return stream_answer(place, asked, budget, chunks)
        stream = place.open(asked, budget)
    reply = stream.collect()
    log_answer(reply, monotonic() - started + waited(request))
    choices = schemas.choices(reply)
    answer = _envelope(reply, "chat.completion") | {
        "choices": choices,
        "usage": schemas.usage(reply.usage),
    }
    return Response(
        _encode({**answer, **reply.extra}),
        headers={**who_answers(reply), **_fewer(asked, len(choices))},
        content_type="application/json",
    )


@bp.get("/models")
@token_required("chat")
@documented(Note(ModelList))
def get_models() -> ResponseReturnValue:
    """The names that `model` may hold to choose an upstream or a route."""
    names = dict.fromkeys((*services().models, *services().upstreams))
    data = [
        Model(id=name, object="model", created=0, owned_by="gateway") for name in names
    ]
    return json_response(ModelList(object="list", data=data))


def _asked(
    value: Any, request: Request, caller: Caller, size: int
) -> tuple[ChatRequest, bool]:
    """What a body asks, and whether a stream is to tell the tokens spent."""
    body = schemas.CompletionRequest.parse(value)
    asked = body.to_request(
        value,
        session_id=_session_id(body),
        correlation_id=correlation.current.get(),
        caller=caller.name,
        mode=stream_mode(),
        priority=priority_of(request, caller),
        size=size,
    )
    return on_behalf(asked, body.user), body.wants_usage


def _session_id(body: schemas.CompletionRequest) -> str:
    """The first usable one of header, metadata and user; else a new UUID4."""
    metadata: Mapping[str, Any] = body.metadata or {}
    header = this_request().headers.get(SESSION)
    shown = (session_in_headers(), header, metadata.get("session_id"), body.user)
    names = (name for name in shown if isinstance(name, str) and is_name(name))
    return next(names, None) or correlation.new_id()


def _envelope(reply: ChatReply, kind: str) -> dict[str, Any]:
    """What is around the choices; the id leads to the record."""
    return {
        "id": f"chatcmpl-{reply.audit_id}",
        "object": kind,
        "created": int(time()),
        "model": reply.model,
    }


def _fewer(asked: ChatRequest, came: int) -> dict[str, str]:
    """The header that tells of a server which ignored how many answers were wanted."""
    return {CHOICES: str(came)} if came < (asked.extra.get("n") or 1) else {}


class Chunks:
    """The chunks of a streamed completion, ending with `[DONE]` or an error.

    The official client turns an error's chunk into an exception.
    """

    def __init__(self, asked: ChatRequest, started: float, *, with_usage: bool) -> None:
        self._asked = asked
        self._started = started
        self._with_usage = with_usage
        self._envelope: dict[str, Any] = {}
        self._begun: set[int] = set()  # choices whose role has been told
        self._model: str | None = None  # of the last plain chunk
        self._more: TextEvents

    def opening(self, reply: ChatReply) -> bytes:
        """Nothing; but id and time stay the same in all chunks from here."""
        self._envelope = _envelope(reply, "chat.completion.chunk")
        if self._with_usage:
            self._envelope["usage"] = None
        return b""

    def delta(self, delta: Delta, reply: ChatReply) -> bytes:
        """More of the message, with its role in the first chunk of each choice."""
        if delta.choices:
            choices = [self._with_role(c) for c in delta.choices]
            return self._chunk(reply, choices, delta.extra)
        if not delta.text:
            return b""
        if delta.extra or 0 not in self._begun:
            plain = self._with_role(_plain(delta.text))
            return self._chunk(reply, [plain], delta.extra)
        if reply.model != self._model:
            self._model = reply.model
            self._more = TextEvents(self._body(reply, [_plain(TextEvents.HERE)]))
        return self._more(delta.text)

    def done(self, reply: ChatReply) -> bytes:
        """Finish reason, usage if asked for, how it went as a comment, and the end."""
        log_answer(reply, monotonic() - self._started + waited(this_request()))
        endings = list(_endings(reply))
        pieces = [self._chunk(reply, endings, reply.extra)]
        if self._with_usage:
            spent = schemas.usage(reply.usage)
            pieces.append(self._chunk(reply, [], {"usage": spent}))
        timing = f": x-gateway-provider {reply.upstream}\n: {server_timing(reply)}\n\n"
        for name, value in _fewer(self._asked, len(endings)).items():
            timing = f": {name.lower()} {value}\n{timing}"
        return b"".join([*pieces, timing.encode(), b"data: [DONE]\n\n"])

    def error(self, report: CallerError) -> bytes:
        """The chunk after which there is none, and no `[DONE]` either."""
        return event(report.openai())

    def _chunk(
        self,
        reply: ChatReply,
        choices: list[Mapping[str, Any]],
        more: Mapping[str, Any] = NOTHING,
    ) -> bytes:
        return event({**self._body(reply, choices), **more})

    def _body(
        self, reply: ChatReply, choices: list[Mapping[str, Any]]
    ) -> dict[str, Any]:
        model = reply.model or self._asked.model or reply.upstream
        return self._envelope | {"model": model, "choices": choices}

    def _with_role(self, choice: Mapping[str, Any]) -> Mapping[str, Any]:
        """Tell the role once: clients put the pieces of a text together."""
        index, delta = choice.get("index", 0), choice.get("delta") or {}
        told = {k: v for k, v in delta.items() if k != "role"}
        if index not in self._begun:
            self._begun.add(index)
            told = {"role": delta.get("role") or "assistant"} | told
        return {**choice, "delta": told}


def _plain(text: str) -> dict[str, Any]:
    return {
        "index": 0,
        "delta": {"content": text},
        "logprobs": None,
        "finish_reason": None,
    }


def _endings(reply: ChatReply) -> Iterator[Mapping[str, Any]]:
    """The last word on each choice of a streamed reply."""
    ends = reply.choices or ({"index": 0, "finish_reason": reply.finish_reason},)
    for end in ends:
        yield {
            "index": end.get("index", 0),
            "delta": {},
            "logprobs": None,
            "finish_reason": end.get("finish_reason"),
        }
