"""Pools: quotas that hosts share, taken in pieces that each process spends by itself.

A busy key costs a round trip a quarter of a second, not one a request. The port is
fulfilled where there is an engine that all hosts reach; without one the limits of
`rate_limits` hold for a host.
"""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import NamedTuple, Protocol

from app.gateway.access.rate_limits import WINDOW, RateLimits, Standing
from app.gateway.shared import MAX_EXPIRING, MAX_STRANGERS, STRANGERS

# Seconds: what was spent in so many is asked for again; what is not spent in so many
# is given back; when to come again while the engine does not answer.
RECENT, LASTS, AGAIN = 0.25, 1.0, 1.0
LEASE = 5.0  # seconds that places are held without a word


class Piece(NamedTuple):
    """A part of a quota. `window` names the minute that it is of.

    `left` of the quota are behind it; in `reset` seconds there is room for more.
    """

    granted: int
    left: int
    reset: float
    window: int = 0


class Wish(NamedTuple):
    """What is asked of a quota a minute, and what of an older piece is given back."""

    key: str
    quota: int
    cost: int
    want: int
    back: int = 0
    window: int = 0


class Pools(Protocol):
    """The port that hands out pieces, for all hosts. Threads may share it.

    Never raises, and adds 50 ms at most: while one waits for longer, nobody else does.
    """

    @property
    def sharers(self) -> int:
        """How many processes were alive when it was last known; at least one."""
        ...

    def take(self, wish: Wish, late: Callable[[Piece], None]) -> Piece | None:
        """Take a piece, of `cost` at least, if anything is left; None: no answer.

        An answer that comes later is told to `late`, in another thread. The last piece
        may go beyond the quota by what one request costs.
        """
        ...

    def hold(self, key: str, limit: int, used: int, want: int) -> int | None:
        """Say how many places this host uses and wants; return how many it may use.

        They are its own for LEASE seconds, and the others' again behind that, or once
        it wants less. Where others want some, each gets a fair part. None: no answer.
        """
        ...


class _Held:
    """What this process holds of one quota."""

    __slots__ = (
        "bad_until",
        "count",
        "left",
        "lock",
        "reserve",
        "spent",
        "until",
        "window",
    )

    def __init__(self) -> None:
        self.lock = Lock()
        self.count = self.left = self.reserve = self.window = 0
        self.until = self.bad_until = 0.0
        # Since when, how much, and how much in the quarter of a second before it.
        self.spent: tuple[float, int, int] = (0.0, 0, 0)


class PooledRateLimits:
    """Fulfils `RateLimits` for all hosts. Threads may share it.

    While the engine does not answer, a process goes on with a small part of what was
    left a moment ago. Then nothing new is let in until a minute has gone since the last
    answer, for others may have spent the rest; behind that each process has its share.
    So the sum stays within the quota. Failed logins are counted by each process then.
    """

    def __init__(
        self,
        pools: Pools,
        own: RateLimits,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._pools, self._own, self._clock = pools, own, clock
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._of_strangers: OrderedDict[str, _Held] = OrderedDict()
        self._lock = Lock()  # guards both; never held in a round trip
        self._answered_at = clock()

    def take(self, key: str, quota: int, cost: int = 1) -> Standing:
        """See RateLimits."""
        held = self._of(key)
        with held.lock:
            now = self._clock()
            if now < held.bad_until:
                return _standing(held, quota, now, is_within=False)
            if held.count < cost or now >= held.until:
                if not self._refill(key, held, quota, cost, now):
                    return self._alone(key, held, quota, cost)
                now = self._clock()
            if held.count <= 0:
                return _standing(held, quota, now, is_within=False)
            held.count -= cost
            self._note(held, cost, now)
            return _standing(held, quota, now, is_within=True)

    def look(self, key: str, quota: int) -> Standing:
        """See RateLimits. What others have refused is known behind a `take` only."""
        with self._lock:
            held = self._table(key).get(key)
        if held is None:
            return Standing(is_within=True, quota=quota, remaining=quota, reset=0.0)
        now = self._clock()
        return _standing(held, quota, now, is_within=now >= held.bad_until)

    def _refill(self, key: str, held: _Held, quota: int, cost: int, now: float) -> bool:
        """Ask for a new piece; return whether there was an answer."""
        since, *spent = held.spent
        want = max(cost, *spent) if now - since < 2 * RECENT else cost
        back = max(0, held.count)

        def late(piece: Piece) -> None:
            with held.lock:
                self._put(key, held, piece)

        wish = Wish(key, quota, cost, want, back, held.window)
        piece = self._pools.take(wish, late)
        if piece is None:
            held.count = min(held.count, 0)  # it may be given back already
            return False
        self._put(key, held, piece)
        return True

    def _put(self, key: str, held: _Held, piece: Piece) -> None:
        self._answered_at = now = self._clock()
        held.count, held.left, held.window = piece.granted, piece.left, piece.window
        held.until = now + LASTS
        held.reserve = piece.left // (4 * self._pools.sharers)
        if not piece.granted:
            # Others may give back; a stranger is told to come when there is room.
            soon = piece.reset if key.startswith(STRANGERS) else RECENT
            held.bad_until = now + min(soon, piece.reset)

    def _alone(self, key: str, held: _Held, quota: int, cost: int) -> Standing:
        now = self._clock()
        share = max(1, quota // self._pools.sharers)
        is_over = now >= self._answered_at + WINDOW
        if is_over or key.startswith(STRANGERS):
            return self._own.take(key, share, cost)
        is_fresh = now < held.until
        if is_fresh and held.reserve >= cost:
            held.reserve -= cost
            return Standing(True, quota, held.reserve, 0.0)
        return Standing(is_within=False, quota=quota, remaining=0, reset=AGAIN)

    @staticmethod
    def _note(held: _Held, cost: int, now: float) -> None:
        since, spent, before = held.spent
        if now - since < RECENT:
            held.spent = since, spent + cost, before
        else:
            held.spent = now, cost, spent

    def _of(self, key: str) -> _Held:
        most = MAX_STRANGERS if key.startswith(STRANGERS) else MAX_EXPIRING
        with self._lock:
            table = self._table(key)
            held = table.setdefault(key, _Held())
            table.move_to_end(key)
            if len(table) > most:
                table.popitem(last=False)
            return held

    def _table(self, key: str) -> OrderedDict[str, _Held]:
        return self._of_strangers if key.startswith(STRANGERS) else self._held


def _standing(held: _Held, quota: int, now: float, *, is_within: bool) -> Standing:
    remaining = max(0, held.count) + max(0, held.left) if is_within else 0
    reset = max(0.0, held.bad_until - now)
    return Standing(is_within, quota, min(quota, remaining), reset)
