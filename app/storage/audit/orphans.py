"""Orphans: the open rows of workers that are dead, and which of them we wrote.

An open row is the one thing that is read from the database in order to be signed. So
only a row that carries our signature is sealed (`links.is_signed_intent`). Any other
one is forged or was changed: it is told of and left alone, and harms nobody
(docs/decisions/0014).
"""

import json
import logging
from collections.abc import Iterable
from math import inf
from typing import Any, Protocol

from app.storage.audit.rows import Draft, Values, closed_draft, interrupted, shown_id
from app.storage.audit.schema import OPENING
from app.storage.chain.links import is_signed_intent

log = logging.getLogger(__name__)

AT_ONCE = 500
# Rows that are named in the log; whoever forges more of them fills no disk by it.
TOLD = 1000

# SQLite's index of `seq` and `lane` holds the open rows in this order.
_ORPHANS = (
    f"SELECT lane, rowid, mac, {', '.join(OPENING)} FROM records"  # noqa: S608
    " WHERE seq IS NULL AND (lane, rowid) > (?, ?)"
    " AND worker NOT IN (SELECT value FROM json_each(?)) ORDER BY lane, rowid LIMIT ?"
)
_BEFORE_ALL = (-inf, 0)


class Found(Protocol):
    """What a connection has found."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows."""
        ...


class Connection(Protocol):
    """What is asked of a connection."""

    def execute(self, query: str, arguments: tuple[Any, ...], /) -> Found:
        """Run a query."""
        ...


class Orphans:
    """Finds orphans, a page at a time, round and round; so rows that stay are no wall.

    `unsigned` is how many the last whole round met that must not be sealed. `query`
    finds the open rows behind a place (the first two columns, in their order) that are
    of none of these workers (a JSON list), so many of them; `before_all` is the place
    before the first. It belongs to one thread.
    """

    def __init__(
        self, query: str = _ORPHANS, before_all: tuple[Any, ...] = _BEFORE_ALL
    ) -> None:
        self.unsigned = 0
        self._query, self._before_all = query, before_all
        self._after = before_all
        self._met = 0  # of those, in this round so far
        self._told: set[Any] = set()

    def next_page(
        self,
        connection: Connection,
        key: bytes,
        living: Iterable[str],
        now: float,
        *,
        tells: bool,
    ) -> list[Draft]:
        """Return the rows of the next page as they are to be sealed.

        With `tells` each row that must not be sealed is logged, once.
        """
        names = json.dumps(sorted(living))
        page = connection.execute(
            self._query, (*self._after, names, AT_ONCE)
        ).fetchall()
        ending, drafts = interrupted(now), []
        for _, row_id, mac, *columns in page:
            opening = tuple(columns)
            if is_signed_intent(key, opening, mac):
                drafts.append(closed_draft(opening, ending))
                continue
            self._met += 1
            if tells:
                self._tell(row_id, mac, opening)
        self._go_on_after(page)
        return drafts

    def _go_on_after(self, page: list[tuple[Any, ...]]) -> None:
        if len(page) == AT_ONCE:
            self._after = page[-1][:2]
            return
        self._after = self._before_all
        self.unsigned, self._met = self._met, 0

    def _tell(self, row_id: object, mac: object, opening: Values) -> None:
        if row_id in self._told or len(self._told) > TOLD:
            return
        self._told.add(row_id)
        if len(self._told) > TOLD:
            log.error("Audit corrupt: over %d open records are not signed by us", TOLD)
            return
        why = "holds what was not signed by us"
        if mac is None:
            why = "is not signed by us"
        log.error(
            "Audit corrupt: open record %s %s. It is not sealed; chats go on.",
            shown_id(opening[0]),
            why,
        )
