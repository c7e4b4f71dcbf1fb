"""Strict JSON: writes no NaN and no Infinity, which Python's own encoder does.

And that is no more than it looks: of few bytes many values can be made.
"""

import json
import re
from collections.abc import Callable, Mapping
from itertools import islice
from math import isfinite
from typing import Any

# What comes before a value: a comma, or what the value is the first in. Each text, or
# the beginning of one that has no end, is passed over as a whole.
_BEFORE_VALUE = re.compile(rb'[,{\[]|"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


def encoder(**options: Any) -> Callable[[Any], str]:
    """Return what makes JSON text, with null for numbers that JSON has no words for.

    `options` are those of json.JSONEncoder.
    """
    encode = json.JSONEncoder(allow_nan=False, **options).encode

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


def holds_more_values(text: bytes, most: int) -> bool:
    """Whether JSON holds more values than so many, before a single one is made.

    An empty list or object counts as two.
    """
    if len(text) <= most or openings(text) + text.count(b",") <= most:
        return False
    found = (match[0] for match in _BEFORE_VALUE.finditer(text))
    beyond = islice((sign for sign in found if len(sign) == 1), most, None)
    return next(beyond, None) is not None
