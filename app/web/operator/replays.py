"""Replays: a stored answer said again as it came, or its question asked again."""

from collections.abc import Iterator
from time import monotonic

from flask import Blueprint, Response, g, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from app.gateway import correlation
from app.gateway.budget import Budget
from app.gateway.chat import ChatReply, Delta
from app.gateway.errors import AuditUnavailable, Overloaded, ShuttingDown
from app.gateway.handler import ReplyStream
from app.gateway.records.audit import Record
from app.gateway.records.content import STOP
from app.gateway.replay.playing import Played, played
from app.gateway.replay.replayer import Replayed, UnknownUpstream
from app.gateway.replay.stored import NotReplayable, is_redacted
from app.web.chat.sse import TextEvents, event, event_stream
from app.web.openapi.documented import Note, Refusal, documented
from app.web.request.auth import token_required
from app.web.request.body import read_json
from app.web.request.caller import budget_of
from app.web.request.caller_error import CallerError
from app.web.request.context import services, this_request
from app.web.request.errors import InvalidBody, error_response
from app.web.request.json_response import json_response
from app.web.request.readers import reading_stream
from app.web.schemas.events import StreamDelta, StreamError
from app.web.schemas.replays import (
    PlayDone,
    PlayMeta,
    PlayQuery,
    Replay,
    ReplayRequest,
)

bp = Blueprint("replays", __name__, url_prefix="/operator/api")

MOST_BYTES = 16384  # of a body, which holds names alone
NOT_REPLAYABLE = "not_replayable"
REFUSED = Refusal(409, NOT_REPLAYABLE, "it is not kept as it was; the detail says why")
MAY_ACT = Refusal(409, "may_act", "the upstream may act on it; `may_act` allows that")


@bp.post("/replays")
@token_required("replay")
@documented(
    Note(
        Replay,
        body=ReplayRequest,
        example={"record": "0197c2a4d0c57bb18a1f3c5d7e9f0a1b", "upstream": "madre"},
        failures=(AuditUnavailable, Overloaded, ShuttingDown),
        refusals=(REFUSED, MAY_ACT, Refusal(404, "not_found", "no such record")),
    )
)
def post_replay() -> ResponseReturnValue:
    """Ask again what is on record, and compare; 503 while users' chats wait.

    It is on record as a replay, and no part of users' numbers, nor evidence for a
    circuit. Whoever may do this is shown the words of the records that it names.
    """
    asked = ReplayRequest.parse(read_json(this_request(), MOST_BYTES))
    ours = services()
    before = ours.records.get(asked.record)
    if ours.replayer is None or before is None:
        raise NotFound
    budget = budget_of(this_request(), ours.deadline, ours.drain)
    try:
        replayed = ours.replayer.ask(
            before,
            asked.change(),
            g.caller.name,
            budget.streaming(ours.stream_deadline),
        )
    except UnknownUpstream:
        raise InvalidBody({"upstream": "is none of the configured ones"}) from None
    return json_response(_compared(before, replayed))


def _compared(before: Record, replayed: Replayed) -> Replay:
    # Seldom asked for, so that a worker does without its memory until then.
    from app.gateway.replay.comparison import compared  # noqa: PLC0415

    found = compared(before, replayed.record)
    return Replay.of(found, replayed.upstream, is_redacted=is_redacted(before))


@bp.get("/records/<any_id>/stream")
@token_required("audit")
@documented(
    Note(
        "text/event-stream",
        query=PlayQuery,
        path={"any_id": "The record's own id, or a correlation id."},
        events=(
            ("meta", PlayMeta),
            ("delta", StreamDelta),
            ("done", PlayDone),
            ("error", StreamError),
        ),
        failures=(AuditUnavailable, Overloaded),
        refusals=(REFUSED, Refusal(404, "not_found", "no such record")),
    )
)
def get_play(any_id: str) -> ResponseReturnValue:
    """Say a stored answer again as it came, word by word; nobody is asked.

    It leaves no record. A worker plays one at a time.
    """
    asked = PlayQuery.parse(request.args.to_dict(flat=False))
    ours = services()
    with reading_stream() as leave:
        record = ours.records.get(any_id)
        if record is None:
            raise NotFound
        play = played(record)
        budget = budget_of(this_request(), ours.stream_deadline, ours.drain)
        response = event_stream(
            lambda inner: _reply(record, play, asked.speed, inner),
            budget,
            PlayEvents(record, play),
        )
        g.stream.on_end(lambda _: leave())
    return response


@bp.errorhandler(NotReplayable)
def _refused(error: NotReplayable) -> Response:
    code = MAY_ACT.code if error.reason == MAY_ACT.code else NOT_REPLAYABLE
    return error_response(409, code, str(error))


def _reply(record: Record, play: Played, speed: float, budget: Budget) -> ReplyStream:
    reply = ChatReply("", record.provider or "", record.model or "")
    return ReplyStream(_paced(play, speed, budget), reply)


def _paced(play: Played, speed: float, budget: Budget) -> Iterator[Delta]:
    """The pieces, each at its time since the beginning, so that no delay adds up."""
    due = monotonic()
    for step in play.steps:
        due += step.wait / speed if speed else 0.0
        budget.rest(due - monotonic())
        yield Delta(step.text)


_delta = TextEvents({"text": TextEvents.HERE}, "delta")


class PlayEvents:
    """The events of a play: meta, delta, then done, or error where it is cut short."""

    def __init__(self, record: Record, play: Played) -> None:
        self._record = record
        self._play = play

    def opening(self, reply: ChatReply) -> bytes:  # noqa: ARG002  # a port
        """Whose answer it is."""
        record, play = self._record, self._play
        meta = PlayMeta(
            record=record.id,
            outcome=record.outcome or "open",
            provider=record.provider,
            model=record.model,
            is_streamed=play.is_streamed,
            is_exact=play.is_exact,
            seconds=play.seconds,
        )
        return event(meta.model_dump(), "meta")

    def delta(self, delta: Delta, reply: ChatReply) -> bytes:  # noqa: ARG002  # a port
        """Some more text."""
        return _delta(delta.text) if delta.text else b""

    def done(self, reply: ChatReply) -> bytes:  # noqa: ARG002  # a port
        """How it had ended, and all of it that was no text."""
        record, said = self._record, self._play.said
        is_whole = record.outcome == "completed"
        done = PlayDone(
            outcome=record.outcome or "open",
            code=record.code,
            finish_reason=said.get("finish_reason", STOP) if is_whole else None,
            choices=said.get("choices") or [],
            input_tokens=record.input_tokens,
            output_tokens=record.output_tokens,
        )
        return event(done.model_dump(), "done")

    def error(self, report: CallerError) -> bytes:
        """Why there is no more of it."""
        error = StreamError(
            code=report.code,
            detail=report.detail,
            correlation_id=correlation.current.get(),
            retry_after=report.retry_after,
        )
        return event(error.model_dump(), "error")
