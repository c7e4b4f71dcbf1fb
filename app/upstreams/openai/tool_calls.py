"""The tool calls of one choice, put together of their pieces to see if they are whole.

Whoever carries out half of a call does something that nobody asked for. The pieces
themselves go to the caller as they come; only what is needed for the verdict is kept.
"""

import json
from collections.abc import Mapping
from typing import Any

from app.gateway.chat import NOTHING, is_blank

LEGACY = -1  # the place of a `function_call`, which has no index


class ToolCalls:
    """The calls of one choice so far. It belongs to one thread."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}  # the last one with that index
        self._is_legacy = False

    def add(self, part: Mapping[str, Any]) -> None:
        """Take in what a message or delta says of calls."""
        calls = part.get("tool_calls")
        for piece in calls if isinstance(calls, list) else ():
            self._take(piece if isinstance(piece, Mapping) else {"name": piece})
        if isinstance(legacy := part.get("function_call"), Mapping):
            self._is_legacy = True
            self._take({"index": LEGACY, "function": legacy})

    def are_whole(self, reason: str | None) -> bool:
        """Whether each call has a name and all of its arguments.

        `reason` is how the choice finished. Many servers leave out the arguments of a
        call that needs none; where the length ran out they may have been cut off.
        """
        return all(call.is_whole(reason) for call in self._calls)

    def ending(self, reason: str | None) -> str | None:
        """How a choice with these calls finished, where the server says just `stop`.

        Some do, and official clients would throw the calls away.
        """
        if reason != "stop" or not self._calls:
            return reason
        return "function_call" if self._is_legacy else "tool_calls"

    def _take(self, piece: Mapping[str, Any]) -> None:
        function = piece.get("function") or piece.get("custom")
        said = function if isinstance(function, Mapping) else NOTHING
        name, arguments, key = said.get("name"), said.get("arguments"), piece.get("id")
        if piece.keys() <= {"index", "type", "function"} and not (name or arguments):
            return  # a shell that says nothing
        call = self._call_of(piece.get("index"), key, name)
        call.key = call.key or key
        call.has_name |= isinstance(name, str) and not is_blank(name)
        call.is_free |= "custom" in piece or isinstance(arguments, Mapping)
        if isinstance(arguments, str):
            call.arguments.append(arguments)

    def _call_of(self, index: object, key: object, name: object) -> "_Call":
        """The call that a piece belongs to.

        Servers repeat an id or a name, give each piece an id of its own, or number
        all calls alike: only who has a name and another id begins a new one. Without
        an index a name is enough.
        """
        at = index if isinstance(index, int) else None
        last = self._at.get(at) if at is not None else next(reversed(self._calls), None)
        is_new = last is None or bool(name and (key != last.key if key else at is None))
        if last is None or is_new:
            last = _Call()
            self._calls.append(last)
            if at is not None:
                self._at[at] = last
        return last


class _Call:
    """One call so far. What is free is no JSON text, or was told as an object."""

    __slots__ = ("arguments", "has_name", "is_free", "key")

    def __init__(self) -> None:
        self.key: object = None
        self.has_name = self.is_free = False
        self.arguments: list[str] = []

    def is_whole(self, reason: str | None) -> bool:
        if not self.has_name or self.is_free:
            return self.has_name
        text = "".join(self.arguments)
        return reason != "length" if is_blank(text) else _is_json(text)


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_int=float)  # numbers of any length
    except (ValueError, RecursionError):
        return False
    return True
