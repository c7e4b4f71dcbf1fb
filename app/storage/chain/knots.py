"""Knots: records that tie the lanes together, and say that a gateway was running.

Once a minute each lane gets one, also while nobody chats. It names the heads of all
other lanes: an older head that was put back with its rows, a lane that vanished or
was made anew, is missed by the others. In a trail of one lane it is a heartbeat. After
each knot the new head is told outside as an anchor (`anchors`).
"""

import json
from collections.abc import Iterable
from typing import NamedTuple

from app.gateway.records.audit import KNOT, Closing, Intent, new_audit_id
from app.storage.audit.rows import Draft, closed, closed_draft, opened
from app.storage.chain.links import Head

EVERY = 60.0  # seconds


class Place(NamedTuple):
    """A place in the chain and the digest that was seen there."""

    lane: int
    seq: int
    digest: bytes


def is_due(head: Head, now: float) -> bool:
    """Whether the last knot of this lane is a minute old, or of a time to come."""
    return not 0.0 <= now - head.knotted_at < EVERY


def knot(others: Iterable[Head], worker: str, now: float) -> Draft:
    """Make the record that names these heads; `now` is Unix time in seconds."""
    return naming(KNOT, others, worker, now)


def naming(route: str, heads: Iterable[Head], worker: str, now: float) -> Draft:
    """Make an event of this route that names heads; `now` is Unix time in seconds."""
    named = [[head.lane, head.seq, head.digest.hex()] for head in heads]
    record_id = new_audit_id(now)
    said = json.dumps({"heads": named})
    intent = Intent(record_id, record_id, "", "gateway", route, now, said)
    ending = Closing("event", status=0, duration=0.0, closed_at=now, code=route)
    return closed_draft(opened(intent, worker), closed(ending))


def named_in(request: object) -> list[Place]:
    """Return what a knot names. Raises ValueError for what is none of ours."""
    try:
        heads = json.loads(request)["heads"]  # type: ignore[arg-type]
        return [Place(lane, seq, bytes.fromhex(text)) for lane, seq, text in heads]
    except (TypeError, KeyError) as error:
        raise ValueError("no knot of ours") from error
