"""Audited: no answer leaves before its record is committed.

Around all but the measuring and admission. It notes the intent before anything is
asked, and hangs the closing of the record on the reply's ending, where a failure to
commit is a veto: the reply is then not delivered.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic, time

from app.gateway.access.tally import Later, by_timer
from app.gateway.budget import Budget, Clock
from app.gateway.chat import Attempt, ChatReply, ChatRequest, ReplyFacts, Usage
from app.gateway.errors import AuditUnavailable, GatewayError, NoAnswer
from app.gateway.handler import ChatHandler, Outcome, ReplyStream
from app.gateway.records import closings
from app.gateway.records.audit import Closing, Intent, Trail, undelivered
from app.gateway.records.content import ContentPolicy, Stored, to_json
from app.gateway.records.refusals import Refusals
from app.gateway.replay.timeline import Timeline

log = logging.getLogger(__name__)

# Seconds; a disk that takes longer is down. A stall of up to REFUSE_AFTER
# (storage/audit/incidents), which is sat out, ends before.
COMMIT_LIMIT = 5.0
GRACE = 0.2  # a commit may end this much after the deadline, of the 0.25 promised
REDACTION_GRACE = 0.1  # and redaction, before that


class Audited:
    """A handler around the whole gateway that commits a record of each request.

    With `required` False (break-glass) answers do not wait for their record, which
    is written if and when that is possible. What is refused to a caller over and over
    is on record once a minute, and then once more with how often it was. Threads may
    share it.
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
        later: Later = by_timer,
    ) -> None:
        self._inner = inner
        self._trail = trail
        self._policy = policy
        self._required = required
        self._wall_clock = wall_clock
        self._clock = clock
        self._refusals = Refusals(trail, policy, wall_clock, later)

    def close(self) -> None:
        """Record what was refused and is not on record yet."""
        self._refusals.close()

    def open(self, request: ChatRequest, budget: Budget) -> ReplyStream:
        """Note the intent, ask, and close the record when the reply is over.

        Raises AuditUnavailable before anything is asked if the trail is down.
        """
        started = self._clock()
        within = budget.remaining() + REDACTION_GRACE
        intent, is_cut = self._begun(request, within)
        if intent is None:
            return self._inner.open(request, budget)
        try:
            if is_cut:
                raise NoAnswer("deadline")
            stream = self._inner.open(request, budget)
        except Exception as error:
            self._close_failed(intent, error, started, budget)
            raise
        stream.learn(ReplyFacts(audit_id=intent.id))
        if request.stream:
            stream.timeline = Timeline(started, self._clock)
        stream.on_end(
            lambda stream: self._close(intent, stream, started, budget), may_veto=True
        )
        return stream

    def turn_away(self, request: ChatRequest, budget: Budget, error: Exception) -> None:
        """Record, without waiting, that a request got no slot."""
        closing = closings.of_error(error, *self._times(budget.since))
        self._refusals.note(request, closing)

    def refuse(self, request: ChatRequest, code: str, status: int) -> None:
        """Record, without waiting, that a door turned a request away."""
        closing = Closing(
            outcome="refused",
            code=code,
            status=status,
            duration=0.0,
            closed_at=self._wall_clock(),
        )
        self._refusals.note(request, closing)

    def _begun(self, request: ChatRequest, within: float) -> tuple[Intent | None, bool]:
        """Note the intent, and tell whether there was no time for all of it.

        It is None only in best effort, if there cannot even be one.
        """
        intent, is_cut = None, False
        try:
            asked = self._policy.request(request, within)
            is_cut = asked.is_cut
            left, now = within - REDACTION_GRACE, self._wall_clock()
            intent = self._policy.intent(request, asked, now, left)
            self._trail.begin(intent)
        except Exception as error:
            self._veto(error)
        return intent, is_cut

    def _close(
        self, intent: Intent, stream: ReplyStream, started: float, budget: Budget
    ) -> None:
        """Close the record of a reply; an answer that it cannot hold is too late."""
        late: NoAnswer | None = None
        bare = closings.of_reply(stream, *self._times(started))
        left = budget.stream_remaining()
        with self._closing(intent, bare):
            reply, within = stream.reply, left + REDACTION_GRACE
            said = self._policy.reply(
                reply, stream.said, stream.received, within, stream.timeline
            )
            if said.is_cut and stream.outcome is Outcome.COMPLETED:
                late = NoAnswer("deadline")
                bare = closings.of_error(late, *self._times(started))
            closing = self._told(bare, reply, said)
            if bare.outcome == Outcome.COMPLETED.value:
                closing = closing._replace(kept=reply.kept)
            took = self._finish(intent, closing, budget, budget.stream_remaining())
            stream.learn(ReplyFacts(audit_seconds=took))
        if late is not None:
            raise late

    def _close_failed(
        self, intent: Intent, error: Exception, started: float, budget: Budget
    ) -> None:
        bare = closings.of_error(error, *self._times(started))
        with self._closing(intent, bare):
            attempts = error.attempts if isinstance(error, GatewayError) else ()
            nothing = ChatReply("", "", "", attempts=attempts)
            closing = self._told(bare, nothing, self._policy.reply(nothing))
            self._finish(intent, closing, budget, budget.remaining())

    @contextmanager
    def _closing(self, intent: Intent, bare: Closing) -> Iterator[None]:
        """Turn whatever breaks in here into a veto.

        The chat then ends on record without words, instead of staying open.
        """
        try:
            yield
        except Exception as error:
            if not isinstance(error, AuditUnavailable):
                ending = undelivered(bare) if self._required else bare
                with suppress(Exception):  # the veto matters more
                    self._trail.note(intent, ending)
            self._veto(error)

    def _veto(self, error: Exception) -> None:
        """Raise AuditUnavailable; in best effort the answer goes out all the same."""
        if not isinstance(error, AuditUnavailable):
            log.error("The record of a chat broke", exc_info=error)
            error = AuditUnavailable("internal_error")
        if self._required:
            raise error
        log.error("Answering without a record (VX11_AUDIT_MODE=best_effort)")

    def _finish(
        self, intent: Intent, closing: Closing, budget: Budget, left: float
    ) -> float:
        if not self._required:
            self._trail.note(intent, closing)
            return 0.0
        limit = min(COMMIT_LIMIT, left + GRACE)
        return self._trail.finish(intent, closing, limit, budget.check)

    def _times(self, started: float) -> tuple[float, float]:
        """For how many seconds a chat went on, and the Unix time of its end."""
        return self._clock() - started, self._wall_clock()

    def _told(
        self,
        bare: Closing,
        reply: ChatReply,
        said: Stored,
    ) -> Closing:
        """An ending with all that is stored of the reply; a repeated one is free."""
        spent = Usage() if reply.reuse else reply.usage
        by, source = reply.reuse or (None, None)
        return bare._replace(
            provider=reply.upstream or None,
            model=self._policy.name(reply.model) or None,
            degraded_by=None if reply.reuse else reply.degraded_by,
            reply=said.text,
            attempts=to_json([_drawn(attempt) for attempt in reply.attempts]),
            input_tokens=spent.input_tokens,
            output_tokens=spent.output_tokens,
            source=source,
            reuse=by,
        )


def _drawn(attempt: Attempt) -> dict[str, object]:
    drawn: dict[str, object] = {
        "upstream": attempt.upstream,
        "fault": attempt.fault,
        "duration": round(attempt.duration, 6),
        "received": attempt.received,
        "status": attempt.status,
        "span": attempt.span,
    }
    if attempt.from_character is not None:
        drawn["from_character"] = attempt.from_character
    return drawn
