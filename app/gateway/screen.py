"""Screen: foreign text as a terminal may be given it, for commands and the log.

What drives a terminal, turns the order of letters round or is not seen is shown by its
number, as the console shows it in a browser.
"""

import json
import unicodedata
from functools import lru_cache
from typing import Any

_KEPT = "\n\t"
# Not seen, though they are letters or marks: fillers and selectors of a form.
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")


def shown(text: str) -> str:
    """Return the text with what is not seen by its number; lines and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    unseen = {ord(character): _number(character) for character in set(text)}
    return text.translate(unseen)


def one_line(text: str) -> str:
    """Return the text as `shown` does, with ends of lines and tabs by number too."""
    return shown(text).replace("\n", "U+000A").replace("\t", "U+0009")


def json_text(value: Any, indent: int | None = None) -> str:
    """Return JSON in printable ASCII, which any screen may be given."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


@lru_cache(maxsize=1024)
def _number(character: str) -> str:
    if character in _KEPT or not _is_unseen(character):
        return character
    return f"U+{ord(character):04X}"


def _is_unseen(character: str) -> bool:
    code = ord(character)
    return (
        unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn")
        or character in _FILLERS
        or 0xFE00 <= code <= 0xFE0F
        or 0xE0000 <= code <= 0xE0FFF
        or 0x180B <= code <= 0x180F
    )
