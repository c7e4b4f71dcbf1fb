"""Erasing: the statements by which words, and whole records, go from a SQLite file.

They are for the inside of a transaction that also records what they did.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Any

from app.storage.audit.bad_chats import REPEATS
from app.storage.audit.rows import digests_of
from app.storage.chain.links import LANE

# A record of an earlier time was made while the clock was not set.
SANE = 1577836800.0  # 2020

NEAR = 100  # rows around erased ones, whose pages may hold copies of these

Words = tuple[int, Any, Any, Any]  # place, request, reply, salt

_HAVE = (
    f"FROM records WHERE lane = {LANE} AND salt IS NOT NULL AND outcome <> 'event'"
    f" AND coalesce(request, '') NOT LIKE '{REPEATS}%'"
)
_WORDS = f"SELECT seq, request, reply, salt {_HAVE}"
_ERASE = (
    "UPDATE records SET request = NULL, reply = NULL, salt = NULL,"
    " request_digest = ?, reply_digest = ? WHERE lane = ? AND seq = ?"
)
# An answer that would be said again is gone with the record that said it.
_FORGET = (
    "DELETE FROM answers"
    " WHERE record = (SELECT id FROM records WHERE lane = ? AND seq = ?)"
)
_FORGET_PRUNED = (
    "DELETE FROM answers"
    " WHERE record IN (SELECT id FROM records WHERE lane = ? AND seq <= ?)"
)
_TIMES = (
    "SELECT seq, closed_at FROM records WHERE lane = ? AND seq > ?"
    " AND closed_at > ? AND closed_at <= ? ORDER BY seq LIMIT ?"
)
_PROGRESS = "SELECT seq FROM progress WHERE task = ? AND lane = ?"


def last_due(
    connection: sqlite3.Connection, after: int, until: float, now: float, most: int
) -> int:
    """Return the last of the places behind `after` whose chats ended before `until`.

    At most `most` are looked at. None follows one whose time has not come, and one that
    was made while the clock was wrong goes with the next one that was not.
    """
    times = connection.execute(_TIMES, (LANE, after, SANE, now, most))
    due = takewhile(lambda row: row[1] < until, times)
    return max((seq for seq, _ in due), default=after)


def words_behind(
    connection: sqlite3.Connection, after: int, last: int, rows: int, size: int
) -> tuple[list[Words], int]:
    """Return the words of the next records, and up to which place these are all.

    They are `rows` at most, and end with the one that makes them longer than `size`.
    """
    query = f"{_WORDS} AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
    found = _up_to(size, connection.execute(query, (after, last, rows)))
    if found and (len(found) == rows or size_of(found) > size):
        return found, found[-1][0]
    return found, last


def words_at(
    connection: sqlite3.Connection, places: Sequence[int], size: int
) -> list[Words]:
    """Return the words at these places, where there still are some, as far as above."""
    query = f"{_WORDS} AND seq IN ({', '.join('?' * len(places))}) ORDER BY seq"
    return _up_to(size, connection.execute(query, places))


def _up_to(size: int, rows: Iterable[Words]) -> list[Words]:
    found: list[Words] = []
    for row in rows:
        found.append(row)
        if size_of(found[-1:]) > size:
            break
        size -= size_of(found[-1:])
    return found


def size_of(words: Iterable[Words]) -> int:
    """The length of the words in all."""
    return sum(len(row[1] or "") + len(row[2] or "") for row in words)


def erase(connection: sqlite3.Connection, words: Iterable[Words]) -> list[int]:
    """Put digests in place of words; return the places where that was done.

    Words of a type that we never write are left, for the chain to tell.
    """
    done: list[int] = []
    for seq, request, reply, salt in words:
        with suppress(TypeError, UnicodeEncodeError):
            digests = digests_of(request, reply, salt)
            connection.execute(_ERASE, (*digests, LANE, seq))
            connection.execute(_FORGET, (LANE, seq))
            done.append(seq)
    return done


def prune(connection: sqlite3.Connection, floor: int) -> None:
    """Delete the records up to the floor, which the head must name by then."""
    query = "DELETE FROM records WHERE lane = ? AND seq <= ?"
    connection.execute(_FORGET_PRUNED, (LANE, floor))
    connection.execute(query, (LANE, floor))


def progress(connection: sqlite3.Connection, task: str) -> int:
    """Return how far a task has come, 0 at first."""
    row = connection.execute(_PROGRESS, (task, LANE)).fetchone()
    return row[0] if row and isinstance(row[0], int) else 0


def set_progress(connection: sqlite3.Connection, task: str, seq: int) -> None:
    """Remember how far a task has come."""
    query = "REPLACE INTO progress (task, lane, seq) VALUES (?, ?, ?)"
    connection.execute(query, (task, LANE, seq))


def rows_of(
    connection: sqlite3.Connection, after: int, last: int
) -> tuple[int, int] | None:
    """Return between which rows of the table these places lie, and some around them."""
    query = "SELECT min(rowid), max(rowid) FROM records WHERE seq > ? AND seq <= ?"
    first, end = connection.execute(query, (after, last + NEAR)).fetchone()
    return None if first is None else (first - NEAR, end + NEAR)


def rows_at(
    connection: sqlite3.Connection, places: Sequence[int]
) -> list[tuple[int, int]]:
    """Return which rows of the table these places have, as ranges without near ones."""
    marks = ", ".join("?" * len(places))
    query = f"SELECT rowid FROM records WHERE seq IN ({marks}) ORDER BY rowid"  # noqa: S608
    ranges: list[tuple[int, int]] = []
    for (row,) in connection.execute(query, places):
        if ranges and row - ranges[-1][1] <= 2 * NEAR:
            ranges[-1] = ranges[-1][0], row
        else:
            ranges.append((row, row))
    return ranges
