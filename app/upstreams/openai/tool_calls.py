"""The tool calls of one choice: which piece belongs to which call, and are all whole.

Official clients put the pieces of a call together by its index, glue texts that come
twice, and read arguments as JSON text. Servers leave the index out, number all calls
alike, repeat labels or tell arguments as an object, so each piece is brought into the
one form that clients read. Whoever carries out half of a call does something that
nobody asked for: what was said of each call is kept for that verdict.
"""

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from app.gateway import strict_json
from app.gateway.blank import is_blank
from app.gateway.chat import NOTHING
from app.gateway.errors import BadReply
from app.upstreams.openai.json_end import JsonEnd

CALLS = ("tool_calls", "function_call")
# The reasons with which all of a call is there.
WHOLE = frozenset({"stop", *CALLS})
NO_ARGUMENTS = "{}"
MOST_CALLS = 1024  # tool calls of one choice; models make a dozen
MOST_NAME = 1024  # characters of what is called; official clients allow 64

# What a call may say beside these is handed on as it is.
_SHELL = frozenset({"index", "type", "function"})
_FLAT = frozenset({"name", "arguments"})

_encode = strict_json.encoder(ensure_ascii=False)


class ToolCalls:
    """The calls of one choice so far. It belongs to one thread."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}  # the last one with that index
        self._by_key: dict[tuple[int | None, str], _Call] = {}  # by index and id
        self._legacy: _Call | None = None  # a `function_call`, which has no index

    def of_delta(self, part: Mapping[str, Any]) -> Mapping[str, Any]:
        """Take in a delta; return it with the pieces of its calls as clients read them.

        Raises BadReply for more than MOST_CALLS.
        """
        return self._take(part, is_message=False)

    def of_message(self, part: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same for a message, where each member of the list is a whole call."""
        return self._take(part, is_message=True)

    def are_whole(self, reason: str | None) -> bool:
        """Whether each call has a name and all of its arguments.

        `reason` is how the choice finished. Many servers leave out the arguments of a
        call that needs none; where the length ran out they may have been cut off.
        """
        calls = [*self._calls, *([self._legacy] if self._legacy else ())]
        return all(call.is_whole(reason) for call in calls)

    def ending(self, reason: str | None) -> str | None:
        """How a choice with these calls finished, where the server says just `stop`.

        Some do, or have the word for calls of the other kind, and official clients
        would throw the calls away.
        """
        if reason not in WHOLE or not (self._calls or self._legacy):
            return reason
        return "function_call" if self._legacy else "tool_calls"

    def rest(self, reason: str | None) -> Mapping[str, Any]:
        """A delta that ends the calls which have no arguments; empty if none need it.

        Clients read arguments as JSON, which an empty text is not.
        """
        ends = [call.rest() for call in self._calls] if reason in WHOLE else []
        calls = [end for end in ends if end]
        return {"tool_calls": calls} if calls else NOTHING

    def _take(self, part: Mapping[str, Any], *, is_message: bool) -> Mapping[str, Any]:
        message = {name: value for name, value in part.items() if name not in CALLS}
        calls = part.get("tool_calls")
        if isinstance(calls, Mapping):
            calls = [calls]
        if calls and isinstance(calls, list):
            pieces = [self._taken(call, is_message=is_message) for call in calls]
            if pieces := [piece for piece in pieces if piece is not None]:
                message["tool_calls"] = pieces
        if isinstance(legacy := part.get("function_call"), Mapping):
            self._legacy = self._legacy or _Call(0)
            message["function_call"] = self._legacy.told(legacy, is_message=is_message)
        return message

    def _taken(self, call: object, *, is_message: bool) -> object:
        """One call of a message, or a piece of one; None for one that says nothing."""
        if not isinstance(call, Mapping):
            self._begun()  # which never gets a name
            return call
        kind, members = _said(call)
        name = members.get("name")
        if call.keys() <= _SHELL and not (name or members.get("arguments")):
            return None
        index, key = _number(call.get("index")), _label(call.get("id"))
        has_more = bool(members.get("arguments"))
        if is_message:
            of = self._begun()
        else:
            of = self._call_of(index, key, _label(name), has_arguments=has_more)
        if index is not None:
            self._at[index] = of
        if key:
            self._by_key[index, key] = self._by_key[None, key] = of
        labels = of.labels(key, kind, has_name=bool(name), is_message=is_message)
        rest = {k: v for k, v in call.items() if k not in ("id", "type", *_FLAT, kind)}
        return {**rest, **labels, kind: of.told(members, is_message=is_message)}

    def _call_of(
        self, index: int | None, key: str, name: str, *, has_arguments: bool
    ) -> "_Call":
        """The call that a piece belongs to: by its index, by its id, by its name.

        Servers repeat an id or a name, give each piece an id of its own, or number
        all calls alike: only a name begins a new call, and only where the last one is
        not in the midst of its arguments.
        """
        last = self._calls[-1] if self._calls else None
        last = last if index is None else self._at.get(index)
        known = self._by_key.get((index, key)) if key else None
        of = known or last
        if of is None:
            return self._begun()
        if not name or of.is_half:
            return of
        if not known and (index is None or (key and of.key)):
            return self._begun()
        is_other = name != of.name or (has_arguments and not known)
        is_new = is_other and of.has_arguments
        return self._begun() if is_new else of

    def _begun(self) -> "_Call":
        if len(self._calls) >= MOST_CALLS:
            raise BadReply("too_large")
        self._calls.append(_Call(len(self._calls)))
        return self._calls[-1]


class _Call:
    """One call so far. What is free is no JSON text."""

    __slots__ = (
        "_end",
        "_is_typed",
        "_length",
        "_pieces",
        "has_arguments",
        "is_free",
        "key",
        "name",
        "number",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.key = self.name = ""
        self.has_arguments = self.is_free = self._is_typed = False
        self._pieces: list[str] = []
        self._length = 0  # of these
        self._end = JsonEnd()

    @property
    def is_half(self) -> bool:
        """Whether it is in the midst of its arguments."""
        return self._end.is_begun(self._pieces) and not self._end.is_reached

    def labels(
        self, key: str, kind: str, *, has_name: bool, is_message: bool
    ) -> dict[str, Any]:
        """Index, id and type, each as often as clients expect it: the last two once.

        A call without an id gets one, since its result is sent back under that.
        """
        labels: dict[str, Any] = {} if is_message else {"index": self.number}
        if not self.key and (key or has_name):
            self.key = key or f"call_{uuid4().hex[:24]}"
            labels["id"] = self.key
        if not self._is_typed:
            self._is_typed = True
            labels["type"] = kind
        self.is_free |= kind == "custom"
        return labels

    def told(self, members: Mapping[str, Any], *, is_message: bool) -> dict[str, Any]:
        """What is said of the function: its name once, its arguments as a text."""
        piece = {k: v for k, v in members.items() if k not in _FLAT}
        name = _label(members.get("name"))
        if name and name != self.name:
            self.name += name
            if len(self.name) > MOST_NAME:
                raise BadReply("too_large")
            piece["name"] = name
        arguments = members.get("arguments")
        text = arguments if isinstance(arguments, str) else ""
        if isinstance(arguments, Mapping | list):
            text = self._as_text(arguments, is_message=is_message)
        text = self._new(text, is_message=is_message)
        if is_message and not self.is_free and is_blank(text):
            text = NO_ARGUMENTS
        if text or isinstance(arguments, str):
            piece["arguments"] = text
        return piece

    def rest(self) -> Mapping[str, Any]:
        """A piece with arguments for a call that has none; empty for any other."""
        if self.is_free or is_blank(self.name) or not is_blank("".join(self._pieces)):
            return NOTHING
        return {"index": self.number, "function": {"arguments": NO_ARGUMENTS}}

    def _new(self, text: str, *, is_message: bool) -> str:
        """Take in more of the arguments; return what of them clients are to read.

        Some servers begin all of them with an empty object, and some end with the
        whole once more.
        """
        self.has_arguments |= not is_blank(text)
        is_repeated = text[:1] == "{" and len(text) == self._length
        if is_repeated and not self.is_half and text == "".join(self._pieces):
            return ""
        if text and (is_message or self._length or text.strip() != NO_ARGUMENTS):
            self._pieces.append(text)
            self._length += len(text)
            return text
        return ""

    def is_whole(self, reason: str | None) -> bool:
        if is_blank(self.name) or self.is_free:
            return not is_blank(self.name)
        text = "".join(self._pieces)
        return reason != "length" if is_blank(text) else _is_json(text)

    def _as_text(self, arguments: Any, *, is_message: bool) -> str:
        """An object as a text; an empty one may be followed by more of a stream."""
        text = _encode(arguments) if arguments or is_message else ""
        return "" if text in self._pieces[-1:] else text


def _said(call: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The type of a call and what it says of it, which some servers tell beside it."""
    kind = "custom" if "custom" in call and not call.get("function") else "function"
    members = call.get(kind)
    if isinstance(members, Mapping):
        return kind, members
    return kind, {k: call[k] for k in _FLAT if k in call} or NOTHING


def _number(index: object) -> int | None:
    return index if isinstance(index, int) and not isinstance(index, bool) else None


def _label(value: object) -> str:
    """An id or a name; "" for none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 2**63 else ""
    return value if isinstance(value, str) and not is_blank(value) else ""


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_int=float)  # numbers of any length
    except (ValueError, RecursionError):
        return False
    return True
