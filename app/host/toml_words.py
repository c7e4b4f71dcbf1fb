"""Words for what a validator finds wrong in a TOML file: ours, and never the value."""

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.host.toml_text import Loc

# By what the validator says; `{…}` are bounds, never what was given.
_WORDS = {
    "missing": "is missing",
    "literal_error": "must be {expected}",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be empty",
    "too_short": "must name at least {min_length}",
    "too_long": "must name at most {max_length}",
}
_KINDS = {
    "int_": "must be a whole number",
    "float_": "must be a number",
    "finite_": "must be a number that is not infinite",
    "string_": "must be text (in quotes)",
    "path_": "must be a path (in quotes)",
    "tuple_": "must be a list",
    "list_": "must be a list",
    "model_": "must be a table",
    "dict_": "must be a table",
    "bool_": "must be true or false",
}
_TABLES = ("upstreams", "routes", "tokens")  # lists of [[tables]]
# What stands in the place of a key may be a secret, so an odd one is not shown.
_PLAIN = re.compile(r"[a-z][a-z_]{0,40}|sha256")


def errors_of(error: ValidationError) -> list[ErrorDetails]:
    """All that is wrong, without what was given.

    A default that is made of another setting cannot be wrong by itself.
    """
    found = error.errors(include_input=False, include_url=False)
    return [one for one in found if one["type"] != "default_factory_not_called"]


def words_of(error: ErrorDetails, keys: Collection[str]) -> str:
    """What is wrong; `keys` are those that its table may have."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return error["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return f"there is no such key{nearest(str(error['loc'][-1]), keys)}"
    if kind in _WORDS:
        return _WORDS[kind].format(**_quoted(context))
    words = (words for begins, words in _KINDS.items() if kind.startswith(begins))
    return next(words, "cannot be used as it is")


def nearest(word: str, known: Iterable[str]) -> str:
    """What may be meant, as the end of a sentence; "" if nothing is spelt alike."""
    near = get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def key_of(loc: Loc) -> str:
    """A place as the file has it: `threads`, or `[[upstreams]] number 2, url`."""
    name, *rest = loc
    if name not in _TABLES or not (rest and isinstance(rest[0], int)):
        return ".".join(shown_key(part) for part in loc)
    where = f"[[{name}]] number {rest[0] + 1}"
    inner = ".".join(map(shown_key, rest[1:]))
    return f"{where}, {inner}" if inner else where


def shown_key(part: int | str) -> str:
    """A key as it may be told, or a place in a list, from 1 on."""
    if isinstance(part, int):
        return str(part + 1)
    return part if _PLAIN.fullmatch(part) else "a key"


def _quoted(context: Mapping[str, Any]) -> dict[str, Any]:
    """The bounds; choices come in quotes of another kind than ours."""
    return {
        name: value.replace("'", "`") if isinstance(value, str) else value
        for name, value in context.items()
    }
