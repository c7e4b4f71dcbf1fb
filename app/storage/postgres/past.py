"""Past: whether a lane, as it is found, follows what was seen of it before.

A failover to a standby that lacked the last records, or a backup that was put back,
ends a lane sooner. Nothing is signed over that, until an operator says so.
"""

from contextlib import suppress

from app.storage.audit.errors import StoreFailed
from app.storage.chain.knots import Place, named_in
from app.storage.chain.links import Head
from app.storage.postgres import statements as sql
from app.storage.postgres.connections import Session

_ADVICE = "Restore the newest copy, or see `records accept-loss`."
LOSS = "loss"  # route of the records by which an operator accepts a loss
_LOSSES = (
    "SELECT request FROM records WHERE route = %s AND seq IS NOT NULL"
    " ORDER BY opened_at DESC LIMIT 100"
)


class Past:
    """Compares lanes with what was seen. It belongs to one thread, as its session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def require_never_written(self, lane: int, seen: Place | None) -> None:
        """Raise StoreFailed for a lane that is gone with its records."""
        if seen is not None and seen.seq:
            raise StoreFailed("replaced", f"lane {lane} is gone. {_ADVICE}")

    def require_successor(self, there: Head, seen: Place | None) -> None:
        """Raise StoreFailed if what was seen is not part of the lane any more."""
        if seen is None or self.is_part_of(there, seen) or self._is_accepted(there):
            return
        lost = max(0, seen.seq - there.seq)
        why = f"lane {there.lane} ends at record {there.seq}, and {lost} records"
        raise StoreFailed("replaced", f"{why} that it had are gone. {_ADVICE}")

    def is_part_of(self, there: Head, place: Place) -> bool:
        """Whether a place is part of its lane, of which `there` is the head if any."""
        is_same = place.lane == there.lane
        if is_same and place.seq <= there.floor_seq:  # pruned; the signed head says so
            return place.seq < there.floor_seq or place.digest == there.floor_digest
        if is_same and place.seq >= there.seq:
            return place == place_of(there)
        found = self._session.run(sql.DIGEST_AT, (place.lane, place.seq))
        return bool(found) and found[0][0] == place.digest

    def _is_accepted(self, there: Head) -> bool:
        """Whether an operator has said that a lane may go on from where it ends."""
        for (request,) in self._session.run(_LOSSES, (LOSS,)):
            with suppress(ValueError):
                if place_of(there) in named_in(request):
                    return True
        return False


def place_of(head: Head) -> Place:
    """Return a head as a place that was seen."""
    return Place(head.lane, head.seq, head.digest)
