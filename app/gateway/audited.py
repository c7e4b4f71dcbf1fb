"""Audited: no answer leaves before its record is committed.

Around all but the measuring and admission. It notes the intent before anything is
asked, and hangs the closing of the record on the reply's ending, where a failure to
commit is a veto: the reply is then not delivered.
"""

import hashlib
import hmac
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from functools import partial
from time import monotonic, time
from typing import Any

from app.gateway import strict_json
from app.gateway.assembly import assembled
from app.gateway.audit import Closing, Intent, Trail, new_audit_id
from app.gateway.budget import Budget, Clock
from app.gateway.chat import Attempt, ChatReply, ChatRequest, Message
from app.gateway.errors import (
    AuditUnavailable,
    CallerGone,
    GatewayError,
    Overloaded,
    consequence,
)
from app.gateway.handler import ChatHandler, Outcome, ReplyStream
from app.gateway.redaction import Redactor

log = logging.getLogger(__name__)

COMMIT_LIMIT = 2.0  # seconds; a disk that takes longer is down (matrix row 74)
GRACE = 0.2  # a commit may end this much after the deadline, of the 0.25 promised


_encode = strict_json.encoder(ensure_ascii=False, separators=(",", ":"), default=str)
_encode_ascii = strict_json.encoder(default=str)


class Content(Enum):
    """How much of what was said is stored."""

    FULL = "full"
    DIGEST = "digest"
    NONE = "none"


class ContentPolicy:
    """Turns requests and replies into what may be stored of them, as JSON text.

    `key`, or what returns it, makes digests useless to whoever has only the
    database; without one there are none. Threads may share it.
    """

    def __init__(
        self, content: Content, redactor: Redactor, key: bytes | Callable[[], bytes]
    ) -> None:
        self._content = content
        self._redactor = redactor
        self._key = key if callable(key) else lambda: key

    def request(self, request: ChatRequest) -> str:
        """What is stored of a request: all that it says, and whom it asks."""
        said: dict[str, Any] = {
            "messages": [_said(message) for message in request.messages],
            "context": request.context,
            "metadata": request.metadata,
        }
        if request.model:
            said["model"] = request.model
        if request.extra:
            said["extra"] = request.extra
        return self._store(said)

    def name(self, name: str) -> str:
        """What is stored of an id or a model's name, whatever the policy."""
        return self._redactor.name(name)

    def reply(self, reply: ChatReply, pieces: Sequence[Mapping[str, Any]] = ()) -> str:
        """What is stored of a reply, whole or as far as it got.

        `pieces` are the choices of its deltas, where they were more than text.
        """
        said: dict[str, Any] = {"text": reply.text}
        if pieces or reply.choices:
            said["choices"] = assembled([*pieces, *reply.choices])
        return self._store(said)

    def _store(self, said: Mapping[str, Any]) -> str:
        if self._content is Content.NONE:
            return "{}"
        if self._content is Content.FULL:
            return _json(self._redacted(said))
        text = _json(said).encode()
        key = self._key()
        digest = hmac.digest(key, text, hashlib.sha256).hex() if key else None
        return _json({"hmac_sha256": digest, "bytes": len(text)})

    def _redacted(self, said: Mapping[str, Any]) -> Any:
        """What may be stored; if that cannot be found out, that nothing may."""
        try:
            # The names are ours and hold no secret.
            return {name: self._redactor.value(value) for name, value in said.items()}
        except Exception:
            log.exception("Redaction broke; the record holds no content")
            return {"redaction": "broke"}


def _said(message: Message) -> list[Any]:
    said: list[Any] = [message.role, message.content]
    return said if message.raw is None else [*said, message.raw]


def _json(value: object) -> str:
    # Lone surrogates cannot be stored as UTF-8, so non-ASCII text is only kept
    # as it is where it encodes.
    text = _encode(value)
    return text if _encodes(text) else _encode_ascii(value)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
        intent = self._intent(request)
        self._begin(intent)
        try:
            stream = self._inner.open(request, budget)
        except Exception as error:
            self._finish(intent, self._closing_of_error(error, started), budget)
            raise

        def close_record(stream: ReplyStream) -> None:
            took = self._finish(intent, self._closing(stream, started), budget)
            stream.annotate(audit_seconds=took)

        stream.annotate(audit_id=intent.id)
        stream.on_end(close_record)
        return stream

    def turn_away(self, request: ChatRequest, budget: Budget, error: Exception) -> None:
        """Record, without waiting, that a request got no slot."""
        closing = self._closing_of_error(error, budget.since)
        self._trail.note(self._intent(request), closing)

    def refuse(self, request: ChatRequest, code: str, status: int) -> None:
        """Record, without waiting, that a door turned a request away."""
        intent = self._intent(request)
        closing = Closing(
            outcome="refused",
            code=code,
            status=status,
            duration=0.0,
            closed_at=intent.opened_at,
        )
        self._trail.note(intent, closing)

    def _intent(self, request: ChatRequest) -> Intent:
        now = self._wall_clock()
        return Intent(
            id=new_audit_id(now),
            correlation_id=self._policy.name(request.correlation_id),
            session_id=self._policy.name(request.session_id),
            caller=request.caller,
            route=request.route,
            opened_at=now,
            request=self._policy.request(request),
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

    def _closing(self, stream: ReplyStream, started: float) -> Closing:
        reply, error = stream.reply, stream.error
        status = 200 if stream.outcome is Outcome.COMPLETED else _status(error)
        return self._closed(
            started,
            outcome=(stream.outcome or Outcome.CANCELLED).value,
            code=_code(error or _gone(stream)),
            status=status,
            reply=reply,
            pieces=stream.pieces,
        )

    def _closing_of_error(self, error: Exception, started: float) -> Closing:
        attempts = error.attempts if isinstance(error, GatewayError) else ()
        return self._closed(
            started,
            outcome=_outcome(error),
            code=_code(error),
            status=_status(error),
            reply=ChatReply(text="", upstream="", model="", attempts=attempts),
        )

    def _closed(
        self,
        started: float,
        *,
        outcome: str,
        code: str | None,
        status: int,
        reply: ChatReply,
        pieces: Sequence[Mapping[str, Any]] = (),
    ) -> Closing:
        return Closing(
            outcome=outcome,
            code=code,
            status=status,
            provider=reply.upstream or None,
            model=self._policy.name(reply.model) or None,
            degraded_by=reply.degraded_by,
            reply=self._policy.reply(reply, pieces),
            attempts=_json([_drawn(attempt) for attempt in reply.attempts]),
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
