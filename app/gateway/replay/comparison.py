"""Comparison: two answers to one question, as their records tell them."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from app.gateway.records.audit import Record
from app.gateway.records.content import STOP
from app.gateway.replay.stored import NotReplayable, words_in

# Words that differ in more than so many places are not told one by one: the time for
# that grows faster than their number, and an upstream chooses both.
MOST_WORDS = 500
MOST_DEPTH = 100  # lists and objects in one another, of what a tool is called with

_WORDS = re.compile(r"\s*+\S++|\s++")


class ToolCall(NamedTuple):
    """A call of a tool that an answer wants; `arguments` is JSON where it is any."""

    name: str
    arguments: Any


class Piece(NamedTuple):
    """A piece of two texts; `kind`: `same` in both, `gone` since, or `new`."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a record says of an answer; `text` is None where its words are not kept."""

    record: Record
    text: str | None
    finish_reason: str | None
    tools: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two answers, and where they are the same.

    `likeness` is from 0 to 1, the share of words that they have in common, in their
    order; 1 for equal texts, None where one is not kept.
    """

    before: Answer
    after: Answer
    likeness: float | None
    pieces: tuple[Piece, ...]

    @property
    def is_same_outcome(self) -> bool:
        """Whether both chats ended alike, and for the same reason."""
        was, now = self.before.record, self.after.record
        return (was.outcome, was.code) == (now.outcome, now.code)

    @property
    def is_same_finish(self) -> bool:
        """Whether both gave the same reason for being over."""
        return self.before.finish_reason == self.after.finish_reason

    @property
    def is_same_tools(self) -> bool:
        """Whether both want the same tools called with equal arguments, in order."""
        return self.before.tools == self.after.tools


def compared(before: Record, after: Record) -> Comparison:
    """Compare two records' answers; the time it takes is bounded by MOST_WORDS."""
    was, now = answer_in(before), answer_in(after)
    if was.text is None or now.text is None:
        return Comparison(was, now, None, ())
    pieces = tuple(differences(was.text, now.text))
    likeness = 1.0 if was.text == now.text else _likeness(pieces)
    return Comparison(was, now, likeness, pieces)


def answer_in(record: Record) -> Answer:
    """What a record says of its answer."""
    try:
        said = words_in(record.reply)
    except NotReplayable:
        return Answer(record, None, None, ())
    is_over = record.outcome == "completed"
    finish = said.get("finish_reason", STOP) if is_over else None
    return Answer(record, said.get("text") or "", finish, tuple(_tools(said)))


def _tools(said: Mapping[str, Any]) -> Iterator[ToolCall]:
    for choice in _objects(said.get("choices")):
        part = choice.get("message") or choice.get("delta")
        if not isinstance(part, Mapping):
            continue
        for call in _objects(part.get("tool_calls")):
            yield _call(call.get("function"))
        if part.get("function_call"):
            yield _call(part["function_call"])


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    members = value if isinstance(value, list) else ()
    yield from (one for one in members if isinstance(one, Mapping))


def _call(function: Any) -> ToolCall:
    told = function if isinstance(function, Mapping) else {}
    arguments = told.get("arguments")
    if isinstance(arguments, str):
        with suppress(ValueError, RecursionError):  # else compared as a text
            arguments = _value(arguments)
    return ToolCall(str(told.get("name") or ""), arguments)


def _value(text: str) -> Any:
    """The value of a JSON text that can be told again as JSON; else a ValueError.

    Half a character can stand in one, and more lists in one another than are written.
    """
    value = json.loads(text)
    json.dumps(value, ensure_ascii=False).encode()
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [member for one in level for member in _members(one)]
    if level:
        raise ValueError("too deep")
    return value


def _members(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def differences(before: str, after: str) -> Iterator[Piece]:
    """Two texts word by word: what both have, and what only one of them has.

    Where they differ in too much, that is told as a whole.
    """
    was, now = _WORDS.findall(before), _WORDS.findall(after)
    begins = _common(was, now)
    ends = _common(was[begins:][::-1], now[begins:][::-1])
    middle = was[begins : len(was) - ends], now[begins : len(now) - ends]
    yield from _pieces("same", was[:begins])
    yield from _of_middle(*middle)
    yield from _pieces("same", was[len(was) - ends :])


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words are the same from the beginning on."""
    pairs = zip(one, other, strict=False)
    return next(
        (n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other))
    )


def _of_middle(was: Sequence[str], now: Sequence[str]) -> Iterator[Piece]:
    if max(len(was), len(now)) > MOST_WORDS:
        yield from _pieces("gone", was)
        yield from _pieces("new", now)
        return
    for kind, a, b, c, d in SequenceMatcher(None, was, now).get_opcodes():
        if kind == "equal":
            yield from _pieces("same", was[a:b])
        else:
            yield from _pieces("gone", was[a:b])
            yield from _pieces("new", now[c:d])


def _pieces(kind: str, words: Sequence[str]) -> Iterator[Piece]:
    if words:
        yield Piece(kind, "".join(words))


def _likeness(pieces: Sequence[Piece]) -> float:
    """The share of all words that both texts have."""
    same, gone, new = (_counted(pieces, kind) for kind in ("same", "gone", "new"))
    whole = 2 * same.total() + gone.total() + new.total()
    common = same.total()
    if max(gone.total(), new.total()) > MOST_WORDS:
        common += (gone & new).total()  # their order was not looked at
    return 2 * common / whole if whole else 1.0


def _counted(pieces: Sequence[Piece], kind: str) -> Counter[str]:
    words = (_WORDS.findall(text) for of, text in pieces if of == kind)
    return Counter(word for some in words for word in some)
