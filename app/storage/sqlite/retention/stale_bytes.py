"""Stale bytes: what SQLite leaves of moved records in the free part of a page.

`secure_delete` fills with zeros what is deleted. But when a page is put together anew
because its records have grown or moved, copies of these stay in its free part, and
outlive the words that are erased later. So the pages around erased records are looked
at, and where the free part is not empty a record of that page grows to fill it and
shrinks again: what it leaves is filled with zeros. A record whose page holds no other
moves to the table's end.

Only the layout of pages is read here, which SQLite keeps stable
(https://www.sqlite.org/fileformat2.html); all is written by SQLite.
"""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

INTERIOR, LEAF = 5, 13  # kinds of pages of a table
NO_WORDS = 4  # bytes that may be left: the place of a record that was in the page
SHORT_BLOB = 57  # the type of a longer one takes a byte more
# A record needs as much of a page for other things before it goes into further pages.
OVERHEAD = 35

_GROW = (
    "UPDATE records SET mac = zeroblob(?)"
    " WHERE rowid = ? AND seq IS NOT NULL AND mac IS NULL"
)
# Where it is alone in its page: an empty page is filled with zeros as a whole.
_MOVE = (
    "UPDATE records SET rowid = (SELECT max(rowid) + 1 FROM records)"
    " WHERE rowid = ? AND seq IS NOT NULL AND salt IS NULL"
)
_SHRINK = "UPDATE records SET mac = NULL WHERE rowid = ?"


class Cell(NamedTuple):
    """A record in a page: the bytes of its values, and its number in the table."""

    payload: int
    rowid: int


class StaleBytes:
    """Finds and covers them. One thread's; call it under the writers' lock.

    The file stays open, for to close it would free SQLite's own locks on it.
    """

    def __init__(self, database: Path) -> None:
        self._path, self._fd = database, -1
        self._size = self._usable = 0

    def cover(self, connection: sqlite3.Connection, first: int, last: int) -> int:
        """Empty the free parts of the pages that hold the rows `first` to `last`.

        To be called in a transaction before which all of the log was brought into the
        database. Returns how many pages were not empty. Raises OSError.
        """
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'records'"
        (root,) = connection.execute(query).fetchone()
        self._open()
        return sum(
            self._covered(connection, page) for page in self._leaves(root, first, last)
        )

    def _open(self) -> None:
        """Open the file, unless it is open and still the one of this path."""
        if self._fd < 0 or not os.path.samestat(os.fstat(self._fd), self._path.stat()):
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        header = os.pread(self._fd, 100, 0)
        size = int.from_bytes(header[16:18], "big")
        self._size = 65536 if size == 1 else size
        self._usable = self._size - header[20]

    def _page(self, number: int) -> bytes:
        return os.pread(self._fd, self._size, (number - 1) * self._size)

    def _leaves(self, number: int, first: int, last: int) -> Iterator[bytes]:
        """The leaves of the table that may hold these rows."""
        page = self._page(number)
        if page[0] == LEAF:
            yield page
        if page[0] != INTERIOR:
            return
        for at in _pointers(page, 12):
            child, (most, _) = _number(page, at), _varint(page, at + 4)
            if most >= first:
                yield from self._leaves(child, first, last)
            if most >= last:
                return
        yield from self._leaves(_number(page, 8), first, last)

    def _covered(self, connection: sqlite3.Connection, page: bytes) -> bool:
        """Empty the free part of a leaf; return whether there was need of it."""
        begin, end = 8 + 2 * _short(page, 3), _short(page, 5) or 65536
        if len(page[begin:end].replace(b"\0", b"")) <= NO_WORDS:
            return False
        free = end - begin + page[7] + _freed(page)
        fill = free if free <= SHORT_BLOB else free - 1
        for cell in _cells(page):
            if cell.payload + fill <= self._usable - OVERHEAD:
                if connection.execute(_GROW, (fill, cell.rowid)).rowcount:
                    connection.execute(_SHRINK, (cell.rowid,))
                    return True
            elif connection.execute(_MOVE, (cell.rowid,)).rowcount:
                return True
        return False


def _short(page: bytes, at: int) -> int:
    return int.from_bytes(page[at : at + 2], "big")


def _number(page: bytes, at: int) -> int:
    return int.from_bytes(page[at : at + 4], "big")


def _pointers(page: bytes, begin: int) -> list[int]:
    count = _short(page, 3)
    return [_short(page, begin + 2 * n) for n in range(count)]


def _cells(page: bytes) -> Iterator[Cell]:
    for at in _pointers(page, 8):
        payload, after = _varint(page, at)
        yield Cell(payload, _varint(page, after)[0])


def _freed(page: bytes) -> int:
    """The bytes of a page that were freed in its midst."""
    total, at = 0, _short(page, 1)
    while at:
        total += _short(page, at + 2)
        before, at = at, _short(page, at)
        if 0 < at <= before:
            raise ValueError("the free parts of a page are in no order")
    return total


def _varint(page: bytes, at: int) -> tuple[int, int]:
    """Return a number of SQLite's, and where the next value begins."""
    value = 0
    for n in range(8):
        byte = page[at + n]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + n + 1
    return value << 8 | page[at + 8], at + 9
