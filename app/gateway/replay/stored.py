"""Stored: a record as the request that it was, where it still says all of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.gateway.abilities import CHAT
from app.gateway.chat import NOTHING, ChatRequest, Message, Priority
from app.gateway.records.audit import Record
from app.gateway.records.content import MANNER, REDACTED
from app.gateway.replay.origin import REPLAY, Replay

TAKEN_OUT = "[redacted"  # how each place begins where something was taken out

REASONS = {
    "no_chat": "this is the record of no chat",
    "open": "this chat is still under way",
    "erased": "its words were erased",
    "no_answer": "nothing was said in answer",
    "digest": "only a digest of its words was kept",
    "cut": "there was no time to keep all of its words",
    "not_kept": "its words were not kept",
    "redacted": "its words were redacted before they were kept",
    "nobody": "no upstream was asked at the time; name one",
    "gone": "the upstream that was asked is not configured any more; name one",
    "may_act": "this upstream may act on what it is asked; say that it may act again",
}


class NotReplayable(Exception):
    """A record cannot be said or asked again. `reason` is one of REASONS.

    `places` counts where words were redacted.
    """

    def __init__(self, reason: str, places: int = 0) -> None:
        where = f" in {places} place{'' if places == 1 else 's'}" if places else ""
        super().__init__(f"{REASONS[reason]}{where}")
        self.reason = reason
        self.places = places


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be different from the first time; None is the same as then.

    `with_placeholders`: what was redacted is asked with what stands in its place.
    `may_act`: an upstream that acts on what it is asked may do so again.
    """

    upstream: str | None = None
    model: str | None = None
    temperature: float | None = None
    with_placeholders: bool = False
    may_act: bool = False


def words_in(words: str | None) -> Mapping[str, Any]:
    """What a record has in place of a question or an answer, if these are its words.

    Raises NotReplayable.
    """
    if words is None:
        raise NotReplayable("erased")
    said = json.loads(words)
    if "hmac_sha256" in said:
        raise NotReplayable("digest")
    if said.get("truncated"):
        raise NotReplayable("cut")
    if "redaction" in said or not said:
        raise NotReplayable("not_kept")
    return dict(said)


def require_chat(record: Record) -> None:
    """Raise NotReplayable for the record of an event, or of a chat under way."""
    if record.outcome is None:
        raise NotReplayable("open")
    if record.outcome == "event" or record.corrects:
        raise NotReplayable("no_chat")


def is_redacted(record: Record) -> bool:
    """Whether something was taken out of the question before it was kept."""
    said = json.loads(record.request or "{}")
    return bool(said.get(REDACTED))


def request_of(
    record: Record, change: Change, *, upstream: str, caller: str, correlation_id: str
) -> ChatRequest:
    """The request of a record, to be asked again of that upstream alone.

    It has a session of its own, so that no upstream takes it for the next word of the
    old one. Raises NotReplayable.
    """
    require_chat(record)
    said = words_in(record.request)
    turns, extra = said.get("messages"), said.get("extra", NOTHING)
    if not (turns or extra):
        raise NotReplayable("not_kept")
    if said.get(REDACTED) and not change.with_placeholders:
        raise NotReplayable("redacted", (record.request or "").count(TAKEN_OUT))
    if change.temperature is not None:
        extra = {**extra, "temperature": change.temperature}
    manner = said.get(MANNER, NOTHING)
    return ChatRequest(
        messages=tuple(_message(*turn) for turn in turns or ()),
        session_id=f"replay-{correlation_id}",
        correlation_id=correlation_id,
        caller=caller,
        context=said.get("context", NOTHING),
        metadata=said.get("metadata", NOTHING),
        priority=Priority.LOW,
        stream=bool(manner.get("stream")),
        model=change.model or said.get("model"),
        extra=extra,
        anthropic=said.get("anthropic", NOTHING),
        needs=frozenset(manner.get("needs", ())),
        wants=frozenset(manner.get("wants", ())),
        wants_choices=bool(manner.get("choices")),
        route=REPLAY,
        size=len(record.request or ""),
        task=manner.get("task", CHAT),
        replay=Replay(record.id, upstream),
    )


def _message(
    role: str,
    content: str,
    raw: Mapping[str, Any] | None = None,
    anthropic: Mapping[str, Any] = NOTHING,
) -> Message:
    return Message(role, content, raw, anthropic)
