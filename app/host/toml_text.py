"""TomlText: a TOML file as its author sees it, with the lines and with every mistake.

`tomllib` ends at the first mistake and keeps no lines. Here a text is cut into its
statements, each of which is TOML by itself, so that the rest of a text with mistakes
is of use, and what is wrong with a value can be told with its line.
"""

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Loc = tuple[int | str, ...]

# Statements of more lines, and texts, are told without lines: finding out where a
# statement ends takes the square of its lines.
MOST_OF_STATEMENT, MOST_OF_TEXT = 100, 5_000
MOST_MISTAKES = 50  # of a text with more, nothing is used

_END = "(at end of document)"
# By what `tomllib` says, none of whose words may be shown: it quotes keys.
_WHY = {
    "Cannot overwrite": "this key stands there twice",
    "Cannot declare": "this table stands there twice",
    "Cannot mutate": "this key stands there twice",
    "Cannot redefine": "this table stands there twice",
    "Duplicate inline": "a key stands there twice within { }",
    "Expected '='": "there is no `=` behind the key",
    "Expected newline": "something stands behind the value",
    "Expected ']": "a `]` is missing",
    "Unclosed": "a bracket is not closed",
    "Unterminated": "the quotes are not closed",
    "Illegal character": "the quotes are not closed, or there is an odd character",
    'Expected "\'"': "the quotes are not closed",
    "Unescaped": "a `\\` in double quotes must be doubled",
    "Invalid value": "the value is none of TOML's: text needs quotes",
    "Invalid statement": "this is neither a key with its value nor a [table]",
    "Invalid initial": "this is neither a key with its value nor a [table]",
    "Invalid date": "there is no such date or time",
}
_OTHER = "this is no TOML"
_OPEN = "a bracket, or the quotes, are not closed"
_NESTED = "is nested too deeply"


@dataclass(frozen=True, slots=True)
class Mistake:
    """What keeps a line from being TOML; `line` is None if it is about the whole."""

    words: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class _Statement:
    """Lines `begin` to `end` of a text, from 0 on; `why` says what is wrong."""

    begin: int
    end: int
    values: dict[str, Any]
    is_header: bool = False
    why: str = ""


@dataclass(slots=True)
class TomlText:
    """What a text says, as far as it is TOML. For one thread.

    `values` come from all statements that are right.
    """

    text: str
    values: dict[str, Any] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    _lines: dict[Loc, int] | None = None
    _torn: set[Loc] = field(default_factory=set)

    def __post_init__(self) -> None:
        try:
            self.values = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            self._make_do(_why(error), _line(error))
        except RecursionError:
            self.mistakes.append(Mistake(_NESTED))

    def line_of(self, loc: Loc) -> int | None:
        """The line where this value is said, or the table that it should be in.

        Lines and places in lists count as `loc` of a validator does, so from 0 in
        lists; lines count from 1. None if nothing is known.
        """
        if self._lines is None:
            self._lines = {}
            self._find_lines()
        ends = range(len(loc), 0, -1)
        return next(
            (self._lines[loc[:n]] for n in ends if loc[:n] in self._lines), None
        )

    def is_torn(self, loc: Loc) -> bool:
        """Whether mistakes may have kept something of this table from being read."""
        self.line_of(loc)
        return loc in self._torn

    def _make_do(self, why: str, line: int | None) -> None:
        """Take what can be used of a text with mistakes, and tell each of these."""
        lines = self.text.replace("\r\n", "\n").split("\n")
        statements = list(_statements(lines)) if len(lines) < MOST_OF_TEXT else []
        bad = [one for one in statements if one.why]
        while len(bad) < MOST_MISTAKES:
            rest = _without(lines, statements, bad)
            try:
                self.values = tomllib.loads("\n".join(rest))
                break
            except tomllib.TOMLDecodeError as error:
                at = _line(error)
                more = [s for s in statements if at and s.begin < at <= s.end]
                if not more or more[0] in bad:
                    self.mistakes = [Mistake(why, line)]
                    return
                bad.append(_wrong(more[0], _why(error)))
        told = sorted(bad, key=lambda statement: statement.begin)
        self.mistakes = [Mistake(one.why, one.begin + 1) for one in told]

    def _find_lines(self) -> None:
        lines = self.text.replace("\r\n", "\n").split("\n")
        if len(lines) >= MOST_OF_TEXT or self._lines is None:
            return
        table: Loc = ()
        counts: dict[Loc, int] = {}
        for statement in _statements(lines):
            if statement.why:
                self._torn.add(table)
                table = ("",) if statement.is_header else table
            elif statement.is_header:
                table = _table(statement.values, counts)
                for end in range(1, len(table) + 1):
                    self._lines.setdefault(table[:end], statement.begin + 1)
            else:
                for loc in _places(statement.values, table):
                    self._lines.setdefault(loc, statement.begin + 1)


def _statements(lines: Sequence[str]) -> Iterator[_Statement]:
    at = 0
    while at < len(lines):
        statement = _statement(lines, at)
        yield statement
        at = statement.end


def _statement(lines: Sequence[str], begin: int) -> _Statement:
    """The one that begins there; of one that is wrong, its first line."""
    is_header = lines[begin].lstrip().startswith("[")
    why = ""
    for end in range(begin + 1, min(len(lines), begin + MOST_OF_STATEMENT) + 1):
        try:
            values = tomllib.loads("\n".join(lines[begin:end]) + "\n")
        except tomllib.TOMLDecodeError as error:
            why = _OPEN
            if _END not in str(error):
                at = _line(error) or 1
                inner = f"{_OPEN}, or line {begin + at} is wrong"
                why = _why(error) if at == 1 else inner
                break
        except RecursionError:
            why = _NESTED
            break
        else:
            return _Statement(begin, end, values, is_header)
    return _Statement(begin, begin + 1, {}, is_header, why)


def _wrong(statement: _Statement, why: str) -> _Statement:
    begin, end = statement.begin, statement.end
    return _Statement(begin, end, {}, statement.is_header, why)


def _without(
    lines: Sequence[str], statements: Sequence[_Statement], bad: Sequence[_Statement]
) -> list[str]:
    """The lines, empty where a statement is bad, or stands below a header that is."""
    rest, begins = list(lines), {one.begin for one in bad}
    below_bad = False
    for one in statements:
        if one.is_header:
            below_bad = one.begin in begins
        if below_bad or one.begin in begins:
            rest[one.begin : one.end] = [""] * (one.end - one.begin)
    return rest


def _table(values: dict[str, Any], counts: dict[Loc, int]) -> Loc:
    """The place of a header's table; `counts` are of the lists of tables so far."""
    table: Loc = ()
    node: Any = values
    while node:
        ((key, node),) = node.items()
        table += (key,)
        if isinstance(node, list):
            counts[table] = counts.get(table, 0) + 1
            node = None
        if table in counts:
            table += (counts[table] - 1,)
    return table


def _places(value: Any, loc: Loc) -> Iterator[Loc]:
    """The places of all that a statement says, each below the table `loc`."""
    found = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in found:
        yield (*loc, key)
        if isinstance(inner, dict | list):
            yield from _places(inner, (*loc, key))


def _why(error: tomllib.TOMLDecodeError) -> str:
    text = str(error)
    return next((why for said, why in _WHY.items() if text.startswith(said)), _OTHER)


def _line(error: tomllib.TOMLDecodeError) -> int | None:
    found = re.search(r"\(at line (\d+), column \d+\)", str(error))
    return int(found[1]) if found else None
