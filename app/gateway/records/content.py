"""Content: which part of questions and answers is stored.

It is redacted, or only its digest, or nothing, as the operator chooses.
"""

import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NamedTuple

from app.gateway import strict_json
from app.gateway.abilities import CHAT
from app.gateway.chain.big_work import BIG, BigWork, TooLate
from app.gateway.chat import NOTHING, ChatReply, ChatRequest, Message
from app.gateway.records.audit import Intent, new_audit_id
from app.gateway.records.merge_choices import ChoiceMerger
from app.gateway.records.redaction import Redactor
from app.gateway.replay.timeline import Timeline

log = logging.getLogger(__name__)

ENOUGH = 2.0  # seconds, where no caller waits for it
WRITING = 0.5  # seconds between redaction and the last byte of the largest answers
BEGINNING = 16384  # characters that are stored of what is too long for the time left

# Members of what is stored that are no words. They come first, so that a search can
# begin behind them (`reader`). REDACTED is set where anything was taken out.
MANNER, TIMELINE, REDACTED = "manner", "timeline", "redacted"
STOP = "stop"  # the usual finish reason, which goes without saying

_encode = strict_json.encoder(ensure_ascii=False, separators=(",", ":"), default=str)
_encode_ascii = strict_json.encoder(default=str)


# Tells what is decided of a request that has so many seconds left, as JSON.
Decide = Callable[[ChatRequest, float], str | None]


class Content(Enum):
    """The setting for how much of questions and answers is stored."""

    FULL = "full"
    DIGEST = "digest"
    NONE = "none"


class Stored(NamedTuple):
    """JSON text that may be stored; cut if there was no time to redact all of it."""

    text: str
    is_cut: bool = False


class ContentPolicy:
    """Turns requests and replies into what may be stored of them.

    How long that takes is chosen by who sends them, so it is told how many seconds
    there are `within` which to do it, and says what it had to leave out. `key`, or what
    returns it, makes digests useless to whoever has only the database; without one
    there are none. `decide` is `Decisions.of`. Threads may share it.
    """

    def __init__(
        self,
        content: Content,
        redactor: Redactor,
        key: bytes | Callable[[], bytes],
        big_work: BigWork | None = None,
        decide: Decide = lambda _request, _seconds: None,
    ) -> None:
        self._content = content
        self._decide = decide
        self._redactor = redactor
        self._big_work = big_work or BigWork()
        self._key = key if callable(key) else lambda: key
        # What is stored of an id or a model's name, whatever the policy.
        self.name = redactor.name

    def request(self, request: ChatRequest, within: float = ENOUGH) -> Stored:
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
        if request.anthropic:
            said["anthropic"] = request.anthropic
        until = self._redactor.until(within)
        return self._store(said, request.size, until, _manner(request))

    def intent(
        self,
        request: ChatRequest,
        asked: Stored,
        now: float,
        seconds: float | None = None,
    ) -> Intent:
        """The intent of a request that begins now, of which so much is stored.

        `seconds` are those that it has left; None: it was refused, so that nothing was
        decided.
        """
        return Intent(
            id=new_audit_id(now),
            correlation_id=self.name(request.correlation_id),
            session_id=self.name(request.session_id),
            caller=request.caller,
            route=request.route,
            opened_at=now,
            request=asked.text,
            person=request.person and self.name(request.person),
            decision=None if seconds is None else self._decide(request, seconds),
        )

    def reply(
        self,
        reply: ChatReply,
        deltas: ChoiceMerger | None = None,
        size: int = 0,
        within: float = ENOUGH,
        timeline: Timeline | None = None,
    ) -> Stored:
        """What is stored of a reply, whole or as far as it got.

        `deltas` are its deltas, where they were more than text; it came in about so
        many bytes. `timeline` goes with the words, since lengths tell much of them.
        """
        until = self._redactor.until(within)
        said: dict[str, Any] = {"text": reply.text}
        if deltas:
            deltas.add(reply.choices)
            said["choices"] = deltas.choices()
        elif reply.choices:
            said["choices"] = list(reply.choices)
        if reply.extra:
            said["extra"] = reply.extra
        if reply.finish_reason != STOP:
            said["finish_reason"] = reply.finish_reason
        steps = timeline.steps() if timeline else ((), ())
        ours = {TIMELINE: steps} if len(steps[0]) > 1 else NOTHING
        return self._store(said, size, until, ours)

    def _store(
        self, said: Mapping[str, Any], size: int, until: float, ours: Mapping[str, Any]
    ) -> Stored:
        """What may be stored of what was said; `ours`, before it, holds no secret."""
        if self._content is Content.NONE:
            return Stored("{}")
        if self._content is Content.FULL:
            limit = until - min(WRITING, size * 2.5e-7)
            return self._redacted(said, size, limit, ours)
        text = to_json(said).encode()
        key = self._key()
        digest = hmac.digest(key, text, hashlib.sha256).hex() if key else None
        return Stored(to_json({"hmac_sha256": digest, "bytes": len(text)}))

    def _redacted(
        self, said: Mapping[str, Any], size: int, until: float, ours: Mapping[str, Any]
    ) -> Stored:
        """What may be stored; if that cannot be found out, that nothing may."""
        try:
            if size < BIG:
                clean = self._clean(said, until)
            else:
                with self._big_work.take(size, until - self._redactor.until(0.0)):
                    clean = self._clean(said, until)
        except TooLate:
            log.error("There is no time to redact it all; the record is cut")
            return Stored(to_json(self._beginning(said)), is_cut=True)
        except Exception:
            log.exception("Redaction broke; the record holds no content")
            return Stored(to_json({"redaction": "broke"}))
        if clean != said:
            ours = {**ours, REDACTED: True}
        return Stored(to_json({**ours, **clean} if ours else clean))

    def _clean(self, said: Mapping[str, Any], until: float) -> dict[str, Any]:
        """What was said, redacted; the names are ours and hold no secret."""
        redact = self._redactor.value
        return {name: redact(value, until) for name, value in said.items()}

    def _beginning(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """The first words of a reply. One that is cut may have lost its sign."""
        words, *_ = said.get("text", "")[:BEGINNING].rpartition(" ")
        return {"text": self._redactor.text(words), "truncated": True}


def question_of(request: str | None, most: int) -> str | None:
    """The beginning of the last thing asked in a stored request; None if not kept."""
    said = json.loads(request) if request else {}
    turns = said.get("messages", ())  # a message with more than a text has a third part
    users = [content for role, content, *_ in turns if role == "user"]
    return users[-1][:most] if users else None


def _manner(request: ChatRequest) -> Mapping[str, Any]:
    """How a request was asked, as far as its words do not say; for a replay."""
    if request.task == CHAT and not (
        request.stream
        or request.wants_choices
        or request.needs
        or request.wants
        or request.replay
    ):
        return NOTHING
    manner = {
        "stream": request.stream,
        "choices": request.wants_choices,
        "task": "" if request.task == CHAT else request.task,
        "needs": sorted(request.needs),
        "wants": sorted(request.wants),
        "replays": request.replay.source if request.replay else "",
    }
    kept = {name: value for name, value in manner.items() if value}
    return {MANNER: kept} if kept else NOTHING


def _said(message: Message) -> list[Any]:
    said: list[Any] = [message.role, message.content]
    if message.anthropic:
        return [*said, message.raw, message.anthropic]
    return said if message.raw is None else [*said, message.raw]


def to_json(value: object) -> str:
    """Return JSON text that can be stored."""
    # Lone surrogates cannot be stored as UTF-8, so non-ASCII text is only kept
    # as it is where it encodes.
    text = _encode(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return _encode_ascii(value)
    return text
