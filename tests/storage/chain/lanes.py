"""A trail of three lanes with knots, as three hosts write one, to be tampered with."""

import sqlite3
from contextlib import closing
from dataclasses import replace

from app.storage.audit.rows import (
    closed,
    closed_draft,
    opened,
    row_digest,
    word_digests,
)
from app.storage.audit.schema import COLUMNS, CONTENT, GUARDS
from app.storage.chain.knots import knot
from app.storage.chain.links import GENESIS, head_mac, link, seal
from app.storage.sqlite.statements import write_head, write_rows
from tests.storage.making import a_closing, an_intent

LANES = (1, 2, 3)
ROWS = 8  # of a lane between two knots
UNGUARD = (
    "DROP TRIGGER IF EXISTS records_stay",
    "DROP TRIGGER IF EXISTS records_sealed",
)


class Lanes:
    """The lanes of one file, written with its key."""

    def __init__(self, path, key):
        self._path, self._key = path, key
        self.heads = {lane: replace(GENESIS, lane=lane) for lane in LANES}
        self.noted = []  # heads of earlier, as anchors have them

    def write(self, rounds):
        for _ in range(rounds):
            for lane in LANES:
                self.append(lane, [a_chat(lane, n) for n in range(ROWS)])
            for lane in LANES:
                others = [h for h in self.heads.values() if h.lane != lane]
                self.append(lane, [knot(others, "w", 1.0)])
                self.noted.append(self.heads[lane])

    def append(self, lane, drafts, **floor):
        rows, head = seal(drafts, self.heads[lane], self._key, now=1.0)
        self.heads[lane] = head = replace(head, **floor)
        with closing(self.connection()) as connection, connection:
            write_rows(connection, rows)
            write_head(connection, head, head_mac(self._key, head))

    def do(self, *statements):
        with closing(self.connection()) as connection, connection:
            for text in (*UNGUARD, *statements, *GUARDS.values()):
                connection.execute(text)

    def rows(self, lane):
        query = f"SELECT {', '.join(COLUMNS)} FROM records WHERE lane = ? ORDER BY seq"
        with closing(self.connection()) as connection:
            found = connection.execute(query, (lane,)).fetchall()
        return [dict(zip(COLUMNS, row, strict=True)) for row in found]

    def put(self, lane, head):
        """Put a head that was truly signed in its place."""
        with closing(self.connection()) as connection, connection:
            write_head(connection, replace(head, lane=lane), head_mac(self._key, head))

    def hash_anew(self, lane):
        """Do what anybody can: number the rows of a lane, and chain them, anew."""
        digest = bytes(32)
        self.do(f"UPDATE records SET seq = -seq WHERE lane = {lane}")
        for seq, row in enumerate(self.rows(lane)[::-1], 1):
            values = [row[name] for name in CONTENT]
            own = row_digest(values, *word_digests(values, row["salt"]))
            digest = link(digest, lane, seq, row["clock_step"], own)
            place = f"seq = {seq}, digest = x'{digest.hex()}'"
            self.do(f"UPDATE records SET {place} WHERE id = '{row['id']}'")
        self.do(f"UPDATE chain SET {place} WHERE id = {lane}")

    def connection(self):
        return sqlite3.connect(self._path)


def a_chat(lane, number):
    intent = an_intent(session_id=f"{lane}-{number}")
    return closed_draft(opened(intent, "w"), closed(a_closing()))


def anchors_of(heads):
    return "".join(f"2026-11-28T12:00:00Z anchor {head}\n" for head in heads)
