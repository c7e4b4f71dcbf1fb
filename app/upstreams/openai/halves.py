"""Halves of surrogate pairs: the character that a server has cut into two events.

A server that streams UTF-16 code units, or whose model stops within a character, sends
half of one as its escape. Two halves that follow each other become the character, a
single one becomes U+FFFD: no answer is lost for it, and what is sent on is valid.
"""

import json
import re
from collections.abc import Hashable, Mapping
from typing import Any

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_FIRST = re.compile("[\ud800-\udbff]\\Z")
UNKNOWN = "\ufffd"


def mended(body: bytes) -> bytes:
    """JSON with U+FFFD in place of each half that stands alone."""
    if not _HALF.search(body):
        return body
    return _ESCAPE.sub(lambda m: rb"\ufffd" if m[1] else m[0], body)


class Halves:
    """The halves that wait for their other one. It belongs to one thread.

    `are_any` is whether the stream has ever sent a half: only then need its texts be
    looked at.
    """

    def __init__(self) -> None:
        self.are_any = False
        self._first: dict[tuple[Hashable, ...], str] = {}  # by where it was said

    def parsed(self, data: bytes) -> object:
        """The JSON value of an event whose parser refused it; None if it is none."""
        if not _HALF.search(data):
            return None
        try:
            value: object = json.loads(data)
        except (ValueError, RecursionError):
            return None
        self.are_any = True
        return value

    def joined(self, value: Any, *at: Hashable) -> Any:
        """The value with whole characters only; a first half at an end is held back."""
        if isinstance(value, str):
            return self._text(value, at)
        if isinstance(value, Mapping):
            return {
                str(self._text(name, (*at, None))): self.joined(member, *at, name)
                for name, member in value.items()
            }
        if isinstance(value, list | tuple):
            return [
                self.joined(item, *at, item.get("index", i) if _is_object(item) else i)
                for i, item in enumerate(value)
            ]
        return value

    def rest(self) -> tuple[Mapping[str, Any], ...]:
        """What is left at the end, as pieces of the choices whose text it ends."""
        lost = [at for at in self._first if at[1:] == ("delta", "content")]
        self._first.clear()
        delta = {"content": UNKNOWN}
        return tuple(
            {"index": at[0], "delta": delta, "finish_reason": None} for at in lost
        )

    def _text(self, text: str, at: tuple[Hashable, ...]) -> str:
        text = self._first.pop(at, "") + text
        if text.isascii():
            return text
        if (first := _FIRST.search(text)) and at[-1] is not None:
            self._first[at] = first[0]
            text = text[:-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _is_object(value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("index", 0), int)
