"""Audited: no answer leaves before its record is committed.

Around all but the measuring and admission. It notes the intent before anything is
asked, and hangs the closing of the record on the reply's ending, where a failure to
commit is a veto: the reply is then not delivered.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic, time

from app.gateway.audit import Closing, Intent, Trail, new_audit_id
from app.gateway.budget import Budget, Clock
from app.gateway.chat import Attempt, ChatReply, ChatRequest
from app.gateway.content import ContentPolicy, Stored, to_json
from app.gateway.errors import (
    AuditUnavailable,
    CallerGone,
    GatewayError,
    NoAnswer,
    Overloaded,
    consequence,
)
from app.gateway.handler import ChatHandler, Outcome, ReplyStream

log = logging.getLogger(__name__)

COMMIT_LIMIT = 2.0  # seconds; a disk that takes longer is down (matrix row 74)
GRACE = 0.2  # a commit may end this much after the deadline, of the 0.25 promised
REDACTION_GRACE = 0.1  # and redaction, before that


class Audited:
    """A handler around the whole gateway that leaves a record of each request.

    With `required` False (break-glass) answers do not wait for their record, which
    is written if and when that is possible. Threads may share it.
    """

    def __init__(
        self,
        inner: ChatHandler,
        trail: Trail,
        policy: ContentPolicy,
        *,
        required: bool = True,
        wall_clock: Callable[[], float] = time,
        clock: Clock = monotonic,
    ) -> None:
        self._inner = inner
        self._trail = trail
        self._policy = policy
        self._required = required
        self._wall_clock = wall_clock
        self._clock = clock

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Note the intent, ask, and close the record when the reply is over.

        Raises AuditUnavailable before anything is asked if the trail is down.
        """
        started = self._clock()
        asked = self._policy.request(request, _time_to_redact(budget))
        intent = self._intent(request, asked)
        self._begin(intent)
        try:
            if asked.is_cut:
                raise NoAnswer("deadline")
            stream = self._inner.open(request, budget)
        except Exception as error:
            self._finish(intent, self._closing_of_error(error, started), budget)
            raise

        def close_record(stream: ReplyStream) -> None:
            within = _time_to_redact(budget)
            said = self._policy.reply(
                stream.reply, stream.said, stream.received, within
            )
            is_late = said.is_cut and stream.outcome is Outcome.COMPLETED
            late = NoAnswer("deadline") if is_late else None
            closing = self._closing(stream, started, said, late)
            stream.annotate(audit_seconds=self._finish(intent, closing, budget))
            if late:
                raise late

        stream.annotate(audit_id=intent.id)
        stream.on_end(close_record)
        return stream

    def turn_away(self, request: ChatRequest, budget: Budget, error: Exception) -> None:
        """Record, without waiting, that a request got no slot."""
        closing = self._closing_of_error(error, budget.since)
        asked = self._policy.request(request, _time_to_redact(budget))
        self._trail.note(self._intent(request, asked), closing)

    def refuse(self, request: ChatRequest, code: str, status: int) -> None:
        """Record, without waiting, that a door turned a request away."""
        intent = self._intent(request, self._policy.request(request))
        closing = Closing(
            outcome="refused",
            code=code,
            status=status,
            duration=0.0,
            closed_at=intent.opened_at,
        )
        self._trail.note(intent, closing)

    def _intent(self, request: ChatRequest, asked: Stored) -> Intent:
        now = self._wall_clock()
        return Intent(
            id=new_audit_id(now),
            correlation_id=self._policy.name(request.correlation_id),
            session_id=self._policy.name(request.session_id),
            caller=request.caller,
            route=request.route,
            opened_at=now,
            request=asked.text,
        )

    def _begin(self, intent: Intent) -> None:
        try:
            self._trail.begin(intent)
        except AuditUnavailable:
            if self._required:
                raise
            log.error("Answering without a record (VX11_AUDIT_MODE=best_effort)")

    def _finish(self, intent: Intent, closing: Closing, budget: Budget) -> float:
        if not self._required:
            self._trail.note(intent, closing)
            return 0.0
        limit = min(COMMIT_LIMIT, budget.remaining() + GRACE)
        return self._trail.finish(intent, closing, limit, partial(_beat, budget))

    def _closing(
        self,
        stream: ReplyStream,
        started: float,
        said: Stored,
        late: GatewayError | None,
    ) -> Closing:
        error = late or stream.error
        outcome = Outcome.FAILED if late else stream.outcome or Outcome.CANCELLED
        return self._closed(
            started,
            outcome=outcome.value,
            code=_code(error or _gone(stream)),
            status=200 if outcome is Outcome.COMPLETED else _status(error),
            reply=stream.reply,
            said=said,
        )

    def _closing_of_error(self, error: Exception, started: float) -> Closing:
        attempts = error.attempts if isinstance(error, GatewayError) else ()
        nothing = ChatReply(text="", upstream="", model="", attempts=attempts)
        return self._closed(
            started,
            outcome=_outcome(error),
            code=_code(error),
            status=_status(error),
            reply=nothing,
            said=self._policy.reply(nothing),
        )

    def _closed(
        self,
        started: float,
        *,
        outcome: str,
        code: str | None,
        status: int,
        reply: ChatReply,
        said: Stored,
    ) -> Closing:
        return Closing(
            outcome=outcome,
            code=code,
            status=status,
            provider=reply.upstream or None,
            model=self._policy.name(reply.model) or None,
            degraded_by=reply.degraded_by,
            reply=said.text,
            attempts=to_json([_drawn(attempt) for attempt in reply.attempts]),
            duration=self._clock() - started,
            closed_at=self._wall_clock(),
            input_tokens=reply.usage.input_tokens,
            output_tokens=reply.usage.output_tokens,
        )


def _drawn(attempt: Attempt) -> dict[str, object]:
    return {
        "upstream": attempt.upstream,
        "fault": attempt.fault,
        "duration": round(attempt.duration, 6),
        "received": attempt.received,
        "status": attempt.status,
        "span": attempt.span,
    }


def _time_to_redact(budget: Budget) -> float:
    return budget.remaining() + REDACTION_GRACE


def _beat(budget: Budget) -> None:
    """Ask the budget's checks, which keep a stream's caller waiting, and no more.

    Whatever they say, the record is committed all the same.
    """
    with suppress(Exception):
        budget.check()


def _code(error: BaseException | None) -> str | None:
    if error is None:
        return None
    return error.code if isinstance(error, GatewayError) else GatewayError.code


def _gone(stream: ReplyStream) -> CallerGone | None:
    """Who closes a reply before its end, and gives no reason, does not want it."""
    return CallerGone() if stream.outcome is Outcome.CANCELLED else None


def _status(error: BaseException | None) -> int:
    if isinstance(error, GatewayError):
        return consequence(error).status
    return 499 if error is None else 500


def _outcome(error: Exception) -> str:
    if isinstance(error, CallerGone):
        return Outcome.CANCELLED.value
    return "refused" if isinstance(error, Overloaded) else Outcome.FAILED.value
