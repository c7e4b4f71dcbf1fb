"""What the answers of an OpenAI-speaking upstream say, whole and in chunks.

Shapes are checked where something follows from them; what is for the caller alone
goes through untouched.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.gateway.chat import ChatReply, Delta, Usage
from app.gateway.errors import BadReply

Choice = Mapping[str, Any]

# A choice's members, beside its content, that bring the answer forward; and those
# that only lead to it.
ANSWER = ("tool_calls", "function_call", "refusal", "audio")
USUAL = {"index", "delta", "finish_reason", "logprobs"}
THOUGHT = ("reasoning_content", "reasoning")


def choices_of(value: Mapping[str, Any]) -> tuple[Choice, ...]:
    """The choices of an answer or a chunk; none is fine. Raises BadReply."""
    choices = value.get("choices") or ()
    if not isinstance(choices, Sequence) or not all(
        isinstance(choice, Mapping) and isinstance(choice.get("index", 0), int)
        for choice in choices
    ):
        raise BadReply("schema")
    return tuple(choices)


def part_of(choice: Choice, key: str) -> Mapping[str, Any]:
    """A choice's `message` or `delta`; empty if it has none. Raises BadReply."""
    part = choice.get(key) or {}
    if not isinstance(part, Mapping):
        raise BadReply("schema")
    if not isinstance(part.get("content"), str | None):
        raise BadReply("schema")
    return part


def finish_of(choice: Choice) -> str | None:
    """Why a choice ended, None if it has not. Raises BadReply for a failure."""
    reason = choice.get("finish_reason")
    if not isinstance(reason, str | None):
        raise BadReply("schema")
    if reason == "error":
        raise BadReply("upstream_error")
    return reason or None


def has_any(part: Mapping[str, Any], keys: Sequence[str]) -> bool:
    """Whether one of the members is there and not empty."""
    return any(part.get(key) for key in keys)


def is_answer(part: Mapping[str, Any]) -> bool:
    """Whether a message or delta says anything; white space is not anything."""
    content = part.get("content") or ""
    return bool(content.strip()) or has_any(part, ANSWER)


def is_plain(choices: Sequence[Choice], key: str) -> bool:
    """Whether a role and text are all that there is, of one choice."""
    if len(choices) != 1:
        return not choices
    (choice,) = choices
    part = part_of(choice, key)
    more = any(v for k, v in choice.items() if k not in (key, "finish_reason", "index"))
    return (
        not more
        and not choice.get("index")
        and not any(v for k, v in part.items() if k not in ("role", "content"))
    )


def words_of(choices: Sequence[Choice]) -> str:
    """The text of a chunk that holds nothing but text, as nearly all do; else ""."""
    if len(choices) != 1:
        return ""
    (choice,) = choices
    told = choice.get("index") or choice.get("finish_reason") or choice.get("logprobs")
    delta = choice.get("delta")
    if told or not (choice.keys() <= USUAL and isinstance(delta, dict)):
        return ""
    text = delta.get("content") if len(delta) == 1 else ""
    return text if isinstance(text, str) else ""


def text_of(choices: Sequence[Choice], key: str) -> str:
    """The text of the first choice."""
    texts = (part_of(c, key).get("content") for c in choices if not c.get("index"))
    return next(texts, None) or ""


def delta_of(choices: Sequence[Choice]) -> Delta:
    """What a chunk's choices add to the answer."""
    text = text_of(choices, "delta")
    if is_plain(choices, "delta"):
        return Delta(text)
    return Delta(text, tuple({**c, "finish_reason": None} for c in choices))


def usage_of(value: Mapping[str, Any]) -> Usage | None:
    """The tokens that were counted; None if nothing usable is said."""
    usage = value.get("usage")
    if not isinstance(usage, Mapping):
        return None
    return Usage(
        _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    )


def is_complete(
    reasons: Iterable[str | None], *, answered: bool, thought: bool
) -> bool:
    """Whether what came is an answer, given how its choices finished.

    One without any words is none; unless a filter took them, or the length was used
    up by thinking, which are complete as given.
    """
    known = set(reasons)
    return answered or "content_filter" in known or (thought and "length" in known)


def model_of(value: Mapping[str, Any]) -> str:
    """The model that answered; "" if it is not told."""
    model = value.get("model")
    return model if isinstance(model, str) else ""


def whole_reply(value: Mapping[str, Any], upstream: str, model: str) -> ChatReply:
    """The reply in a whole answer. Raises BadReply if there is none in it."""
    choices = choices_of(value)
    if not choices:
        raise BadReply("schema")
    finish = [finish_of(choice) for choice in choices]
    text = text_of(choices, "message")
    parts = [part_of(choice, "message") for choice in choices]
    answered = any(is_answer(part) for part in parts)
    thought = any(has_any(p, THOUGHT) for p in parts)
    if not is_complete(finish, answered=answered, thought=thought):
        raise BadReply("schema")
    return ChatReply(
        text,
        upstream,
        model_of(value) or model,
        usage=usage_of(value) or Usage(),
        finish_reason=finish[0] or "stop",
        choices=() if is_plain(choices, "message") else choices,
    )


def _count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else None  # type: ignore[return-value]
