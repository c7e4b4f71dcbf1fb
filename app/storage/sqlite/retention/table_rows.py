"""Rows of the table in which places of the chain lie: what pages are asked for by."""

import sqlite3
from collections.abc import Sequence

NEAR = 100  # rows around erased ones, whose pages may hold copies of these


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
