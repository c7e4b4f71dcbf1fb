"""The end of a JSON value that comes in pieces, of which more may come."""

import re
from collections.abc import Sequence

_SIGNS = re.compile(r'\\.|["{}\[\]]', re.DOTALL)


class JsonEnd:
    """Finds where an object or a list ends. Linear in its length; one thread's."""

    __slots__ = ("_carry", "_depth", "_has_begun", "_is_text", "_read")

    def __init__(self) -> None:
        self._read = 0  # pieces
        self._carry = ""  # a sign of escape without what it stands before
        self._depth = 0
        self._has_begun = self._is_text = False

    @property
    def is_reached(self) -> bool:
        """Whether as much has ended as was begun."""
        return not (self._depth or self._is_text)

    def is_begun(self, pieces: Sequence[str]) -> bool:
        """Read the pieces that are new; return whether an object has begun."""
        text = self._carry + "".join(pieces[self._read :])
        self._read = len(pieces)
        for sign in _SIGNS.findall(text):
            self._take(sign)
        escapes = len(text) - len(text.rstrip("\\"))
        self._carry = "\\" * (escapes % 2)
        return self._has_begun

    def _take(self, sign: str) -> None:
        if sign == '"':
            self._is_text = not self._is_text
        elif not self._is_text and sign in "{[":
            self._depth, self._has_begun = self._depth + 1, True
        elif not self._is_text and sign in "}]":
            self._depth -= 1
