"""The request of Anthropic's wire, made of a chat that is told in OpenAI's shape.

What the wire cannot say is not left out in silence where the answer would be another
one: `Unfit` has the next upstream asked. Sampling options that it does not know are.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.gateway.blank import is_blank
from app.gateway.chat import ChatRequest, Message
from app.gateway.errors import Unfit

Block = dict[str, Any]
Fields = Mapping[str, Any]

# What is called the same in both wires.
SAME = ("temperature", "top_p", "top_k")
TOKEN_LIMITS = ("max_completion_tokens", "max_tokens")
HOTTEST = 1.0  # OpenAI's temperatures go up to 2

CHOICES = {"auto": "auto", "required": "any", "none": "none"}
SYSTEM = ("system", "developer")

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w.+=-]+)*?;base64,")
_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")  # in the id of a tool call
MAX_ID = 64  # characters of such an id


def payload(request: ChatRequest, model: str, max_tokens: int) -> dict[str, Any]:
    """The body that asks for an answer of at most so many tokens.

    A limit of the request's own goes before `max_tokens`. Raises Unfit.
    """
    extra = request.extra
    limits = [extra[n] for n in TOKEN_LIMITS if isinstance(extra.get(n), int)]
    body = {**counted(request, model), "max_tokens": next(iter(limits), max_tokens)}
    body |= {name: extra[name] for name in SAME if extra.get(name) is not None}
    if isinstance(heat := body.get("temperature"), int | float):
        body["temperature"] = min(heat, HOTTEST)
    if stops := _listed(extra.get("stop")):
        body["stop_sequences"] = stops
    if isinstance(user := extra.get("user"), str):
        body["metadata"] = {"user_id": user}
    return {**body, **request.anthropic.get("fields", {})}


def counted(request: ChatRequest, model: str) -> dict[str, Any]:
    """The part of the body whose tokens can be counted. Raises Unfit."""
    extra = request.extra
    body: dict[str, Any] = {
        "model": model,
        "messages": turns(request.messages),
    }
    if system := list(_system(request.messages)):
        body["system"] = system
    if tools := list(map(_tool, _objects(extra.get("tools")))):
        body["tools"] = tools
        if choice := _tool_choice(extra):
            body["tool_choice"] = choice
    if config := _output(extra.get("response_format")):
        body["output_config"] = config
    return body


def turns(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The messages but for those of the system; neighbours of one role are one.

    Results of tools are the user's in this wire, and all of one turn must be in one
    message. Raises Unfit if there are none, or one cannot be said.
    """
    turns_so_far: list[dict[str, Any]] = []
    for message in messages:
        if message.role in SYSTEM:
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _marked(list(_blocks(message)), message)
        if turns_so_far and turns_so_far[-1]["role"] == role:
            turns_so_far[-1]["content"] += blocks
        elif blocks:
            turns_so_far.append({"role": role, "content": blocks})
    if not turns_so_far:
        raise Unfit("unsupported")
    return turns_so_far


def _system(messages: Iterable[Message]) -> Iterator[Block]:
    for message in messages:
        if message.role in SYSTEM and not is_blank(message.content):
            yield from _marked([_text(message.content)], message)


def _marked(blocks: list[Block], message: Message) -> list[Block]:
    """The blocks, with the caller's mark of what is to be cached at their end."""
    if blocks and (mark := message.anthropic.get("cache_control")):
        blocks[-1] = {**blocks[-1], "cache_control": mark}
    return blocks


def _blocks(message: Message) -> Iterator[Block]:
    raw: Fields = message.raw or {"content": message.content}
    if message.role in ("tool", "function"):
        yield _result(message, raw)
        return
    if message.role == "assistant":
        yield from _thoughts(message, raw)
    yield from _content(raw.get("content"))
    if message.role == "assistant":
        yield from map(_call, _objects(raw.get("tool_calls")))
        if isinstance(legacy := raw.get("function_call"), Mapping):
            yield _call({"id": legacy.get("name"), "function": legacy})


def _result(message: Message, raw: Fields) -> Block:
    key = raw.get("tool_call_id") or raw.get("name")
    block: Block = {"type": "tool_result", "tool_use_id": _id(key)}
    if content := list(_content(raw.get("content"))):
        block["content"] = content
    if message.anthropic.get("is_error"):
        block["is_error"] = True
    return block


def _thoughts(message: Message, raw: Fields) -> Iterator[Block]:
    """The thoughts of an answer, if they are signed: no server takes others back."""
    blocks = message.anthropic.get("thinking") or raw.get("thinking_blocks")
    for block in _objects(blocks):
        if block.get("signature") or block.get("data"):
            yield dict(block)


def _content(content: object) -> Iterator[Block]:
    """The content of a message; blank text is refused by servers, and left out."""
    parts = [_text(content)] if isinstance(content, str) else _objects(content)
    for part in parts:
        kind, text = part.get("type"), part.get("text")
        if kind in ("text", "refusal"):
            words = text if kind == "text" else part.get("refusal")
            if isinstance(words, str) and not is_blank(words):
                yield _text(words)
        elif kind == "image_url":
            yield {"type": "image", "source": _source(part.get("image_url"))}
        elif kind == "file":
            yield {"type": "document", "source": _file(part.get("file"))}
        else:
            raise Unfit("unsupported")


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _source(image: object) -> Block:
    url = image.get("url") if isinstance(image, Mapping) else image
    if not isinstance(url, str):
        raise Unfit("unsupported")
    return _data(url) or {"type": "url", "url": url}


def _file(file: object) -> Block:
    data = file.get("file_data") if isinstance(file, Mapping) else None
    if not (isinstance(data, str) and (source := _data(data))):
        raise Unfit("unsupported")
    return source


def _data(url: str) -> Block | None:
    found = _DATA_URL.match(url[:200])
    if found is None:
        return None
    media_type = found[1] or "application/octet-stream"
    return {"type": "base64", "media_type": media_type, "data": url[found.end() :]}


def _call(call: Fields) -> Block:
    """A tool call of a past answer, whose arguments are an object in this wire."""
    function = call.get("function")
    if not (isinstance(function, Mapping) and isinstance(function.get("name"), str)):
        raise Unfit("unsupported")
    given = function.get("arguments")
    return {
        "type": "tool_use",
        "id": _id(call.get("id")),
        "name": function["name"],
        "input": given if isinstance(given, Mapping) else _object(given),
    }


def _object(text: object) -> dict[str, Any]:
    if not isinstance(text, str) or is_blank(text):
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Unfit("unsupported") from None
    if not isinstance(value, dict):
        raise Unfit("unsupported")
    return value


def _id(key: object) -> str:
    """An id in the characters that this wire allows; the same one each time."""
    return _FOREIGN.sub("_", key)[:MAX_ID] if isinstance(key, str) and key else "call"


def _tool(tool: Fields) -> Block:
    function = tool.get("function")
    if not (isinstance(function, Mapping) and isinstance(function.get("name"), str)):
        raise Unfit("unsupported")
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    kept = {k: function[k] for k in ("name", "description", "strict") if k in function}
    return {**kept, "input_schema": schema}


def _tool_choice(extra: Fields) -> Block | None:
    asked = extra.get("tool_choice")
    choice: Block = {"type": "auto"}
    if isinstance(asked, Mapping):
        function = asked.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str):
            raise Unfit("unsupported")
        choice = {"type": "tool", "name": name}
    elif isinstance(asked, str):
        choice = {"type": CHOICES.get(asked, "auto")}
    if extra.get("parallel_tool_calls") is False and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    elif asked is None:
        return None
    return choice


def _output(asked: object) -> Block | None:
    """The shape that the answer is to have; this wire has no JSON without a schema."""
    kind = asked.get("type") if isinstance(asked, Mapping) else "text"
    if kind == "text":
        return None
    wrapper = asked.get("json_schema") if isinstance(asked, Mapping) else None
    schema = wrapper.get("schema") if isinstance(wrapper, Mapping) else None
    if kind != "json_schema" or not isinstance(schema, Mapping):
        raise Unfit("unsupported")
    return {"format": {"type": "json_schema", "schema": schema}}


def _objects(value: object) -> list[Fields]:
    members = value if isinstance(value, list) else []
    return [member for member in members if isinstance(member, Mapping)]


def _listed(stop: object) -> list[str]:
    stops = [stop] if isinstance(stop, str) else stop
    return [s for s in stops if isinstance(s, str)] if isinstance(stops, list) else []
