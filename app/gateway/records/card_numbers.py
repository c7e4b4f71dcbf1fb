"""Card numbers: digits in groups that an issuer's number may have, and that pass Luhn.

Times in milliseconds, numbers of devices and books, and most of those of orders are
told from them by how they begin and how long they are.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import accumulate, chain, takewhile
from typing import NamedTuple

HIDDEN = "[redacted:card]"
SHORTEST, LONGEST = 14, 19  # digits
MOST_GROUPS = 6  # of a card, its date and its code; more of a kind are a list


class Issuer(NamedTuple):
    """An issuer: how its numbers begin, how many digits they have, and one of them."""

    name: str
    beginning: str
    lengths: frozenset[int]
    example: str


def _lengths(*lengths: int) -> frozenset[int]:
    return frozenset(lengths)


ISSUERS = (
    Issuer("Visa", "4", _lengths(16, 19), "4111111111111111"),
    Issuer("Mastercard", "5[1-5]", _lengths(16), "5555555555554444"),
    Issuer(
        "Mastercard",
        "222[1-9]|22[3-9]|2[3-6]|27[01]|2720",
        _lengths(16),
        "2223003122003222",
    ),
    Issuer("American Express", "3[47]", _lengths(15), "378282246310005"),
    Issuer("Diners Club", "30[0-5]|36|3[89]", _lengths(14, 16), "30569309025904"),
    Issuer("JCB", "35(?:2[89]|[3-8])", _lengths(16, 19), "3530111333300000"),
    Issuer("Mir", "220[0-4]", _lengths(16, 17, 18, 19), "2200000000000004"),
    Issuer("UnionPay", "62", _lengths(16, 17, 18, 19), "6205500000000000004"),
    Issuer("Discover, RuPay", "6[045]", _lengths(16, 19), "6011111111111117"),
    Issuer("Maestro", "5[06-8]|6[37]", _lengths(16, 18, 19), "6759649826438453"),
    Issuer("RuPay", "8[12]", _lengths(16), "8172460000000001"),
    Issuer("Troy", "9792", _lengths(16), "9792030000000000"),
)  # fmt: skip

_BEGINNING = re.compile("|".join(f"({issuer.beginning})" for issuer in ISSUERS))

_BETWEEN = r"(?:[^\w.,:;()\[\]{}\"'=+<>]|_){1,3}+"  # the groups of one number
# Groups, or digits one by one; digits behind a point are a fraction.
_RUN = re.compile(
    r"[0-9](?<![0-9]{2})(?<![0-9]\.[0-9])"
    rf"(?:[0-9][0-9]++(?:{_BETWEEN}[0-9]{{2,}}+)*+"
    rf"|(?:{_BETWEEN}[0-9](?![0-9])){{13,}}+)"
)
# What also stands between numbers of a list is between groups of a card's usual form.
_USUAL = re.compile(
    r"[0-9](?<![0-9]{2})(?<![0-9][.,:;][0-9])[0-9]{3}"
    r"(?:([.,:;])[0-9]{4}(?:\1[0-9]{4}){2}|([.,:;])[0-9]{6}\2[0-9]{4,5})"
    r"(?![.,:;]?[0-9])"
)
_UNSEEN = "\ufffe"  # is no character; stands for those that are not seen
_SPLIT = re.compile(r"([^0-9]+)")

# Each second digit counts double, and the digits of that are added up.
_VALUES = bytes.maketrans(b"0123456789", bytes(range(10)))
_DOUBLED = bytes.maketrans(bytes(range(10)), bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))


def without_cards(text: str) -> str:
    """Return the text with card numbers taken out, in digits of any script."""
    if len(text) < SHORTEST:
        return text
    folded, places = (text, None) if text.isascii() else _folded(text)
    kept: list[str] = []
    end = 0
    for first, behind in sorted([*_in_runs(folded), *_in_usual_form(folded)]):
        start = first if places is None else places[first]
        if start >= end:
            kept += [text[end:start], HIDDEN]
            end = behind if places is None else places[behind - 1] + 1
    return "".join([*kept, text[end:]]) if kept else text


def may_hold_cards(text: str) -> bool:
    """Whether there is any sign of a card's number; most texts have none."""
    return not text.isascii() or bool(_RUN.search(text) or _USUAL.search(text))


def is_card(number: float) -> bool:
    """Whether a number of JSON is a card's."""
    if not 10 ** (SHORTEST - 1) <= number < 10**LONGEST or number % 1:
        return False
    return _is_number_of_card(str(int(number)))


def _in_runs(text: str) -> Iterator[tuple[int, int]]:
    for run in _RUN.finditer(text):
        start, stop = run.span()
        if stop - start < SHORTEST:
            continue
        parts = _SPLIT.split(run[0])
        if len(parts[0]) > 1:
            yield from _in_groups(parts, start)
        elif _is_number_of_card("".join(parts[::2])):
            yield start, stop


def _in_usual_form(text: str) -> Iterator[tuple[int, int]]:
    for match in _USUAL.finditer(text):
        if _is_number_of_card("".join(_SPLIT.split(match[0])[::2])):
            yield match.span()


def _in_groups(parts: list[str], start: int) -> Iterator[tuple[int, int]]:
    """Where cards stand in a run of groups, which are every other part."""
    starts = list(accumulate(map(len, parts), initial=start))
    cards = _Groups(parts[::2])
    first = card_before = 0
    while first < len(parts):
        last = 2 * cards.last_of_card(first // 2)
        if last < 0:
            first += 2
            continue
        # Two cards in a row are hardly numbers of a list that happen to look like them.
        is_in_a_row = first and first == card_before
        is_in_a_row = is_in_a_row or cards.last_of_card(last // 2 + 1) >= 0
        if is_in_a_row or not _is_of_list(parts, first, last):
            yield starts[first], starts[last + 1]
            first = card_before = last + 2
        else:
            first += 2


class _Groups:
    """The digits of some groups, and which of them are a card."""

    def __init__(self, groups: list[str]) -> None:
        self._digits = "".join(groups)
        self._values = self._digits.encode().translate(_VALUES)
        self._doubled = self._values.translate(_DOUBLED)
        self._starts = list(accumulate(map(len, groups), initial=0))
        self._group_at = {at: number for number, at in enumerate(self._starts)}

    def last_of_card(self, first: int) -> int:
        """The last group of the card that begins with a group; -1 if none does."""
        start = self._starts[first]
        match = _BEGINNING.match(self._digits, start)
        if match is None or not match.lastindex:
            return -1
        for length in ISSUERS[match.lastindex - 1].lengths:
            end = self._group_at.get(start + length)
            if end is not None and self._passes_luhn(start, start + length):
                return end - 1
        return -1

    def _passes_luhn(self, start: int, end: int) -> bool:
        is_odd = (end - start) % 2
        doubled = self._doubled[start + is_odd : end : 2]
        return (
            sum(doubled) + sum(self._values[start + 1 - is_odd : end : 2])
        ) % 10 == 0


def _is_of_list(parts: list[str], first: int, last: int) -> bool:
    """Whether there are more groups of the same kind than a card, its date and code."""
    groups = (last - first) // 2 + 1
    if len(parts) < 2 * MOST_GROUPS or groups in (1, len(parts) // 2 + 1):
        return False
    between = parts[first + 1]
    if any(other != between for other in parts[first + 1 : last : 2]):
        return True
    most = 2 * MOST_GROUPS
    before = takewhile(between.__eq__, parts[max(first - most, 0) : first][::-2])
    after = takewhile(between.__eq__, parts[last + 1 : last + most : 2])
    return groups + len([*before, *after]) > MOST_GROUPS


def _is_number_of_card(digits: str) -> bool:
    return _Groups([digits]).last_of_card(0) == 0


def _folded(text: str) -> tuple[str, list[int] | None]:
    """The text with all its digits in ASCII, and where each of its characters stood.

    The places are None if they are the same.
    """
    folded = text.translate(_folds())
    if _UNSEEN not in folded:
        return folded, None
    places = [place for place, c in enumerate(folded) if c != _UNSEEN]
    return folded.replace(_UNSEEN, ""), places


@cache
def _folds() -> dict[int, str]:
    """What each digit stands for, and what is not seen between digits."""
    folds = {}
    for number in chain(range(0x80, 0x20000), range(0xE0000, 0xE01F0)):
        digit = unicodedata.digit(chr(number), None)
        if digit is not None:
            folds[number] = str(digit)
        elif unicodedata.category(chr(number)) in ("Cf", "Mn", "Me"):
            folds[number] = _UNSEEN
    return folds
