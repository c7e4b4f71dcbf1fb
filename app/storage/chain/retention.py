"""Retention: what the chain says of erased words and of pruned records.

Erasing words leaves their digests, so the chain holds; pruning begins a lane behind a
floor. Both are allowed only where a record says so: an event, whose request names
what was erased and the floor. Otherwise whoever can write to the database could take
words or the oldest records out, and all would verify.
"""

import hmac
import json
from bisect import bisect_right
from collections.abc import Iterable
from math import inf
from typing import Any, NamedTuple

from app.gateway.records.audit import RETENTION, Closing, Intent, new_audit_id
from app.storage.audit.rows import Draft, closed, closed_draft, opened
from app.storage.chain.knots import Place
from app.storage.chain.links import Head

ROUTE = RETENTION
# What stands for a name in a record begins with this when it is made; nothing else
# that this key signs does.
_NAME = b"erased 1\n"


class Keep(NamedTuple):
    """How long words, and whole records, are kept, in seconds after a chat's end."""

    words: float = inf
    records: float = inf


FOR_EVER = Keep()


class Whose(NamedTuple):
    """Whose words are to be erased; a record must fit all that is given."""

    session_id: str | None = None
    caller: str | None = None
    person: str | None = None
    id: str | None = None

    def named(self, key: bytes) -> dict[str, str]:
        """What a record says of it: keyed digests of the names, never the names."""
        return {
            kind: hmac.digest(key, _NAME + f"{kind}\n{name}".encode(), "sha256").hex()
            for kind, name in self._asdict().items()
            if name is not None
        }


class Range(NamedTuple):
    """Places of a lane that follow one another, both ends included."""

    lane: int
    first: int
    last: int


class Retention(NamedTuple):
    """What one such record says."""

    erased: tuple[Range, ...] = ()
    floor: Place | None = None


class Erased(NamedTuple):
    """What became of a demand: of how many records the words went, or would go.

    `open` is how many chats were under way, whose words are yet to come. `left` tells
    people where copies of the words may still be, and what helps; "": nowhere.
    """

    records: int
    open: int
    left: str = ""


def retention_record(code: str, said: dict[str, Any], worker: str, now: float) -> Draft:
    """Make the record of something that is gone; `now` is Unix time in seconds.

    `code` is words_expired, words_erased or records_expired.
    """
    record_id = new_audit_id(now)
    request = json.dumps(said, separators=(",", ":"))
    intent = Intent(record_id, record_id, "", "gateway", ROUTE, now, request)
    ending = Closing("event", status=0, duration=0.0, closed_at=now, code=code)
    return closed_draft(opened(intent, worker), closed(ending))


def in_ranges(lane: int, places: Iterable[int]) -> list[Range]:
    """Return these places of a lane in as few ranges as possible."""
    return joined(Range(lane, seq, seq) for seq in places)


def read_retention(request: object) -> Retention:
    """Return what a record of this route says. Raises ValueError for none of ours."""
    try:
        said = json.loads(request)  # type: ignore[arg-type]
        erased = tuple(Range(*map(int, part)) for part in said.get("erased", ()))
        if "floor" not in said:
            return Retention(erased)
        lane, seq, digest = said["floor"]
        return Retention(erased, Place(lane, seq, bytes.fromhex(digest)))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("no record of ours") from error


def joined(ranges: Iterable[Range]) -> list[Range]:
    """Return the same places in as few ranges as possible, in their order."""
    result: list[Range] = []
    for lane, first, last in sorted(ranges):
        before = result[-1] if result else None
        if before and before.lane == lane and first <= before.last + 1:
            result[-1] = Range(lane, before.first, max(last, before.last))
        else:
            result.append(Range(lane, first, last))
    return result


def first_outside(places: Iterable[Range], allowed: Iterable[Range]) -> Range | None:
    """Return the first of the ranges that is not wholly in the others, if any."""
    others = joined(allowed)
    for part in joined(places):
        at = bisect_right(others, (part.lane, part.first, float("inf"))) - 1
        around = others[at] if at >= 0 else None
        if not (around and around.lane == part.lane and part.last <= around.last):
            return part
    return None


class Losses:
    """What one check finds to be gone, and what records say of it.

    Places of a lane are added in their order.
    """

    def __init__(self) -> None:
        self._erased: list[Range] = []
        self._told: list[Retention] = []

    def add(self, lane: int, seq: int) -> None:
        """Note that the words of this record are gone."""
        before = self._erased[-1] if self._erased else None
        if before and before[::2] == (lane, seq - 1):
            self._erased[-1] = Range(lane, before.first, seq)
        else:
            self._erased.append(Range(lane, seq, seq))

    def explain(self, request: object) -> None:
        """Take the request of a record of ROUTE. Raises ValueError for none of ours."""
        self._told.append(read_retention(request))

    def first_unexplained(self, heads: Iterable[Head]) -> Range | None:
        """Return what is gone without a word: erased places, or all up to a floor."""
        told = [part for one in self._told for part in one.erased]
        floors = {one.floor for one in self._told}
        for head in heads:
            floor = Place(head.lane, head.floor_seq, head.floor_digest)
            if floor.seq and floor not in floors:
                return Range(head.lane, 1, head.floor_seq)
            # Pruned since they were seen, and the record of it with them.
            told.append(Range(head.lane, 1, head.floor_seq))
        return first_outside(self._erased, told)
