"""Names of members of JSON whose values are secrets, and those that only sound so."""

import re
from collections.abc import Mapping
from typing import Any

LONGEST = 128  # characters of a name that are looked at; the rest is a text

# For names in lower case: case-blind patterns are several times slower.
_SENSITIVE = re.compile(
    r"pass(?:word|wd|phrase|code)|(?<![a-z])(?:pass|pwd|pw)(?![a-z])"
    r"|(?:^|[^a-z])(?:pin|auth)$"
    r"|secret(?!ar)|token(?!iz)|api[_-]?key|(?:access|private)[_-]?key"
    r"|authorization|cookie|credential"
)
# The same where a capital letter begins a word: dbPwd.
_CAPITAL = re.compile(r"[a-z0-9](?:Pass|Pwd|Pw|Pin|Auth)$")
# Names of numbers that count or number tokens, and are none.
_COUNTED = re.compile(
    r"tokens|(?:max|min|num|per|total)[_-]?token"
    r"|token[_-]?(?:budget|count|id|index|limit|type|usage)"
)
# A sensitive name may hold a JSON schema instead of a value; its words are kept.
_SCHEMA_TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")
SCHEMA_WORDS = frozenset({"type", "description", "title", "format"})
# Members that hold a name, and the one beside it that holds the value of that name.
_NAMING = ("name", "key", "field")
VALUE = "value"


def is_sensitive(name: str) -> bool:
    """Whether what stands under such a name is a secret."""
    name = name[:LONGEST]
    return bool(_SENSITIVE.search(name.lower()) or _CAPITAL.search(name))


def is_counted(name: str) -> bool:
    """Whether such a name may be that of a number, which is none of a secret."""
    return bool(_COUNTED.search(name[:LONGEST].lower()))


def names_secret(value: Mapping[str, Any]) -> bool:
    """Whether an object says of its value, in words, that it is a secret."""
    return VALUE in value and any(
        isinstance(name := value.get(member), str) and is_sensitive(name)
        for member in _NAMING
    )


def is_schema(value: Mapping[str, Any]) -> bool:
    """Whether an object describes a value instead of holding one."""
    return value.get("type") in _SCHEMA_TYPES
