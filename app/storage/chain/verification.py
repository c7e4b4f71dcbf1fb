"""Verification: whether a record was edited, removed, moved or cut off.

It sees what docs/verify.py sees, and the signatures besides: of the heads, and of the
rows that are open. A row that breaks the chain is named by its place.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.gateway.records.audit import KNOT
from app.storage.audit.rows import shown_id
from app.storage.audit.schema import chain, records
from app.storage.chain.knots import Place, named_in
from app.storage.chain.links import Head, is_signed
from app.storage.chain.retention import ROUTE, Losses
from app.storage.chain.row_checks import flaw_of_an_open_one, follows, moment_of
from app.storage.chain.stored import HEADS, RECORDS, one_moment, page_behind

# What values of other types, or out of all bounds, may raise anywhere in a check.
UNEXPECTED = (TypeError, ValueError, AttributeError, OverflowError, RecursionError)

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
    earlier and must still be part of the chain. What is erased and pruned meanwhile
    is explained by records that follow, so the last rows are read at one moment.
    """
    walk = _Walk(engine, key, on_progress)
    try:
        walk.begin(noted)
        for lane in walk.heads:
            walk.through(lane)
        walk.end()
    except Flaw as flaw:
        return walk.result(flaw)
    except UNEXPECTED:
        return walk.result(Flaw("it holds a value that the gateway never writes"))
    return walk.result(None)


class _Walk:
    """One check, from the heads to the rows that are in no chain."""

    def __init__(self, engine: sa.Engine, key: bytes, on_progress: OnProgress) -> None:
        self.heads: dict[int, Head] = {}
        self._engine, self._key, self._on_progress = engine, key, on_progress
        self._noted: dict[tuple[int, int], bytes] = {}
        self._reached: dict[int, Place] = {}
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
            moment_of(row),
        )

    def begin(self, noted: Iterable[Place]) -> None:
        """Read the heads, all at one moment, and compare what was noted with them."""
        with self._engine.connect() as connection:
            self._read_heads(connection)
        for head in self.heads.values():
            self._reached[head.lane] = _floor(head)
        for place in noted:
            self._compare(place, "a head that was noted shows it")
            before = self._noted.setdefault(place[:2], place.digest)
            if before != place.digest:
                raise Flaw("two heads that were noted differ", place.lane, place.seq)

    def through(self, lane: int) -> None:
        """Walk the chain of one lane up to its head, a page at a time."""
        while self._reached[lane].seq < self.heads[lane].seq:
            with one_moment(self._engine) as connection:
                self._read_heads(connection)  # its floor may have risen
                self._next_page(connection, lane)
            self._on_progress(self._reached[lane].seq, self.heads[lane].seq)

    def end(self) -> None:
        """Look, at one moment, at what is new, what was taken away, and what is odd."""
        with one_moment(self._engine) as connection:
            self._read_heads(connection)
            for head in self.heads.values():
                self._reached.setdefault(head.lane, _floor(head))
                while self._reached[head.lane].seq < head.seq:
                    self._next_page(connection, head.lane)
                if self._reached[head.lane].digest != head.digest:
                    reason = "the head is of another chain"
                    raise Flaw(reason, head.lane, head.seq)
            if lost := self._losses.first_unexplained(self.heads.values()):
                raise Flaw("no record says who took this away", lost.lane, lost.last)
            if (stray := self._stray(connection)) is not None:
                reason = f"record {shown_id(stray.id)} is not of the chain"
                raise Flaw(reason, stray.lane, stray.seq, stray)
            self._check_open_ones(connection)

    def _read_heads(self, connection: sa.Connection) -> None:
        """Read the heads as they are now. Raises Flaw if one is not signed, or gone."""
        found: dict[int, Head] = {}
        for *values, mac in connection.execute(HEADS):
            head = Head(*values)
            if not is_signed(self._key, head, mac):
                raise Flaw(FORGED, head.lane)
            found[head.lane] = head
        if not found or self.heads.keys() - found.keys():
            raise Flaw("the head is missing")
        self.heads = found

    def _next_page(self, connection: sa.Connection, lane: int) -> None:
        """Check the next rows of a lane; what was pruned before them is passed over."""
        head = self.heads[lane]
        if self._reached[lane].seq < head.floor_seq:
            self._reached[lane] = _floor(head)
        _, seq, digest = self._reached[lane]
        for row in connection.execute(page_behind(head, seq)):
            seq += 1
            if row.seq != seq:
                raise Flaw("a record is missing", lane, seq)
            if not follows(digest, row):
                raise Flaw("the record was changed or moved", lane, seq)
            digest = row.digest
            if self._noted.get((lane, seq), digest) != digest:
                raise Flaw("the record is not the one that was noted", lane, seq)
            self._note(connection, row)
            self._rows += 1
        if seq == self._reached[lane].seq < head.seq:
            raise Flaw("records are missing at the end", lane, seq + 1)
        self._reached[lane] = Place(lane, seq, digest)

    def _check_open_ones(self, connection: sa.Connection) -> None:
        query = sa.select(*RECORDS).where(records.c.seq.is_(None))
        for row in connection.execute(query):
            if why := flaw_of_an_open_one(tuple(row), self._key):
                raise Flaw(f"record {shown_id(row.id)} {why}", row.lane, row=row)

    def _note(self, connection: sa.Connection, row: sa.Row[Any]) -> None:
        """Remember what a row says of others, and that its words are gone."""
        if row.salt is None:
            self._losses.add(row.lane, row.seq)
        if row.route == KNOT:
            self._check_knot(connection, row)
        elif row.route == ROUTE:
            try:
                self._losses.explain(row.request)
            except ValueError:
                reason = "the record of a retention is unreadable"
                raise Flaw(reason, row.lane, row.seq) from None

    def _check_knot(self, connection: sa.Connection, row: sa.Row[Any]) -> None:
        try:
            places = named_in(row.request)
        except ValueError:
            raise Flaw("a knot names no heads", row.lane, row.seq) from None
        for place in places:
            self._compare(place, "a knot shows it")
            if self._digest_at(connection, place) != place.digest:
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

    def _digest_at(self, connection: sa.Connection, place: Place) -> Any:
        """The digest at a place that a knot names; of what was pruned, its own."""
        if place.seq <= self.heads[place.lane].floor_seq:
            return place.digest
        query = sa.select(sa.type_coerce(records.c.digest, sa.types.NULLTYPE)).where(
            records.c.lane == place.lane, records.c.seq == place.seq
        )
        return connection.execute(query).scalar()

    def _stray(self, connection: sa.Connection) -> Any:
        """A record that looks like one of the chain and is none, if there is one.

        Asked in one statement, so that what workers append is not taken for it.
        """
        is_of_a_lane = (
            sa.exists()
            .where(chain.c.id == records.c.lane)
            .where(records.c.seq > chain.c.floor_seq, records.c.seq <= chain.c.seq)
        )
        query = sa.select(*RECORDS).where(records.c.seq.is_not(None), ~is_of_a_lane)
        return connection.execute(query.limit(1)).first()

    def _row_at(self, lane: int | None, seq: int | None) -> Any:
        """The record at a place, else the one that follows; None if there is none."""
        if seq is None:
            return None
        query = (
            sa.select(*RECORDS)
            .where(records.c.lane == lane, records.c.seq >= seq)
            .order_by(records.c.seq)
        )
        with self._engine.connect() as connection:
            return connection.execute(query.limit(1)).first()


def _floor(head: Head) -> Place:
    return Place(head.lane, head.floor_seq, head.floor_digest)
