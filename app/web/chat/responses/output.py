"""The output of a response: its items, and the events that tell of them as they grow.

A whole answer is made in the same way as a streamed one, of one piece.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from app.gateway.chat import NOTHING, THOUGHTS

Event = dict[str, Any]
Item = dict[str, Any]


class Kind(NamedTuple):
    """A kind of text: the item and the part it is in, and how its events begin."""

    item: str
    prefix: str
    part: str
    member: str
    told: str  # what events of it begin with


MESSAGE = Kind("message", "msg", "output_text", "text", "response.output_text")
REFUSAL = Kind("message", "msg", "refusal", "refusal", "response.refusal")
REASONING = Kind("reasoning", "rs", "reasoning_text", "text", "response.reasoning_text")


class _Text(NamedTuple):
    """The item that text goes to at present, with its pieces so far."""

    kind: Kind
    place: int
    pieces: list[str]
    logprobs: list[Any]


class Output:
    """The items of one response. It belongs to one thread.

    `key` makes the ids of items unique. `items` are whole only once it is closed.
    `characters` are those of its texts so far.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._text: _Text | None = None
        self._calls: dict[int, tuple[int, list[str]]] = {}  # by the upstream's index
        self._last = 0  # index of the call that pieces without an index belong to
        self.items: list[Item] = []
        self.characters = 0

    def take(
        self, part: Mapping[str, Any], logprobs: Sequence[Any] = ()
    ) -> Iterator[Event]:
        """Take in a message or a delta; yield the events that tell of it."""
        yield from self._add(REASONING, _thought(part))
        yield from self._add(MESSAGE, _str(part.get("content")), logprobs)
        yield from self._add(REFUSAL, _str(part.get("refusal")))
        calls = part.get("tool_calls")
        for number, piece in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(piece, Mapping):
                yield from self._call(piece, number)
        if isinstance(legacy := part.get("function_call"), Mapping):
            yield from self._call({"index": 0, "function": legacy}, 0)

    def close(self, status: str = "completed") -> Iterator[Event]:
        """End all items; the last one in that status."""
        yield from self._close_text()
        for place, arguments in self._calls.values():
            yield from self._close_call(place, "".join(arguments))
        self._calls = {}
        if self.items:
            self.items[-1]["status"] = status

    def _add(
        self, kind: Kind, text: str, logprobs: Sequence[Any] = ()
    ) -> Iterator[Event]:
        if not text:
            return
        if self._text is None or self._text.kind is not kind:
            yield from self._close_text()
            yield from self._open_text(kind)
        assert self._text is not None  # noqa: S101  # for mypy: it was opened
        self._text.pieces.append(text)
        self.characters += len(text)
        self._text.logprobs.extend(logprobs)
        probable = {"logprobs": list(logprobs)} if kind is MESSAGE else {}
        yield self._told(f"{kind.told}.delta", delta=text, **probable)

    def _open_text(self, kind: Kind) -> Iterator[Event]:
        item: Item = {"type": kind.item, "status": "in_progress", "content": []}
        more: Item = {"summary": []} if kind is REASONING else {"role": "assistant"}
        yield self._opened(item | more, kind.prefix)
        self._text = _Text(kind, len(self.items) - 1, [], [])
        yield self._told("response.content_part.added", part=_part(kind, "", []))

    def _close_text(self) -> Iterator[Event]:
        if (text := self._text) is None:
            return
        words, kind = "".join(text.pieces), text.kind
        part = _part(kind, words, text.logprobs)
        probable = {"logprobs": text.logprobs} if kind is MESSAGE else {}
        yield self._told(f"{kind.told}.done", **{kind.member: words}, **probable)
        yield self._told("response.content_part.done", part=part)
        self._text = None
        self.items[text.place]["content"] = [part]
        yield self._done(text.place)

    def _call(self, piece: Mapping[str, Any], number: int) -> Iterator[Event]:
        """Take in a piece of a call; its arguments go on until the end."""
        function = piece.get("function")
        fields = function if isinstance(function, Mapping) else NOTHING
        name, more = _str(fields.get("name")), _str(fields.get("arguments"))
        index = piece.get("index")
        if not isinstance(index, int):
            index = number if name else self._last
        if index not in self._calls:
            yield from self._close_text()
            call = {"call_id": _str(piece.get("id")), "name": name, "arguments": ""}
            yield self._opened({"type": "function_call", **call}, "fc")
            self._calls[index] = (len(self.items) - 1, [])
        self._last = index
        if more:
            place, arguments = self._calls[index]
            arguments.append(more)
            self.characters += len(more)
            kind = "response.function_call_arguments.delta"
            yield self._of(place, kind, delta=more)

    def _close_call(self, place: int, arguments: str) -> Iterator[Event]:
        item = self.items[place]
        item["arguments"] = arguments or "{}"
        kind = "response.function_call_arguments.done"
        yield self._of(place, kind, name=item["name"], arguments=item["arguments"])
        yield self._done(place)

    def _opened(self, item: Item, prefix: str) -> Event:
        place = len(self.items)
        item = {"id": f"{prefix}_{self._key}_{place}", **item, "status": "in_progress"}
        if item.get("call_id") == "":
            item["call_id"] = f"call_{self._key}_{place}"
        self.items.append(item)
        fields = {"output_index": place, "item": dict(item)}
        return {"type": "response.output_item.added", **fields}

    def _done(self, place: int) -> Event:
        item = self.items[place]
        item["status"] = "completed"
        fields = {"output_index": place, "item": dict(item)}
        return {"type": "response.output_item.done", **fields}

    def _told(self, kind: str, **more: Any) -> Event:
        """An event of the text at hand."""
        place = self._text.place if self._text else 0
        return self._of(place, kind, content_index=0, **more)

    def _of(self, place: int, kind: str, **more: Any) -> Event:
        where = {"item_id": self.items[place]["id"], "output_index": place}
        return {"type": kind, **where, **more}


def _part(kind: Kind, text: str, logprobs: list[Any]) -> dict[str, Any]:
    more = {"annotations": [], "logprobs": logprobs} if kind is MESSAGE else {}
    return {"type": kind.part, kind.member: text, **more}


def _str(value: object) -> str:
    return value if isinstance(value, str) else ""


def _thought(part: Mapping[str, Any]) -> str:
    """What a model thought, under whichever of its names; servers repeat it."""
    texts = (_words(part[name]) for name in THOUGHTS if part.get(name))
    return next(filter(None, texts), "")


def _words(thought: object) -> str:
    if isinstance(thought, list):
        return "".join(map(_words, thought))
    if isinstance(thought, Mapping):
        texts = (_str(thought.get(name)) for name in ("text", "thinking", "summary"))
        return next(filter(None, texts), "")
    return _str(thought)
