"""Audited: no answer leaves before its record is committed.

Around all but the measuring. It notes the intent before anything is asked, and hangs
the closing of the record on the reply's ending, where a failure to commit is a
veto: the reply is then not delivered.
"""

import hashlib
import hmac
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from enum import Enum
from time import monotonic, time
from typing import Any

from app.gateway import closings, strict_json
from app.gateway.assembly import assembled
from app.gateway.audit import Closing, Intent, Trail, new_audit_id, undelivered
from app.gateway.budget import Budget, Clock
from app.gateway.chat import Attempt, ChatReply, ChatRequest, Message
from app.gateway.errors import (
    AuditUnavailable,
    GatewayError,
    Overloaded,
)
from app.gateway.handler import ChatHandler, ReplyStream
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
        intent = self._begun(request)
        if intent is None:
            return self._inner.open(request, budget)
        try:
            stream = self._inner.open(request, budget)
        except Exception as error:
            self._close_failed(intent, error, started, budget)
            raise

        def close_record(stream: ReplyStream) -> None:
            bare = closings.of_reply(stream, *self._times(started))
            with self._closing(intent, bare):
                closing = self._told(bare, stream.reply, stream.pieces)
                left = budget.stream_remaining()
                took = self._finish(intent, closing, budget, left)
                stream.annotate(audit_seconds=took)

        stream.annotate(audit_id=intent.id)
        stream.on_end(close_record, may_veto=True)
        return stream

    def refuse(self, request: ChatRequest, code: str, status: int) -> None:
        """Record, without waiting, that a door turned a request away."""
        try:
            intent = self._intent(request)
        except Exception:
            log.exception("The record of a refusal broke")
            return
        closing = Closing(
            outcome="refused",
            code=code,
            status=status,
            duration=0.0,
            closed_at=intent.opened_at,
        )
        self._trail.note(intent, closing)

    def _begun(self, request: ChatRequest) -> Intent | None:
        """Note the intent; None only in best effort, if there cannot even be one."""
        intent = None
        try:
            intent = self._intent(request)
            self._trail.begin(intent)
        except Exception as error:
            self._veto(error)
        return intent

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

    def _close_failed(
        self, intent: Intent, error: Exception, started: float, budget: Budget
    ) -> None:
        bare = closings.of_error(error, *self._times(started))
        with self._closing(intent, bare):
            attempts = error.attempts if isinstance(error, GatewayError) else ()
            closing = self._told(bare, ChatReply("", "", "", attempts=attempts))
            if isinstance(error, Overloaded):  # a refusal waits for no disk
                self._trail.note(intent, closing)
            else:
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
        pieces: Sequence[Mapping[str, Any]] = (),
    ) -> Closing:
        """An ending with all that is stored of the reply."""
        return replace(
            bare,
            provider=reply.upstream or None,
            model=self._policy.name(reply.model) or None,
            degraded_by=reply.degraded_by,
            reply=self._policy.reply(reply, pieces),
            attempts=_json([_drawn(attempt) for attempt in reply.attempts]),
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
