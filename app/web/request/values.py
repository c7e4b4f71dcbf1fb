"""Values: what the JSON of a body may hold, and from bytes to that.

Whoever sends a body chooses its shape, so all that is done with one takes time and
memory in proportion to its bytes, and a body of few bytes and many values is refused
before a value is made of it. A body of ordinary text is not walked through at all.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from typing import Any

from pydantic_core import from_json

from app.gateway.strict_json import holds_more_values, openings
from app.web.request.errors import InvalidBody

# A conversation of 2,000 messages half of which are tool calls has 14,000.
MOST_VALUES = 30_000  # objects, lists, texts, numbers and the like, all together
MOST_DEPTH = 64  # objects and lists in one another

# Without one of these no number is beyond what a float holds, so nothing is searched.
_EXPONENT = re.compile(rb"[eE](?<=\d.)\+?\d\d")
_MANY_DIGITS = re.compile(rb"\d(?<!\d\d)\d{299}")
_PLAIN_NAME = re.compile(r"[\w-]{1,40}", re.ASCII)

# Where a value stands: the place of what it is in, its key or number there, and the
# field of the body that holds it all.
_Place = tuple["_Place", str | int, str | int] | None


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Characters that texts may not hold, and what they are called.

    `signs` finds what stands for one in JSON, where it is always escaped. `fields` are
    those of the body whose texts are meant; None stands for all.
    """

    name: str
    characters: re.Pattern[str]
    signs: re.Pattern[bytes]
    fields: frozenset[str] | None = None

    def is_in(self, place: _Place, value: Any) -> bool:
        """Whether a value, or the name it stands under, is a text that holds one."""
        if place is None or not (self.fields is None or place[2] in self.fields):
            return False
        texts = (text for text in (place[1], value) if isinstance(text, str))
        return any(map(self.characters.search, texts))


NOTHING = Forbidden("nothing", re.compile(r"(?!)"), re.compile(rb"(?!)"))


def too_many_values(most: int) -> InvalidBody:
    """The refusal of a body that holds more than `most` values."""
    return InvalidBody({"body": f"must not hold more than {most} values"})


def parsed(body: bytes, forbidden: Forbidden = NOTHING, most: int = MOST_VALUES) -> Any:
    """Return the body as a JSON value; it may hold `most` of them.

    Raises InvalidBody when it is not JSON (strict UTF-8, no NaN, no number beyond a
    float's range such as 1e999), or holds too many values, too deep ones, or texts
    with what is forbidden.
    """
    if holds_more_values(body, most, MOST_VALUES):  # so many lists make much of little
        raise too_many_values(most)
    try:
        value = from_json(body, allow_inf_nan=False)
    except (ValueError, RecursionError):
        raise InvalidBody({"body": "is not valid JSON in UTF-8"}) from None
    if _may_be_odd(body, forbidden):
        for place, member in _walk(value):
            _look_at(place, member, forbidden)
    return value


def _may_be_odd(body: bytes, forbidden: Forbidden) -> bool:
    """Whether there is any sign of what only a look at each value can find."""
    return (
        openings(body) > MOST_DEPTH
        or _EXPONENT.search(body) is not None
        or (len(body) > 300 and _MANY_DIGITS.search(body) is not None)
        or (b"\\" in body and forbidden.signs.search(body) is not None)
    )


def _walk(value: Any) -> Iterator[tuple[_Place, Any]]:
    """Yield all values with their places, level by level: no recursion, no copies."""
    level: list[tuple[_Place, Any]] = [(None, value)]
    for _ in range(MOST_DEPTH + 1):
        yield from level
        level = [pair for place, item in level for pair in _members(place, item)]
    if level:
        wanted = f"must not be nested more than {MOST_DEPTH} deep"
        raise InvalidBody({_field(level[0][0]): wanted})


def _members(place: _Place, value: Any) -> Iterator[tuple[_Place, Any]]:
    named = value.items() if isinstance(value, dict) else ()
    listed = enumerate(value) if isinstance(value, list) else ()
    for key, member in chain(named, listed):
        yield (place, key, place[2] if place else key), member


def _look_at(place: _Place, value: Any, forbidden: Forbidden) -> None:
    """The parser makes infinity of a number that is too large (measured)."""
    if isinstance(value, float) and not isfinite(value):
        raise InvalidBody({_told(place): "must be a number that a float can hold"})
    if forbidden.is_in(place, value):
        raise InvalidBody({_told(place): f"must not hold {forbidden.name}"})


def _field(place: _Place) -> str:
    """The name of the body's field that a place is in."""
    return _shown(str(place[2])) if place else "body"


def _told(place: _Place) -> str:
    """A place in words; of names only those that can be no secret."""
    names: list[str] = []
    while place is not None:
        place, name, _ = place
        names.append(_shown(str(name)))
    return ".".join(reversed(names)) or "body"


def _shown(key: str) -> str:
    return key if _PLAIN_NAME.fullmatch(key) else "*"
