"""Strict JSON: writes no NaN and no Infinity, which Python's own encoder does.

And that is no more than it looks: of few bytes many values can be made.
"""

import json
from collections.abc import Callable, Mapping
from json import encoder as library
from math import inf, isfinite
from typing import Any

PIECE = 65536  # bytes; counting so many holds the interpreter's lock under 1 ms

# Of all signs only these tell how many values there are: what comes before a value (a
# comma, or what the value is the first in), and where texts begin and end.
_MEANINGLESS = bytes(set(range(256)) - set(b'",[{'))


def plain_encoder(**options: Any) -> Callable[[Any], str]:
    """Return the `encode` of a json.JSONEncoder with these options, ready made.

    The library makes an encoder in C anew for each text, which costs five times as
    much as a short text itself. No value may hold itself.
    """
    made = json.JSONEncoder(check_circular=False, **options)
    make = getattr(library, "c_make_encoder", None)
    if make is None:
        return made.encode
    as_text = library.encode_basestring_ascii
    encode = make(
        None,
        made.default,
        as_text if made.ensure_ascii else library.encode_basestring,
        None,
        made.key_separator,
        made.item_separator,
        made.sort_keys,
        made.skipkeys,
        made.allow_nan,
    )
    return lambda value: "".join(encode(value, 0))


def encoder(**options: Any) -> Callable[[Any], str]:
    """Return what makes JSON text, with null for numbers that JSON has no words for.

    `options` are those of json.JSONEncoder.
    """
    encode = plain_encoder(allow_nan=False, **options)

    def strict(value: Any) -> str:
        try:
            return encode(value)
        except ValueError:  # which is rare, so that nothing is searched beforehand
            return encode(finite(value))

    return strict


def finite(value: Any) -> Any:
    """Return the JSON value with null in place of NaN and the infinities."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [finite(member) for member in value]
    return value


def openings(text: bytes) -> int:
    """How many lists and objects there are, if none of the signs are in texts."""
    return text.count(b"{") + text.count(b"[")


class ValueCounter:
    """Counts the values of a JSON text as it comes in, before a single one is made.

    `found` are those so far, and `containers` the lists and objects among them, which
    take the most memory. An empty list or object counts as two values. What comes
    behind a mistake may be counted wrongly. It belongs to one thread.
    """

    def __init__(self) -> None:
        self.found = self.containers = 0
        self._is_in_text = False
        self._escape = b""  # the first half of one

    def feed(self, piece: bytes) -> None:
        """Take in the next bytes; of large pieces every call to C holds the lock."""
        piece = self._without_escapes(self._escape + piece)
        if self._is_in_text and b'"' not in piece:
            return
        # Whatever stands before or behind two quotes stays inside or outside of texts.
        signs = piece.translate(None, _MEANINGLESS).replace(b'""', b"")
        parts = signs.split(b'"')
        outside = b"".join(parts[self._is_in_text :: 2])
        self.found += len(outside)
        self.containers += openings(outside)
        self._is_in_text ^= len(parts) % 2 == 0

    def _without_escapes(self, piece: bytes) -> bytes:
        """The piece without escaped quotes; half an escape at its end is kept back."""
        self._escape = b""
        if b"\\" not in piece:
            return piece
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece, self._escape = piece[:-1], b"\\"
        return piece.replace(b"\\\\", b"").replace(b'\\"', b"")


def holds_more_values(text: bytes, most: int, most_containers: float = inf) -> bool:
    """Whether JSON holds more values or containers than so many; see ValueCounter."""
    if len(text) <= min(most, most_containers):
        return False
    counter = ValueCounter()
    for start in range(0, len(text), PIECE):
        counter.feed(text[start : start + PIECE])
        if counter.found > most or counter.containers > most_containers:
            return True
    return False
