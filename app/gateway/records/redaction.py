"""Redaction: secrets and personal data are taken out before a record is made.

This is the one place where it happens; what is looked for stands in tables beside it.
"""

import re
from collections.abc import Iterable, Mapping
from math import inf
from operator import is_
from time import monotonic
from typing import Any

from app.gateway.access.tokens import MARKER
from app.gateway.budget import Clock
from app.gateway.chain.big_work import TooLate
from app.gateway.records import card_numbers
from app.gateway.records.card_numbers import is_card, may_hold_cards, without_cards
from app.gateway.records.secret_forms import FORMS, HIDDEN, SIGNS
from app.gateway.records.secret_makes import PREFIXES, without_keys
from app.gateway.records.secret_names import (
    SCHEMA_WORDS,
    VALUE,
    is_counted,
    is_schema,
    is_sensitive,
    names_secret,
)

SHORTEST = 5  # characters that hold a secret of any kind: a@b.c

LONG = 65536  # characters; the time that is left is looked at before each pattern
SEARCH = 1e-7  # seconds that a pattern takes for a character, and as many to spare

# Those of the file of tokens, of which only digests are known (`tokens.new_token`).
_OUR_TOKEN = re.compile(rf"{MARKER}[\w-]{{40,}}+", re.ASCII)


class Redactor:
    """Replaces secrets in text and in JSON values. Threads may share it.

    `secrets` are the gateway's own, found by exact match wherever they stand. `until`
    is a time of the clock: what cannot be done by then ends in TooLate.
    """

    def __init__(self, secrets: Iterable[str] = (), clock: Clock = monotonic) -> None:
        self._secrets = tuple(s for s in secrets if s)
        self._signs = _by_mark((*self._secrets, *PREFIXES))
        self._clock = clock

    def until(self, seconds: float) -> float:
        """The time in so many seconds, as the methods below take it."""
        return self._clock() + seconds

    def text(self, text: str, until: float = inf) -> str:
        """Return the text with every known kind of secret replaced by its kind."""
        if len(text) < SHORTEST:
            return text
        if self._clock() > until:
            raise TooLate
        if len(text) <= LONG and self._shows_nothing(text):
            return text
        clean = self._redacted(text, until)
        return text if clean == text else clean

    def _shows_nothing(self, text: str) -> bool:
        """Whether there is no sign of anything to take out, as in most texts."""
        for mark, signs in self._signs:
            if mark in text and any(map(text.__contains__, signs)):
                return False
        shown = any(map(text.lower().__contains__, SIGNS))
        return not (shown or may_hold_cards(text))

    def _redacted(self, text: str, until: float) -> str:
        text = self._without_ours(text)
        self._require_time_for(text, until)
        text = without_keys(text)
        folded = text.lower()
        for sign, pattern, replacement in FORMS:
            if sign in folded:
                self._require_time_for(text, until)
                text = pattern.sub(replacement, text)
        self._require_time_for(text, until, 10 * SEARCH)
        return without_cards(text)

    def _require_time_for(self, text: str, until: float, each: float = SEARCH) -> None:
        if len(text) > LONG:
            self._require_time(until, len(text) * each)

    def _require_time(self, until: float, seconds: float = 0.0) -> None:
        if self._clock() + seconds > until:
            raise TooLate

    def name(self, name: str) -> str:
        """Return an id or the name of a model without what opens the gateway.

        Nothing else is taken out, else some ids would pass for cards.
        """
        if any(map(name.__contains__, self._secrets)):
            name = self._without_ours(name)
        return _OUR_TOKEN.sub("[redacted:token]", name) if MARKER in name else name

    def holds_secret(self, name: str) -> bool:
        """Whether an id or name holds what opens the gateway."""
        return self.name(name) != name

    def value(self, value: Any, until: float = inf) -> Any:
        """Return a JSON value redacted throughout, including by sensitive keys.

        Under such a key all is redacted, but counts of tokens and schemas. What holds
        nothing to redact is returned itself: large answers are in memory once.
        """
        if isinstance(value, str):
            return self.text(value, until)
        if self._clock() > until:
            raise TooLate
        if not value:
            return value
        if isinstance(value, list):
            items = [self.value(item, until) for item in value]
            return value if all(map(is_, items, value)) else items
        if isinstance(value, Mapping):
            return self._object(value, until)
        if isinstance(value, tuple):
            return [self.value(item, until) for item in value]
        is_a_card = isinstance(value, int | float) and is_card(value)
        return card_numbers.HIDDEN if is_a_card else value

    def _object(self, value: Mapping[str, Any], until: float) -> Any:
        hides_value = names_secret(value)
        members = [
            self._hidden(member, keeps_numbers=False)
            if hides_value and name == VALUE
            else self._member(name, member, until)
            for name, member in value.items()
        ]
        names = self._names(value, until)
        is_same = all(map(is_, names, value)) and all(map(is_, members, value.values()))
        if is_same and isinstance(value, dict):
            return value
        return dict(zip(names, members, strict=True))

    def _names(self, value: Mapping[str, Any], until: float = inf) -> list[str]:
        """The names of an object; those that are redacted alike are numbered."""
        names: list[str] = []
        taken = set(value)
        numbers: dict[str, int] = {}
        for name in value:
            clean = first = self.text(name, until)
            while clean != name and clean in taken:
                numbers[first] = numbers.get(first, 1) + 1
                clean = f"{first} {numbers[first]}"
            taken.add(clean)
            names.append(clean)
        return names

    def _member(self, key: str, value: Any, until: float) -> Any:
        if not is_sensitive(key):
            return self.value(value, until)
        self._require_time(until)
        return self._hidden(value, keeps_numbers=is_counted(key))

    def _hidden(self, value: Any, *, keeps_numbers: bool) -> Any:
        """The value's shape, with nothing in it."""
        if isinstance(value, Mapping):
            kept = SCHEMA_WORDS if is_schema(value) else ()
            members = (
                self.value(v)
                if k in kept
                else self._hidden(v, keeps_numbers=keeps_numbers)
                for k, v in value.items()
            )
            return dict(zip(self._names(value), members, strict=True))
        if isinstance(value, list | tuple):
            return [self._hidden(item, keeps_numbers=keeps_numbers) for item in value]
        is_number = isinstance(value, int | float)
        says_nothing = value in (None, "") or isinstance(value, bool)
        return value if says_nothing or (is_number and keeps_numbers) else HIDDEN

    def _without_ours(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "[redacted:token]")
        return text


def _by_mark(signs: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Signs by a character that they hold: a text without it holds none of them.

    Few texts hold one of the first two, and nearly all signs do.
    """
    left, groups = [*signs], []
    for mark in ("_", "-", ""):
        groups.append((mark, tuple(sign for sign in left if mark in sign)))
        left = [sign for sign in left if mark not in sign]
    return tuple(groups)
