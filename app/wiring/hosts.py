"""Hosts: what the limits of one process have to do with those of other hosts."""

from collections.abc import Callable
from pathlib import Path

from app.gateway.access.pools import PooledRateLimits
from app.gateway.access.rate_limits import RateLimits
from app.gateway.guard.concurrency import ConcurrencyLimit, ConcurrencyLimits
from app.gateway.guard.guarded import EXTRA_CALLS
from app.gateway.guard.host_places import HostPlaces, PlacesBeat
from app.gateway.kept.claim_table import HostClaimTable
from app.gateway.kept.claims import SharedClaims
from app.gateway.shared import InProcessState, SharedState
from app.storage.backend import AuditBackend
from app.storage.shared.rate_limits import SlidingRateLimits


class Hosts:
    """What hosts share, where their records are in one place; else nothing."""

    def __init__(
        self,
        audit: AuditBackend,
        shared: SharedState,
        state_dir: Path,
        has_several_callers: bool,
    ) -> None:
        self._has_several_callers = has_several_callers
        self._shared, self._pools = shared, audit.pools(state_dir)
        self._held: list[tuple[HostPlaces, Callable[[], int]]] = []
        self._beat = PlacesBeat(self._held)

    def rate_limits(self) -> RateLimits:
        """Make the limits of callers: of all hosts, or of all workers of this one."""
        if self._pools is None:
            return SlidingRateLimits(self._shared)
        return PooledRateLimits(self._pools, SlidingRateLimits(InProcessState()))

    def claims(self) -> SharedClaims:
        """Make the claims of those who ask the same, at whichever host."""
        own = HostClaimTable(self._shared)
        return SharedClaims(own if self._pools is None else self._pools.claims(own))

    def limits(self, upstream: str, most: int | None) -> ConcurrencyLimits:
        """Make the limits of an upstream, whose places the hosts share if need be."""
        extra = self._limit(f"extra:{upstream}", EXTRA_CALLS)
        if self._pools is None or most is None:
            return ConcurrencyLimits(self._limit(upstream, most), extra)
        places = HostPlaces(f"places:{upstream}", most, self._shared, self._pools)
        found = self._limit(upstream, most, places)
        self._held.append((places, lambda: found.running))
        return ConcurrencyLimits(found, extra)

    def _limit(
        self, name: str, most: int | None, places: HostPlaces | None = None
    ) -> ConcurrencyLimit:
        several = self._has_several_callers
        return ConcurrencyLimit(
            name, self._shared, most, has_several_callers=several, places=places
        )

    def start(self) -> None:
        """Connect, and say each second what is held."""
        if self._pools is not None:
            self._pools.start()
            self._beat.start()

    def close(self) -> None:
        """End both; calls that are still made are answered alone."""
        self._beat.stop()
        if self._pools is not None:
            self._pools.close()
