"""The messages of Anthropic's wire, told in OpenAI's shape.

One message may hold what are several in that shape: results of tools, each of which is
a message there, and the user's own words.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.gateway.chat import NOTHING
from app.web.request.errors import InvalidBody

Fields = Mapping[str, Any]
Part = dict[str, Any]

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Turn:
    """A message in OpenAI's shape, and beside it what only Anthropic's wire can say."""

    said: dict[str, Any]
    beside: Fields = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class _Block:
    """A block and the field of the body that it stands in, for what is wrong."""

    at: str
    told: Fields

    @property
    def kind(self) -> object:
        return self.told.get("type")

    def text(self, name: str = "text") -> str:
        """A member that must be a text."""
        value = self.told.get(name)
        if not isinstance(value, str):
            raise InvalidBody({f"{self.at}.{name}": "must be a text"})
        return value

    def fields(self, name: str) -> "_Block":
        """A member that must be an object."""
        value = self.told.get(name)
        if not isinstance(value, dict):
            raise InvalidBody({f"{self.at}.{name}": "must be an object"})
        return _Block(f"{self.at}.{name}", value)

    def blocks(self, name: str = "content") -> Iterator["_Block"]:
        """The blocks of a member, which may be a text or left out."""
        yield from _blocks(self.told.get(name), f"{self.at}.{name}")

    def refused(self) -> InvalidBody:
        return InvalidBody({f"{self.at}.type": "is not supported"})


def system_of(system: Any) -> Iterator[Turn]:
    """The system's message, if there is one. Raises InvalidBody."""
    blocks = list(_blocks(system, "system"))
    text = "\n".join(_text(block) for block in blocks)
    if text:
        yield Turn({"role": "system", "content": text}, _mark(blocks))


def turns_of(messages: Iterable[Fields]) -> Iterator[Turn]:
    """The messages one after the other. Raises InvalidBody."""
    for place, message in enumerate(messages):
        blocks = list(_blocks(message["content"], f"messages.{place}.content"))
        match message["role"]:
            case "assistant":
                yield _assistant(blocks)
            case "system":
                text = "\n".join(map(_text, blocks))
                yield Turn({"role": "system", "content": text}, _mark(blocks))
            case _:
                yield from _user(blocks)


def _blocks(content: Any, at: str) -> Iterator[_Block]:
    if isinstance(content, str):
        yield _Block(at, {"type": "text", "text": content})
        return
    if content is not None and not isinstance(content, list):
        raise InvalidBody({at: "must be a text or blocks"})
    for place, block in enumerate(content or ()):
        if not isinstance(block, dict):
            raise InvalidBody({f"{at}.{place}": "must be an object"})
        yield _Block(f"{at}.{place}", block)


def _text(block: _Block) -> str:
    if block.kind != "text":
        raise block.refused()
    return block.text()


def _mark(blocks: Iterable[_Block]) -> Fields:
    """The last mark of what is to be cached among some blocks."""
    marks = [b.told["cache_control"] for b in blocks if b.told.get("cache_control")]
    return {"cache_control": marks[-1]} if marks else NOTHING


def _assistant(blocks: list[_Block]) -> Turn:
    texts, calls, thoughts = list[str](), list[Part](), list[Fields]()
    for block in blocks:
        if block.kind == "tool_use":
            calls.append(_call(block))
        elif block.kind in ("thinking", "redacted_thinking"):
            thoughts.append(block.told)
        else:
            texts.append(_text(block))
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
    if calls:
        message |= {"content": message["content"] or None, "tool_calls": calls}
    beside = dict(_mark(blocks))
    return Turn(message, beside | {"thinking": thoughts} if thoughts else beside)


def _call(block: _Block) -> Part:
    given = _to_json(block.fields("input").told)
    function = {"name": block.text("name"), "arguments": given}
    return {"id": block.text("id"), "type": "function", "function": function}


def _user(blocks: list[_Block]) -> Iterator[Turn]:
    """Results of tools, each as a message, and what else is said.

    Few servers take pictures in a result, so they follow as the user's own.
    """
    parts, others = list[Part](), list[_Block]()
    for block in blocks:
        if block.kind == "tool_result":
            inner = [
                part for inner_block in block.blocks() for part in _parts(inner_block)
            ]
            yield _result(block, inner)
            parts += [part for part in inner if part["type"] != "text"]
        else:
            others.append(block)
            parts += _parts(block)
    if parts or not blocks:
        yield Turn({"role": "user", "content": _plain(parts)}, _mark(others))


def _result(block: _Block, parts: Iterable[Part]) -> Turn:
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    key = block.text("tool_use_id")
    beside = dict(_mark([block]))
    if block.told.get("is_error") is True:
        beside["is_error"] = True
    return Turn({"role": "tool", "tool_call_id": key, "content": text}, beside)


def _plain(parts: list[Part]) -> str | list[Part]:
    """The parts; nothing but a text if they are that, which any server takes."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _parts(block: _Block) -> list[Part]:
    """What a block of the user's says, in OpenAI's parts."""
    match block.kind:
        case "text":
            return [{"type": "text", "text": block.text()}]
        case "image":
            return [{"type": "image_url", "image_url": {"url": _picture(block)}}]
        case "document":
            return _document(block)
        case "search_result":
            heads = [block.text("title"), block.text("source")]
            return [_said("\n".join([*heads, *map(_text, block.blocks())]))]
    raise block.refused()


def _picture(block: _Block) -> str:
    source = block.fields("source")
    if source.kind == "url":
        return source.text("url")
    return _data_url(source)


def _document(block: _Block) -> list[Part]:
    source = block.fields("source")
    if source.kind == "text":
        return [_said(source.text("data"))]
    if source.kind == "content":
        return [part for inner_block in source.blocks() for part in _parts(inner_block)]
    title = block.told.get("title")
    name = title if isinstance(title, str) else "document"
    return [
        {"type": "file", "file": {"filename": name, "file_data": _data_url(source)}}
    ]


def _data_url(source: _Block) -> str:
    if source.kind != "base64":
        raise source.refused()
    return f"data:{source.text('media_type')};base64,{source.text('data')}"


def _said(text: str) -> Part:
    return {"type": "text", "text": text}
