"""JSON that is JSON: Python's own writes NaN and Infinity, which no standard knows."""

import json
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any


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
