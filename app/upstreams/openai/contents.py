"""The content of a message or delta where it is no text but a list of parts.

Clients of OpenAI's dialect read a text there. Each part goes where they look for its
kind: text into `content`, thoughts and refusals under their names, pictures and sound
as the answers that consist of them have it. All else is in PARTS, as it came.
"""

from collections.abc import Mapping
from typing import Any

from app.gateway.chat import THOUGHTS

PARTS = "content_parts"

TEXTS = frozenset({"text", "output_text", ""})
THINKING = frozenset({"thinking", "reasoning", "thought", "reasoning_text"})
PICTURES = frozenset({"image_url", "image", "output_image"})
DEEPEST = 4  # lists of parts within each other; those of thoughts are in one


def with_text(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message or delta with a text as its content, or with none at all.

    One whose content is neither a text nor parts comes back as it is.
    """
    content = part.get("content")
    if content is None or isinstance(content, str):
        return part
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list) or not all(map(_is_part, content)):
        return part
    sorted_parts = _Sorted()
    for item in content:
        sorted_parts.add(item)
    return {**part, **sorted_parts.members(part)}


class _Sorted:
    """The parts of one content by where they go."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self.refusals: list[str] = []
        self.pictures: list[Any] = []
        self.audio: Any = None
        self.others: list[Any] = []

    def add(self, part: str | Mapping[str, Any]) -> None:
        """Take in one part."""
        if isinstance(part, str):
            self.texts.append(part)
            return
        kind, text = part.get("type", ""), part.get("text")
        if kind in TEXTS and isinstance(text, str):
            self.texts.append(text)
        elif kind in THINKING:
            self.thoughts.append(_words_of(part))
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            self.refusals.append(part["refusal"])
        elif kind in PICTURES:
            self.pictures.append(part)
        elif kind == "audio" and isinstance(part.get("audio"), Mapping):
            self.audio = part["audio"]
        else:
            self.others.append(part)

    def members(self, part: Mapping[str, Any]) -> dict[str, Any]:
        """The members of the message that these parts make, beside those it has."""
        members: dict[str, Any] = {"content": "".join(self.texts) or None}
        if self.thoughts and not any(part.get(name) for name in THOUGHTS):
            members["reasoning_content"] = "".join(self.thoughts)
        if self.refusals and not part.get("refusal"):
            members["refusal"] = "".join(self.refusals)
        if self.pictures and not part.get("images"):
            members["images"] = self.pictures
        if self.audio and not part.get("audio"):
            members["audio"] = self.audio
        if self.others:
            members[PARTS] = self.others
        return members


def _is_part(part: object) -> bool:
    is_typed = isinstance(part, Mapping) and isinstance(part.get("type", ""), str)
    return is_typed or isinstance(part, str)


def _words_of(value: object, depth: int = 0) -> str:
    """The words of a thought, which may be parts again."""
    if isinstance(value, str):
        return value
    if depth > DEEPEST:
        return ""
    if isinstance(value, Mapping):
        names = ("thinking", "reasoning", "text", "summary", "content")
        return _words_of(next((value[n] for n in names if value.get(n)), ""), depth + 1)
    parts = value if isinstance(value, list) else ()
    return "".join(_words_of(item, depth + 1) for item in parts)
