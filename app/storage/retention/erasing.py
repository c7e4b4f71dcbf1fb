"""Erasing: the statements by which words, and whole records, go from a database.

They are for the inside of a transaction that also records what they did, and in the
SQL that all kinds of database have in common, with `?` for values. Rows are locked in
one order: records of a lane by their places, then answers by their keys.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Any, Protocol

from app.storage.audit.bad_chats import REPEATS
from app.storage.audit.rows import digests_of

# A record of an earlier time was made while the clock was not set.
SANE = 1577836800.0  # 2020

Words = tuple[int, Any, Any, Any]  # place, request, reply, salt

_HAVE = (
    "FROM records WHERE lane = ? AND salt IS NOT NULL AND outcome <> 'event'"
    f" AND coalesce(request, '') NOT LIKE '{REPEATS}%'"
)
_WORDS = f"SELECT seq, request, reply, salt {_HAVE}"
_ERASE = (
    "UPDATE records SET request = NULL, reply = NULL, salt = NULL,"
    " request_digest = ?, reply_digest = ? WHERE lane = ? AND seq = ?"
)
# Answers that would be said again are gone with the records that said them.
_KEYS = (
    "SELECT key FROM answers WHERE record IN"
    " (SELECT id FROM records WHERE lane = ? AND {}) ORDER BY key"
)
_KEYS_UP_TO = _KEYS.format("seq <= ?")
_FORGET = "DELETE FROM answers WHERE key = ?"
_PRUNE = "DELETE FROM records WHERE lane = ? AND seq <= ?"
_TIMES = (
    "SELECT seq, closed_at FROM records WHERE lane = ? AND seq > ?"
    " AND closed_at > ? AND closed_at <= ? ORDER BY seq LIMIT ?"
)
_DIGEST = "SELECT digest FROM records WHERE lane = ? AND seq = ?"
_PROGRESS = "SELECT seq FROM progress WHERE task = ? AND lane = ?"
_SET_PROGRESS = (
    "INSERT INTO progress (task, lane, seq) VALUES (?, ?, ?)"
    " ON CONFLICT (task, lane) DO UPDATE SET seq = excluded.seq"
)


class Rows(Protocol):
    """What a statement has found."""

    def __iter__(self) -> Iterator[Any]:
        """Go through the rows."""
        ...

    def fetchone(self) -> Any:
        """Return the next row, None behind the last."""
        ...


class Connection(Protocol):
    """What is asked of a connection in the midst of a transaction."""

    def execute(self, query: str, values: Sequence[Any] = ..., /) -> Rows:
        """Run a statement with `?` for each value."""
        ...


def last_due(
    connection: Connection, lane: int, after: int, until: float, now: float, most: int
) -> int:
    """Return the last of the places behind `after` whose chats ended before `until`.

    At most `most` are looked at. None follows one whose time has not come, and one that
    was made while the clock was wrong goes with the next one that was not.
    """
    times = connection.execute(_TIMES, (lane, after, SANE, now, most))
    due = takewhile(lambda row: row[1] < until, times)
    return max((seq for seq, _ in due), default=after)


def words_behind(
    connection: Connection, lane: int, after: int, last: int, rows: int, size: int
) -> tuple[list[Words], int]:
    """Return the words of the next records, and up to which place these are all.

    They are `rows` at most, and end with the one that makes them longer than `size`.
    """
    query = f"{_WORDS} AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
    found = _up_to(size, connection.execute(query, (lane, after, last, rows)))
    if found and (len(found) == rows or size_of(found) > size):
        return found, found[-1][0]
    return found, last


def words_at(
    connection: Connection, lane: int, places: Sequence[int], size: int
) -> list[Words]:
    """Return the words at these places, where there still are some, as far as above."""
    query = f"{_WORDS} AND seq IN ({', '.join('?' * len(places))}) ORDER BY seq"
    return _up_to(size, connection.execute(query, (lane, *places)))


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


def erase(connection: Connection, lane: int, words: Iterable[Words]) -> list[int]:
    """Put digests in place of words; return the places where that was done.

    Words of a type that we never write are left, for the chain to tell.
    """
    done: list[int] = []
    for seq, request, reply, salt in words:
        with suppress(TypeError, UnicodeEncodeError):
            digests = digests_of(request, reply, salt)
            connection.execute(_ERASE, (*digests, lane, seq))
            done.append(seq)
    if done:
        these = _KEYS.format(f"seq IN ({', '.join('?' * len(done))})")
        _forget(connection, connection.execute(these, (lane, *done)))
    return done


def prune(connection: Connection, lane: int, floor: int) -> None:
    """Delete the records up to the floor, which the head must name by then."""
    keys = list(connection.execute(_KEYS_UP_TO, (lane, floor)))
    connection.execute(_PRUNE, (lane, floor))
    _forget(connection, keys)


def _forget(connection: Connection, keys: Iterable[Any]) -> None:
    for key in list(keys):
        connection.execute(_FORGET, key)


def digest_at(connection: Connection, lane: int, seq: int) -> Any:
    """Return the digest of the record that has this place; None: there is none."""
    row = connection.execute(_DIGEST, (lane, seq)).fetchone()
    return row[0] if row else None


def progress(connection: Connection, task: str, lane: int) -> int:
    """Return how far a task has come in a lane, 0 at first."""
    row = connection.execute(_PROGRESS, (task, lane)).fetchone()
    return row[0] if row and isinstance(row[0], int) else 0


def set_progress(connection: Connection, task: str, lane: int, seq: int) -> None:
    """Remember how far a task has come in a lane."""
    connection.execute(_SET_PROGRESS, (task, lane, seq))
