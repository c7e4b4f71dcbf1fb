"""Verification: whether a record was edited, removed, moved or cut off.

It sees what docs/verify.py sees, and the signatures besides: of the heads, and of the
rows that are open. A row that breaks the chain is named by its place.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.gateway.records.audit import KNOT
from app.storage.audit.rows import shown_id
from app.storage.audit.schema import chain, records
from app.storage.chain.knots import Place, named_in
from app.storage.chain.links import Head, is_signed
from app.storage.chain.retention import ROUTE, Losses
from app.storage.chain.row_checks import flaw_of_an_open_one, follows

# What values of other types, or out of all bounds, may raise anywhere in a check.
UNEXPECTED = (TypeError, ValueError, AttributeError, OverflowError, RecursionError)

# Rows per transaction: short ones, so that the log can be cut back meanwhile.
PAGE = 1000


def _as_stored(table: sa.Table) -> list[sa.ColumnElement[Any]]:
    """The columns without their types, which whoever forges a row need not keep."""
    return [sa.type_coerce(c, sa.types.NULLTYPE).label(c.name) for c in table.columns]


_RECORDS = _as_stored(records)
_HEADS = [
    sa.type_coerce(chain.c["id" if name == "lane" else name], sa.types.NULLTYPE)
    for name in (*Head.__dataclass_fields__, "mac")
]

LAST_MOMENT = 2.0**37  # Unix time that a date can still be made of

FORGED = "the head is forged, or this key is not this file's"

# Is told how many records were read, and of how many.
OnProgress = Callable[[int, int], None]


def ignore(_done: int, _total: int) -> None:
    """Ignore the progress."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a check of the chain.

    `rows` were found sound, up to the first bad one, which has the place
    `first_bad_seq` in the chain of `lane`. `reason` is None if all is well. `heads`
    are worth noting elsewhere: only they can show, later, that the whole database was
    put back to an earlier state. `noted` is how many such were given. `bad_id` and
    `bad_opened_at` (Unix time) are those of the first bad record, as it stands there.
    """

    rows: int
    ok: bool
    first_bad_seq: int | None = None
    reason: str | None = None
    heads: tuple[Head, ...] = ()
    lane: int | None = None
    noted: int = 0
    bad_id: str | None = None
    bad_opened_at: float | None = None


class Flaw(Exception):
    """What is wrong with the chain, where it is, and the record that shows it."""

    def __init__(
        self, reason: str, lane: Any = None, seq: Any = None, row: Any = None
    ) -> None:
        super().__init__(reason)
        self.reason, self.row = reason, row
        # Whoever forges a record need not keep to the types of the columns.
        self.lane = lane if isinstance(lane, int) else None
        self.seq = seq if isinstance(seq, int) else None


def verify(
    engine: sa.Engine,
    key: bytes,
    noted: Iterable[Place] = (),
    on_progress: OnProgress = ignore,
) -> Verification:
    """Walk the chain of each lane up to the head that it has now, a page at a time.

    Rows without an ending are not in the chain yet and have to be signed by
    themselves; every other one has to be in it. `noted` are heads that were seen
    earlier and must still be part of the chain.
    """
    walk = _Walk(engine, on_progress)
    try:
        walk.begin(key, noted)
        for head in walk.heads.values():
            walk.through(head)
        walk.end(key)
    except Flaw as flaw:
        return walk.result(flaw)
    except UNEXPECTED:
        return walk.result(Flaw("it holds a value that the gateway never writes"))
    return walk.result(None)


class _Walk:
    """One check, from the heads to the rows that are in no chain."""

    def __init__(self, engine: sa.Engine, on_progress: OnProgress) -> None:
        self.heads: dict[int, Head] = {}
        self._engine, self._on_progress = engine, on_progress
        self._noted: dict[tuple[int, int], bytes] = {}
        self._losses = Losses()
        self._rows = 0

    def result(self, flaw: Flaw | None) -> Verification:
        """Return what was found."""
        flaw = flaw or Flaw("")
        row = flaw.row if flaw.row is not None else self._row_at(flaw.lane, flaw.seq)
        return Verification(
            self._rows,
            not flaw.reason,
            flaw.seq,
            flaw.reason or None,
            tuple(self.heads.values()),
            flaw.lane,
            len(self._noted),
            None if row is None else shown_id(row.id),
            _moment(row and row.opened_at),
        )

    def begin(self, key: bytes, noted: Iterable[Place]) -> None:
        """Read the heads, all at one moment, and compare what was noted with them."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(*_HEADS).order_by(chain.c.id)).all()
        for *values, mac in rows:
            head = Head(*values)
            if not is_signed(key, head, mac):
                raise Flaw(FORGED, head.lane)
            self.heads[head.lane] = head
        if not self.heads:
            raise Flaw("the head is missing")
        for place in noted:
            self._compare(place, "a head that was noted shows it")
            before = self._noted.setdefault(place[:2], place.digest)
            if before != place.digest:
                raise Flaw("two heads that were noted differ", place.lane, place.seq)

    def through(self, head: Head) -> None:
        """Walk the chain of one lane, from its floor to its head."""
        lane, seq, digest = head.lane, head.floor_seq, head.floor_digest
        for row in self._pages(head):
            seq += 1
            if row.seq != seq:
                raise Flaw("a record is missing", lane, seq)
            if not follows(digest, row):
                raise Flaw("the record was changed or moved", lane, seq)
            digest = row.digest
            if self._noted.get((lane, seq), digest) != digest:
                raise Flaw("the record is not the one that was noted", lane, seq)
            self._note(row)
            self._rows += 1
        if seq < head.seq:
            raise Flaw("records are missing at the end", lane, seq + 1)
        if digest != head.digest:
            raise Flaw("the head is of another chain", lane, seq)

    def end(self, key: bytes) -> None:
        """Look at what was taken away, and at the rows that no lane has led to."""
        if lost := self._losses.first_unexplained(self.heads.values()):
            raise Flaw("no record says who took this away", lost.lane, lost.last)
        if (stray := self._stray()) is not None:
            reason = f"record {shown_id(stray.id)} is not of the chain"
            raise Flaw(reason, stray.lane, stray.seq, stray)
        self._check_open_ones(key)

    def _check_open_ones(self, key: bytes) -> None:
        query = sa.select(*_RECORDS).where(records.c.seq.is_(None))
        with self._engine.connect() as connection:
            for row in connection.execute(query):
                if why := flaw_of_an_open_one(tuple(row), key):
                    raise Flaw(f"record {shown_id(row.id)} {why}", row.lane, row=row)

    def _note(self, row: sa.Row[Any]) -> None:
        """Remember what a row says of others, and that its words are gone."""
        if row.salt is None:
            self._losses.add(row.lane, row.seq)
        if row.route == KNOT:
            self._check_knot(row)
        elif row.route == ROUTE:
            try:
                self._losses.explain(row.request)
            except ValueError:
                reason = "the record of a retention is unreadable"
                raise Flaw(reason, row.lane, row.seq) from None

    def _check_knot(self, row: sa.Row[Any]) -> None:
        try:
            places = named_in(row.request)
        except ValueError:
            raise Flaw("a knot names no heads", row.lane, row.seq) from None
        for place in places:
            self._compare(place, "a knot shows it")
            if self._digest_at(place) != place.digest:
                reason = "the record is not the one that a knot names"
                raise Flaw(reason, place.lane, place.seq)

    def _compare(self, place: Place, proof: str) -> None:
        """Compare a place with the head of its lane. Raises Flaw."""
        head = self.heads.get(place.lane)
        if head is None:
            raise Flaw(f"the lane is gone: {proof}", place.lane)
        if place.seq > head.seq:
            reason = f"the trail was put back to an earlier state: {proof}"
            raise Flaw(reason, place.lane, head.seq + 1)
        if place.seq == head.floor_seq and place.digest != head.floor_digest:
            raise Flaw(f"the floor is another: {proof}", place.lane, place.seq)

    def _digest_at(self, place: Place) -> Any:
        """The digest at a place that a knot names; of what was pruned, its own."""
        if place.seq <= self.heads[place.lane].floor_seq:
            return place.digest
        query = sa.select(sa.type_coerce(records.c.digest, sa.types.NULLTYPE)).where(
            records.c.lane == place.lane, records.c.seq == place.seq
        )
        with self._engine.connect() as connection:
            return connection.execute(query).scalar()

    def _stray(self) -> Any:
        """A record that looks like one of the chain and is none, if there is one.

        Asked in one statement, so that what workers append is not taken for it.
        """
        is_of_a_lane = (
            sa.exists()
            .where(chain.c.id == records.c.lane)
            .where(records.c.seq > chain.c.floor_seq, records.c.seq <= chain.c.seq)
        )
        query = sa.select(*_RECORDS).where(records.c.seq.is_not(None), ~is_of_a_lane)
        with self._engine.connect() as connection:
            return connection.execute(query.limit(1)).first()

    def _row_at(self, lane: int | None, seq: int | None) -> Any:
        """The record at a place, else the one that follows; None if there is none."""
        if seq is None:
            return None
        query = (
            sa.select(*_RECORDS)
            .where(records.c.lane == lane, records.c.seq >= seq)
            .order_by(records.c.seq)
        )
        with self._engine.connect() as connection:
            return connection.execute(query.limit(1)).first()

    def _pages(self, head: Head) -> Iterator[sa.Row[Any]]:
        seq = head.floor_seq
        while seq < head.seq:
            page = (
                sa.select(*_RECORDS)
                .where(records.c.lane == head.lane)
                .where(records.c.seq > seq, records.c.seq <= head.seq)
                .order_by(records.c.seq)
                .limit(PAGE)
            )
            with self._engine.connect() as connection:
                rows = connection.execute(page).all()
            if not rows:
                return
            yield from rows
            seq = rows[-1].seq
            self._on_progress(seq, head.seq)


def _moment(value: Any) -> float | None:
    """A Unix time that a database holds, if it is one of this age of the world."""
    is_time = isinstance(value, int | float) and 0 <= value < LAST_MOMENT
    return value if is_time else None
