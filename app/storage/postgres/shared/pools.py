"""PostgresPools: quotas, places and claims that hosts share, in tables without a log.

A crash of the server empties them, on purpose: a quota that begins anew does less harm
than a disk that each request waits for.
"""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from app.gateway.access.hosts import HostFacts, LaneOwner
from app.gateway.access.pools import LEASE, Piece, Wish
from app.gateway.kept.claim_table import ClaimTable
from app.storage.postgres.connections import Parameters, Row, Session
from app.storage.postgres.shared.claims import FORGET_CLAIMS, PostgresClaimTable
from app.storage.postgres.shared.query_thread import Query, QueryThread, Unanswered

WAIT = 0.05  # seconds that a request waits for an answer, at most
SWEEP = 60.0  # seconds between two sweeps of what has expired

_TAKE = "SELECT * FROM pool_take(%s, %s, %s, %s, %s, %s, %s)"
_HOLD = f"SELECT pool_hold(%s, %s, %s, %s, %s, {LEASE})"
_SHARERS = (
    "SELECT count(*) FROM chain WHERE owner <> '' AND alive_until > clock_timestamp()"
)
# Closed lanes of a trail that was moved here are nobody's, and for ever.
_LANES = """
SELECT name, about,
    greatest(0, extract(epoch FROM clock_timestamp() - alive_until))::float8
FROM chain WHERE isfinite(alive_until) AND owner <> ''
AND alive_until > clock_timestamp() - interval '1 day'
"""
LANES = 5.0  # seconds between two looks at whose they are
_FORGET = (
    "DELETE FROM pools WHERE win < floor(extract(epoch FROM clock_timestamp()) / 60)"
    " - 2",
    "DELETE FROM holdings WHERE until < clock_timestamp() - interval '1 minute'",
    FORGET_CLAIMS,
)


class PostgresPools:
    """Fulfils `OpenPools` on a connection of its own, which one thread uses.

    `holder` names this host among those who hold places, `wait` is in seconds. Until
    it was started nobody is answered.
    """

    def __init__(
        self, parameters: Parameters, holder: str, *, wait: float = WAIT
    ) -> None:
        self.sharers = 1
        self._wait, self._holder = wait, holder
        self.lanes: Sequence[LaneOwner] = ()
        self._sweep_at = monotonic() + SWEEP
        self._lanes_at = 0.0
        self._thread = QueryThread(parameters, "pools", beat=self._look)
        self.start, self.close = self._thread.start, self._thread.close

    def take(self, wish: Wish, late: Callable[[Piece], None]) -> Piece | None:
        """See Pools."""

        def ask(session: Session) -> Piece:
            key, quota, cost, want, back, window = wish
            ((count, left, number, reset),) = session.run(
                _TAKE, (key, quota, cost, want, self.sharers, back, window)
            )
            return Piece(count, left, reset, number)

        found: Piece | None = self._answer(ask, late)
        return found

    def hold(self, key: str, limit: int, used: int, want: int) -> int | None:
        """See Pools."""

        def ask(session: Session) -> int:
            ((count,),) = session.run(_HOLD, (key, self._holder, limit, used, want))
            return int(count)

        found: int | None = self._answer(ask, lambda _: None)
        return found

    def claims(self, alone: ClaimTable) -> ClaimTable:
        """See OpenPools."""
        return PostgresClaimTable(self._thread, alone)

    def _answer(self, ask: Query, late: Callable[[Any], None]) -> Any:
        """Have it asked; None if there is no answer soon enough."""
        try:
            return self._thread.ask(ask, self._wait, late)
        except Unanswered:
            return None

    def _look(self, session: Session) -> None:
        """See who is alive; now and then forget what has expired."""
        self.sharers = max(1, session.run(_SHARERS)[0][0])
        if monotonic() >= self._lanes_at:
            self._lanes_at = monotonic() + LANES
            self.lanes = tuple(map(_lane, session.run(_LANES)))
        if monotonic() >= self._sweep_at:
            self._sweep_at = monotonic() + SWEEP
            for statement in _FORGET:
                session.run(statement)


def _lane(row: Row) -> LaneOwner:
    name, about, silent = row
    return LaneOwner(name, HostFacts.of_json(about), silent)
