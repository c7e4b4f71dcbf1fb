"""CoveredErasure: an erasure that also takes from a file what pages still hold."""

import sqlite3
from collections.abc import Sequence
from functools import partial
from time import monotonic, sleep

from app.storage.chain.links import Head
from app.storage.retention.erasure import PAUSE, Erasure, batches
from app.storage.retention.pruner import Change, Plan
from app.storage.retention.whose import Found
from app.storage.sqlite.retention.covering import FileCommit, LogInUse
from app.storage.sqlite.retention.stale_bytes import StaleBytes
from app.storage.sqlite.retention.table_rows import NEAR, rows_at

PATIENCE = 10.0


class CoveredErasure(Erasure):
    """Covers what is left of erased records in the file.

    `patience` is how many seconds readers may hold on to the log.
    """

    def __init__(
        self,
        commit: FileCommit,
        stale: StaleBytes,
        worker: str,
        names: dict[str, str],
        *,
        patience: float = PATIENCE,
    ) -> None:
        super().__init__(commit, worker, names)
        self._commit_file, self._stale, self._patience = commit, stale, patience

    def cover(self, found: Sequence[Found]) -> bool:
        """Cover what pages still hold of these; return whether that was possible."""
        for batch in batches([one.seq for one in found]):
            if not self._on_empty_log(partial(self._covered, batch)):
                return False
            sleep(PAUSE)
        return self._on_empty_log(lambda *_: None)

    def _covered(
        self, places: Sequence[int], connection: sqlite3.Connection, _: Head
    ) -> Change:
        for first, last in rows_at(connection, places):
            self._stale.cover(connection, first - NEAR, last + NEAR)
        return Change([])

    def _on_empty_log(self, plan: Plan) -> bool:
        """Do that on an empty log, as soon as no reader holds on to it."""
        deadline = monotonic() + self._patience
        while True:
            try:
                self._commit_file(plan, empties_log=True)
                return True
            except LogInUse:
                if monotonic() > deadline:
                    return False
                sleep(PAUSE)
