"""What the answers of an OpenAI-speaking upstream say, whole and in chunks.

Shapes are checked where something follows from them; what is for the caller alone
goes through untouched.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from app.gateway.chat import NOTHING, ChatReply, Delta, Usage, is_blank
from app.gateway.errors import BadReply, ContentFiltered
from app.upstreams.openai_reasons import is_end, reason_of
from app.upstreams.replies import model_name

Choice = Mapping[str, Any]

# A choice's members, beside its content, that bring the answer forward; and those
# that only lead to it.
ANSWER = ("tool_calls", "function_call", "refusal", "audio")
USUAL = {"index", "delta", "finish_reason", "logprobs"}
THOUGHT = ("reasoning_content", "reasoning")

# What is there for any tool call, whatever it says.
LABELS = frozenset({"index", "type", "format"})
# What a message without a finish reason may hold and still be taken for whole.
PROSE = frozenset({"role", "content", "refusal", *THOUGHT})

MOST_CHOICES = 128  # as many as `n` may ask for
MOST_CALLS = 1024  # tool calls of one choice; models make a dozen
MOST_TOKENS = 2**63  # what a record can hold

DETAILS = ("prompt_tokens_details", "completion_tokens_details")


def is_chunk(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether an event is a part of a streamed answer, by its outer shape."""
    return isinstance(value, dict) and (
        "choices" in value or isinstance(value.get("usage"), Mapping)
    )


def choices_of(value: Mapping[str, Any]) -> tuple[Choice, ...]:
    """The choices of an answer or a chunk; none is fine. Raises BadReply.

    Their number is bounded as that of those that can be asked for, and so is that of
    tool calls: more of them are no answer to anything.
    """
    choices = value.get("choices") or ()
    if not isinstance(choices, Sequence) or not all(
        isinstance(choice, Mapping) and isinstance(choice.get("index", 0), int)
        for choice in choices
    ):
        raise BadReply("schema")
    if len(choices) > MOST_CHOICES or any(map(_is_beyond, choices)):
        raise BadReply("too_large")
    return tuple(choices)


def _is_beyond(choice: Choice) -> bool:
    """Whether its own number, or that of one of its tool calls, is too large."""
    if not 0 <= choice.get("index", 0) < MOST_CHOICES:
        return True
    part = choice.get("delta") or choice.get("message")
    calls = part.get("tool_calls") if isinstance(part, Mapping) else None
    if not (calls and isinstance(calls, list)):
        return False
    numbers = (c.get("index") for c in calls if isinstance(c, Mapping))
    return len(calls) > MOST_CALLS or any(
        isinstance(number, int) and number >= MOST_CALLS for number in numbers
    )


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
    if choice.get("error"):
        raise BadReply("upstream_error")
    reason = choice.get("finish_reason")
    if not isinstance(reason, str | None):
        raise BadReply("schema")
    return reason_of(reason)


def has_any(part: Mapping[str, Any], keys: Sequence[str]) -> bool:
    """Whether one of the members is there and says anything."""
    return any(_says(part[key]) for key in keys if key in part)


def _says(value: object) -> bool:
    """Whether there is a word in it: an id, a name, arguments or plain text."""
    if isinstance(value, str):
        return not is_blank(value)
    if isinstance(value, Mapping):
        return any(_says(member) for k, member in value.items() if k not in LABELS)
    return isinstance(value, list) and any(map(_says, value))


def is_answer(part: Mapping[str, Any]) -> bool:
    """Whether a message or delta says anything; blank text is not anything."""
    return not is_blank(part.get("content") or "") or has_any(part, ANSWER)


def is_prose(part: Mapping[str, Any]) -> bool:
    """Whether a message or delta holds nothing but text and thoughts."""
    return not any(value for key, value in part.items() if key not in PROSE)


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


def text_of(choices: Sequence[Choice], key: str, *, as_text: bool = False) -> str:
    """The text of the first choice.

    With `as_text` it is that of its refusal, where the model itself will not answer.
    """
    parts = (part_of(choice, key) for choice in choices if not choice.get("index"))
    part = next(parts, NOTHING)
    text = part.get("content") or ""
    refusal = part.get("refusal") if as_text and is_blank(text) else None
    return refusal if isinstance(refusal, str) else text


def delta_of(choices: Sequence[Choice], *, as_text: bool = False) -> Delta:
    """What a chunk's choices add to the answer. Raises BadReply."""
    if any(_is_elsewhere(choice) for choice in choices):
        raise BadReply("schema")
    text = text_of(choices, "delta", as_text=as_text)
    if is_plain(choices, "delta"):
        return Delta(text)
    return Delta(text, tuple({**c, "finish_reason": None} for c in choices))


def _is_elsewhere(choice: Choice) -> bool:
    """Whether a chunk's words are where only other kinds of answers have them."""
    return "delta" not in choice and bool(choice.get("message") or choice.get("text"))


def usage_of(value: Mapping[str, Any]) -> Usage | None:
    """The tokens that were counted; None if nothing usable is said."""
    usage = value.get("usage")
    if not isinstance(usage, Mapping):
        return None
    return Usage(
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        _details(usage),
    )


def _details(usage: Mapping[str, Any]) -> Mapping[str, Mapping[str, int]]:
    """The counts of kinds of tokens, such as cached ones and those of thoughts."""
    told = {key: usage[key] for key in DETAILS if isinstance(usage.get(key), Mapping)}
    return {
        key: {name: n for name, n in counts.items() if _count(n) is not None}
        for key, counts in told.items()
    } or NOTHING


def _count(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value < MOST_TOKENS else None


def is_whole(
    reasons: Iterable[str | None], *, expected: int, is_ended: bool, is_prose: bool
) -> bool:
    """Whether as many choices as expected came to their end.

    A finish reason ends a choice. Where the server only says that it is done
    (`is_ended`), that ends the one choice of an answer in prose; never a tool call,
    nor a choice beside others. Words that we do not know are no finish reasons.
    """
    known = list(reasons)
    if len(known) >= expected and all(map(is_end, known)):
        return True
    return is_ended and is_prose and expected == 1 and len(known) <= 1


def require_answer(
    reasons: Iterable[str | None], *, answered: bool, thought: bool, as_text: bool
) -> None:
    """Return if what came is an answer, given how its choices finished.

    One without any words is none; unless a filter took them, or the length was used
    up by thinking, which are complete as given. With `as_text` there is nothing else
    to give: raises ContentFiltered for the one and BadReply for all else.
    """
    if answered:
        return
    known = set(reasons)
    if "content_filter" in known:
        if as_text:
            raise ContentFiltered("content_filter")
    elif as_text or not (thought and "length" in known):
        raise BadReply("schema")


def model_of(value: Mapping[str, Any]) -> str:
    """The model that answered; "" if it is not told, or not in a usable way."""
    model = value.get("model")
    return model_name(model) if isinstance(model, str) else ""


def whole_reply(
    value: Mapping[str, Any], upstream: str, model: str, *, as_text: bool
) -> ChatReply:
    """The reply in a whole answer. Raises BadReply if there is none in it.

    With `as_text` the caller is told its text alone, so there must be some.
    """
    choices = choices_of(value)
    reasons = [finish_of(choice) for choice in choices]
    text = text_of(choices, "message", as_text=as_text)
    parts = [part_of(choice, "message") for choice in choices]
    answered = not is_blank(text) if as_text else any(map(is_answer, parts))
    thought = any(has_any(part, THOUGHT) for part in parts)
    require_answer(reasons, answered=answered, thought=thought, as_text=as_text)
    prose = all(map(is_prose, parts))
    if not is_whole(reasons, expected=1, is_ended=True, is_prose=prose):
        raise BadReply("truncated")
    return ChatReply(
        text,
        upstream,
        model_of(value) or model,
        usage=usage_of(value) or Usage(),
        finish_reason=reasons[0] or "stop",
        choices=() if is_plain(choices, "message") else _told(choices, reasons),
    )


def _told(
    choices: Sequence[Choice], reasons: Sequence[str | None]
) -> tuple[Choice, ...]:
    """The choices as they came, but ending in OpenAI's words."""
    pairs = zip(choices, reasons, strict=True)
    return tuple({**choice, "finish_reason": reason} for choice, reason in pairs)
