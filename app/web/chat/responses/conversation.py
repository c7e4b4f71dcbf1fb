"""The conversation of a Responses request, as chat completions have it.

So the core, and upstreams that have never heard of Responses, meet nothing new: needs,
limits and records are those of a chat.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.web.request.errors import InvalidBody
from app.web.schemas.responses import request as wire

# The fields that are translated or unused; the others mean the same in both protocols.
_OWN = frozenset(wire.ResponsesRequest.model_fields) - {"user", "top_logprobs"}
_UNUSED = frozenset(
    {
        "client_metadata",
        "context_management",
        "function_call",
        "functions",
        "max_tool_calls",
        "messages",
        "n",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "stream_options",
        "truncation",
    }
)
# Tools that OpenAI's own servers carry out.
BUILT_IN = frozenset(
    {
        "apply_patch",
        "code_interpreter",
        "computer",
        "computer_use_preview",
        "custom",
        "file_search",
        "image_generation",
        "local_shell",
        "mcp",
        "shell",
        "tool_search",
        "web_search",
        "web_search_preview",
    }
)
LOGPROBS = "message.output_text.logprobs"

Message = dict[str, Any]


def as_chat(asked: wire.ResponsesRequest, body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of the same request to chat completions; `body` is what was parsed.

    Raises InvalidBody for a tool that has to be called and cannot be.
    """
    fields = {k: v for k, v in body.items() if k not in _OWN | _UNUSED}
    if asked.model:
        fields["model"] = asked.model
    return {
        **fields,
        "stream": bool(asked.stream),
        "messages": [*_instructions(asked), *_messages(asked.input)],
        **_tools(asked),
        **_options(asked),
    }


def leaves_out_tools(asked: wire.ResponsesRequest) -> bool:
    """Whether there are tools among its tools that nobody here has."""
    return any(not _is_function(tool) for tool in asked.tools or ())


def _instructions(asked: wire.ResponsesRequest) -> Iterator[Message]:
    if asked.instructions:
        yield {"role": "system", "content": asked.instructions}


def _messages(given: str | list[Any]) -> Iterator[Message]:
    """Calls that follow one another, or what the model says, are of one message."""
    if isinstance(given, str):
        yield {"role": "user", "content": given}
        return
    latest: Message | None = None  # of the model, which may have calls to come
    for item in given:
        if isinstance(item, wire.ReasoningItem):
            continue
        if isinstance(item, wire.CallItem):
            latest = latest or {"role": "assistant", "content": None}
            latest.setdefault("tool_calls", []).append(_call(item))
            continue
        if latest:
            yield latest
        message = _message(item)
        latest = message if message["role"] == "assistant" else None
        if latest is None:
            yield message
    if latest:
        yield latest


def _message(item: wire.MessageItem | wire.OutputItem) -> Message:
    if isinstance(item, wire.OutputItem):
        content = _content(item.output)
        return {"role": "tool", "tool_call_id": item.call_id, "content": content}
    # Templates of models know no developer; to them it is the system that speaks.
    role = "system" if item.role == "developer" else item.role
    return {"role": role, "content": _content(item.content)}


def _call(item: wire.CallItem) -> dict[str, Any]:
    function = {"name": item.name, "arguments": item.arguments}
    return {"id": item.call_id, "type": "function", "function": function}


def _content(content: str | list[Any]) -> str | list[dict[str, Any]]:
    """Text as one text, since some servers take nothing else; else its parts."""
    if isinstance(content, str):
        return content
    parts = list(map(_part, content))
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _part(part: Any) -> dict[str, Any]:
    if isinstance(part, wire.ImagePart):
        detail = {"detail": part.detail} if part.detail else {}
        return {"type": "image_url", "image_url": {"url": part.image_url, **detail}}
    if isinstance(part, wire.FilePart):
        name = {"filename": part.filename} if part.filename else {}
        return {"type": "file", "file": {"file_data": part.file_data, **name}}
    words = part.refusal if isinstance(part, wire.RefusalPart) else part.text
    return {"type": "text", "text": words}


def _tools(asked: wire.ResponsesRequest) -> dict[str, Any]:
    """The caller's functions, and which of them may or must be called."""
    choice = asked.tool_choice
    functions = list(filter(_is_function, asked.tools or ()))
    if isinstance(choice, wire.AllowedTools):
        names = (tool.get("name") for tool in choice.tools)
        allowed = {name for name in names if isinstance(name, str)}
        functions = [tool for tool in functions if tool.name in allowed]
        choice = choice.mode
    if not functions:
        return _no_functions(asked, must_call=choice == "required")
    tools = {"tools": list(map(_tool, functions))}
    if isinstance(choice, wire.FunctionChoice):
        named = {"type": "function", "function": {"name": choice.name}}
        return tools | {"tool_choice": named}
    return tools | ({"tool_choice": choice} if choice else {})


def _no_functions(asked: wire.ResponsesRequest, *, must_call: bool) -> dict[str, Any]:
    """What is left without functions: a need, if one has to be called all the same."""
    if must_call and any(tool.type in BUILT_IN for tool in asked.tools or ()):
        raise InvalidBody({"tool_choice": "needs a function that can be called"})
    return {"tool_choice": "required"} if must_call else {}


def _is_function(tool: wire.Tool) -> bool:
    return tool.type == "function" and tool.name is not None


def _tool(tool: wire.Tool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
    return {"type": "function", "function": _known(function.items())}


def _options(asked: wire.ResponsesRequest) -> dict[str, Any]:
    """How long, how thoughtful and in which format the answer is to be."""
    wants_logprobs = bool(asked.top_logprobs) or LOGPROBS in (asked.include or ())
    options = {
        "max_tokens": asked.max_output_tokens,
        "reasoning_effort": asked.reasoning.effort if asked.reasoning else None,
        "verbosity": asked.text.verbosity if asked.text else None,
        "response_format": _format(asked.text.format) if asked.text else None,
        "logprobs": wants_logprobs or None,
        "top_logprobs": asked.top_logprobs or None,
    }
    return _known(options.items())


def _format(wanted: wire.PlainFormat | wire.SchemaFormat | None) -> Any:
    if isinstance(wanted, wire.SchemaFormat):
        schema = {
            "name": wanted.name,
            "schema": wanted.schema_,
            "strict": wanted.strict,
            "description": wanted.description,
        }
        return {"type": "json_schema", "json_schema": _known(schema.items())}
    return {"type": "json_object"} if wanted and wanted.type != "text" else None


def _known(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if value is not None}
