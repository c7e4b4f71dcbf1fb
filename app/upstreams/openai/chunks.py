"""What the choices of an OpenAI-speaking upstream say, whole and in chunks.

Shapes are checked where something follows from them, and brought into the one that
official clients read where servers have others; what is for the caller alone goes
through untouched.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from pydantic_core import from_json

from app.gateway.blank import is_blank
from app.gateway.chat import NOTHING, THOUGHTS, ChatReply, Delta, Usage
from app.gateway.errors import BadReply, ContentFiltered
from app.gateway.strict_json import holds_more_values
from app.upstreams.openai.contents import PARTS, with_text
from app.upstreams.openai.envelope import OURS, extra_of, model_of, usage_of
from app.upstreams.openai.errors.reading import NO_ECHO, Echo
from app.upstreams.openai.finish_reasons import is_end, reason_of
from app.upstreams.openai.tool_calls import CALLS, MOST_CALLS, ToolCalls

Choice = Mapping[str, Any]

MOST_VALUES = 30_000  # in one event; a token with its probabilities has 200

# A choice's members, beside its content, that bring the answer forward; and those
# that only lead to it.
ANSWER = (*CALLS, "refusal", "audio", "images", PARTS)
USUAL = {"index", "delta", "finish_reason", "logprobs"}

# What is there for any tool call, whatever it says.
LABELS = frozenset({"index", "type", "format"})
# What a message without a finish reason may hold and still be taken for whole.
PROSE = frozenset({"role", "content", "refusal", *THOUGHTS})

MOST_CHOICES = 128  # as many as `n` may ask for

# Where a chunk without choices would have words, if it had any.
WORDS = ("delta", "message", "content", "text", "response", "output")
CHUNK = "chat.completion.chunk"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller can be told of an answer, and what he asked for.

    With `as_text` he is told text alone. `is_text` is for the answer to a text that is
    no conversation. `choices` is how many he wants. `may_be_empty`
    are the finish reasons with which an answer is as he wished without a word. One that
    `is_begun` may have been all that there was to say. `echo` is what an error may
    repeat of his request.
    """

    as_text: bool = False
    is_text: bool = False
    choices: int = 1
    may_be_empty: frozenset[str] = frozenset()
    is_begun: bool = False
    echo: Echo = NO_ECHO


ANYTHING = Wanted()
ALL_SAID = frozenset({"stop", "length"})  # how an answer ends that needs no more words


def parsed(data: bytes, otherwise: Callable[[bytes], object]) -> object:
    """The JSON value of an event's data; if it is none, what `otherwise` makes of it.

    Raises BadReply for one of more than MOST_VALUES.
    """
    if holds_more_values(data, MOST_VALUES):
        raise BadReply("too_large")
    try:
        return from_json(data)
    except ValueError:
        return otherwise(data)


def is_chunk(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether an event is a part of a streamed answer, by its outer shape."""
    if not isinstance(value, dict):
        return False
    if "choices" in value or isinstance(value.get("usage"), Mapping):
        return True
    return value.get("object") == CHUNK and not any(map(value.get, WORDS))


def is_bare(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether an event has nothing of note around its choices."""
    return (
        isinstance(value, dict)
        and value.keys() <= OURS
        and value.get("object", CHUNK) == CHUNK
        and not (value.get("error") or value.get("usage"))
    )


def choices_of(value: Mapping[str, Any], key: str) -> tuple[Choice, ...]:
    """The choices of an answer or a chunk, with a `message` or `delta`; may be none.

    Each has a number, and a text as its content. Raises BadReply. Their number is
    bounded as that of those that can be asked for, and so is that of tool calls: more
    of them are no answer to anything.
    """
    choices = value.get("choices") or ()
    if not isinstance(choices, Sequence):
        raise BadReply("schema")
    if len(choices) > MOST_CHOICES:
        raise BadReply("too_large")
    found = tuple(_numbered(choice, place, key) for place, choice in enumerate(choices))
    if any(map(_is_beyond, found)):
        raise BadReply("too_large")
    return found


def _numbered(choice: Any, place: int, key: str) -> Choice:
    if not isinstance(choice, Mapping):
        raise BadReply("schema")
    index, part = choice.get("index"), choice.get(key)
    number = place if index is None else index
    if not isinstance(number, int) or not isinstance(part, Mapping | None):
        raise BadReply("schema")
    content = part and with_text(part)
    if number is index and content is part:
        return choice
    return {**choice, "index": number, **({} if part is None else {key: content})}


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


def words_of(value: Mapping[str, Any]) -> str:
    """The text of a chunk that holds nothing but text, as nearly all do; else ""."""
    choices = value.get("choices")
    if not isinstance(choices, list) or len(choices) != 1:
        return ""
    (choice,) = choices
    if not isinstance(choice, dict):
        return ""
    more = choice.get("index") or choice.get("finish_reason") or choice.get("logprobs")
    delta = choice.get("delta")
    if more or not (choice.keys() <= USUAL and isinstance(delta, dict)):
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


def as_deltas(choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """The first choices of a stream; an answer that is whole in one event as deltas."""
    return tuple(map(_as_delta, choices))


def _as_delta(choice: Choice) -> Choice:
    message = choice.get("message")
    if choice.get("delta") or not (message and isinstance(message, Mapping)):
        return choice
    if not is_end(finish_of(choice)):  # there is more to come, or all of it again
        return choice
    rest = {name: value for name, value in choice.items() if name != "message"}
    return {**rest, "delta": with_text(message)}


def _is_elsewhere(choice: Choice) -> bool:
    """Whether a chunk's words are where only other kinds of answers have them."""
    return "delta" not in choice and bool(choice.get("message") or choice.get("text"))


def is_whole(reasons: Collection[str | None], *, is_ended: bool) -> bool:
    """Whether all choices of an answer that is over came to their end.

    A finish reason ends a choice. Where the server only says that it is done, after
    nothing but prose (`is_ended`), that ends the one choice; never a tool call, nor a
    choice beside others. Words that we do not know are no finish reasons.
    """
    return (is_ended and len(reasons) <= 1) or bool(
        reasons and all(map(is_end, reasons))
    )


def require_whole_calls(
    calls: Mapping[int, ToolCalls], reasons: Mapping[int, str | None]
) -> None:
    """Return if no choice ended in the midst of a tool call; raises BadReply."""
    if not all(made.are_whole(reasons.get(index)) for index, made in calls.items()):
        raise BadReply("bad_tool_call")


def require_answer(
    reasons: Iterable[str | None], wanted: Wanted, *, answered: bool, thought: bool
) -> None:
    """Return if what came is an answer, given how its choices finished.

    One without any words is none, unless a filter took them, the request made it so, or
    words were there before. Thoughts alone are an answer if they ended properly. Where
    text alone is wanted there is nothing else to give: raises ContentFiltered for a
    filter and BadReply for all else.
    """
    ends = set(filter(is_end, reasons))
    if answered or (wanted.is_begun and ends & ALL_SAID):
        return
    if wanted.as_text and "content_filter" in ends:
        raise ContentFiltered("content_filter")
    fine = ends if thought else ends & {"content_filter", *wanted.may_be_empty}
    if wanted.as_text or not fine:
        raise BadReply("empty")


def whole_reply(
    value: Mapping[str, Any], upstream: str, model: str, wanted: Wanted
) -> ChatReply:
    """The reply in a whole answer. Raises BadReply if there is none in it."""
    choices = choices_of(value, "message")
    reasons = [finish_of(choice) for choice in choices]
    text = text_of(choices, "message", as_text=wanted.as_text)
    parts = [part_of(choice, "message") for choice in choices]
    answered = not is_blank(text) if wanted.as_text else any(map(is_answer, parts))
    thought = any(has_any(part, THOUGHTS) for part in parts)
    require_answer(reasons, wanted, answered=answered, thought=thought)
    if not is_whole(reasons, is_ended=all(map(is_prose, parts))):
        raise BadReply("truncated")
    choices, reasons = _with_calls(choices, reasons)
    return ChatReply(
        text,
        upstream,
        model_of(value) or model,
        usage=usage_of(value) or Usage(),
        finish_reason=reasons[0] or "stop",
        choices=() if is_plain(choices, "message") else choices,
        extra=extra_of(value),
    )


def _with_calls(
    choices: Sequence[Choice], reasons: Sequence[str | None]
) -> tuple[tuple[Choice, ...], list[str | None]]:
    """The choices with their calls, and how they ended, in OpenAI's words.

    Raises BadReply for half a call.
    """
    calls = {place: ToolCalls() for place in range(len(choices))}
    with_calls = [
        {**choice, "message": calls[place].of_message(part_of(choice, "message"))}
        for place, choice in enumerate(choices)
    ]
    require_whole_calls(calls, dict(enumerate(reasons)))
    ends = [calls[place].ending(reason) for place, reason in enumerate(reasons)]
    pairs = zip(with_calls, ends, strict=True)
    return tuple({**choice, "finish_reason": end} for choice, end in pairs), ends
