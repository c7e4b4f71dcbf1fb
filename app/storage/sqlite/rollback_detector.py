"""RollbackDetector: notices that an older copy of the database was put back.

An older copy still verifies, so each worker remembers the newest head it has seen,
notes it for the others, and refuses to write if that record is gone. The notes end
with the workers, and the newest of them is handed on from one generation of workers
to the next: backups are restored while nothing runs.
"""

import sqlite3
from collections.abc import Iterable

from app.storage.audit.errors import StoreFailed
from app.storage.chain.links import GENESIS, Head
from app.storage.sqlite.live_workers import LiveWorkers
from app.storage.sqlite.statements import digest_at

_Place = tuple[int, bytes]  # a record's number in the chain, and its digest


class RollbackDetector:
    """Remembers the newest head. Call every method under the writers' lock."""

    def __init__(self, roster: LiveWorkers, newest: str | None = None) -> None:
        self._roster = roster
        given = _parsed((newest or "").encode())
        self._seen: _Place = given or (GENESIS.seq, GENESIS.digest)

    def check(self, connection: sqlite3.Connection, head: Head) -> None:
        """Raise StoreFailed if what this worker has seen does not lead to `head`."""
        if not _leads_to(connection, self._seen, head):
            raise StoreFailed(
                "replaced",
                f"the trail ends at record {head.seq}, and record {self._seen[0]} "
                "that it had is gone. Stop all workers and restore the newest copy.",
            )

    def check_with_others(self, connection: sqlite3.Connection, head: Head) -> None:
        """The same for what the other workers that live have seen."""
        self.check(connection, head)
        for note in self._roster.notes():
            place = _parsed(note)
            if place and not _leads_to(connection, place, head):
                self._seen = place  # missed from now on, though its worker may end
                self.check(connection, head)

    def saw(self, head: Head) -> None:
        """Remember a head that was checked, or that our own commit has made."""
        self._seen = head.seq, head.digest
        self._roster.note(b"%020d %s\n" % (head.seq, head.digest.hex().encode()))


def newest_of(notes: Iterable[bytes], known: str | None) -> str | None:
    """Return the newest of the noted heads and `known`, as the text of a note."""
    best = _parsed((known or "").encode())
    for place in map(_parsed, notes):
        if place and (best is None or place[0] > best[0]):
            best = place
    return best and f"{best[0]} {best[1].hex()}"


def _leads_to(connection: sqlite3.Connection, place: _Place, head: Head) -> bool:
    seq, digest = place
    if seq <= head.floor_seq:  # pruned; the signed head says so
        return seq < head.floor_seq or digest == head.floor_digest
    if seq == head.seq:
        return digest == head.digest
    return seq < head.seq and digest_at(connection, seq) == digest


def _parsed(note: bytes) -> _Place | None:
    try:
        seq, digest = note.decode().split()
        return int(seq), bytes.fromhex(digest)
    except ValueError:  # a worker that has only just come has noted nothing yet
        return None
