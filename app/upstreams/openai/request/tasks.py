"""What a server is asked beside a chat: to go on with a text, or for embeddings.

The answer to the first differs from that of a chat in where its words are, so it is
read as one. That to the second is handed on as it came, once it is known to be whole.
"""

from base64 import b64decode
from collections.abc import Mapping
from hashlib import sha256
from sys import float_info
from typing import Any

from pydantic_core import from_json

from app.gateway.abilities import CHAT, COMPLETIONS, EMBEDDINGS
from app.gateway.chat import ChatReply, ChatRequest, Message, Usage
from app.gateway.errors import BadReply
from app.upstreams.openai.envelope import model_of, usage_of

PATHS = {
    CHAT: "/chat/completions",
    COMPLETIONS: "/completions",
    EMBEDDINGS: "/embeddings",
}

MOST_NUMBERS = 1_000_000  # values; 650 such vectors as numbers
NO_JSON = (b"NaN", b"Infinity")  # unless in a text

NUMBER = 4  # bytes of a number in base64

# How servers are told to go on with the last message (docs/decisions/0036): some by a
# mark on it, some by fields of the request, some take it so without being told.
BEGUN = {"prefix": True}
GO_ON = {"continue_final_message": True, "add_generation_prompt": False}


def said(request: ChatRequest) -> dict[str, Any]:
    """What a payload says beside the caller's own fields. Tokens are among those."""
    if request.task == COMPLETIONS:
        return {"prompt": request.messages[0].content}
    if request.task == EMBEDDINGS:
        texts = [message.content for message in request.messages]
        return {"input": texts} if texts else {}
    messages = list(map(_message, request.messages))
    if not request.is_begun:
        return {"messages": messages}
    return {"messages": [*messages[:-1], {**messages[-1], **BEGUN}], **GO_ON}


def _message(message: Message) -> Mapping[str, Any]:
    if message.raw is not None:
        return message.raw
    return {"role": message.role, "content": message.content}


def as_chat(value: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """An answer or a chunk that goes on with a text, in the shape of a chat's.

    `part` is where a chat has its words: `message` or `delta`. Choices that are none
    stay as they are.
    """
    choices = value.get("choices")
    if not isinstance(choices, list):
        return value
    return {**value, "choices": [_choice(choice, part) for choice in choices]}


def _choice(choice: Any, part: str) -> Any:
    if not isinstance(choice, Mapping):
        return choice
    rest = {name: member for name, member in choice.items() if name != "text"}
    return {**rest, part: {"content": choice.get("text")}}


def embeddings(
    value: Mapping[str, Any], body: bytes, request: ChatRequest, names: tuple[str, str]
) -> ChatReply:
    """The reply in an answer of embeddings. Raises BadReply if it is not whole.

    It is, if there is a vector for each text and all are equally long. `names` are
    those of the upstream and of the model that it was asked for.
    """
    if any(sign in body for sign in NO_JSON) and not _is_strict(body):
        raise BadReply("bad_json")
    data = value.get("data")
    if not isinstance(data, list):
        raise BadReply("schema")
    if len(data) != _expected(request):
        raise BadReply("truncated" if data else "empty")
    sizes = set(map(_size, data))
    if len(sizes) != 1:
        raise BadReply("truncated")
    upstream, model = names
    digest = sha256(body).hexdigest()
    return ChatReply(
        f"{len(data)} embeddings of {sizes.pop()} numbers, SHA-256 {digest}",
        upstream,
        model_of(value) or model,
        usage=usage_of(value) or Usage(),
        body=body,
    )


def _is_strict(body: bytes) -> bool:
    """Whether it is JSON for every reader; ours lets NaN pass."""
    try:
        from_json(body, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def _expected(request: ChatRequest) -> int:
    """The number of vectors that a request has to be answered with."""
    if request.messages:
        return len(request.messages)
    tokens = request.extra["input"]
    return len(tokens) if isinstance(tokens[0], list) else 1


def _size(entry: object) -> int:
    """The length of the vector in an entry, at least one. Raises BadReply."""
    vector = entry.get("embedding") if isinstance(entry, Mapping) else None
    if isinstance(vector, str):
        return _size_of_text(vector)
    if not (isinstance(vector, list) and vector and all(map(_is_number, vector))):
        raise BadReply("schema")
    return len(vector)


def _size_of_text(vector: str) -> int:
    try:
        size = len(b64decode(vector, validate=True))
    except ValueError:
        raise BadReply("schema") from None
    if not size or size % NUMBER:
        raise BadReply("truncated")
    return size // NUMBER


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -float_info.max <= value <= float_info.max
