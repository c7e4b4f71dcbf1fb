"""Hosts: what the limits of one process have to do with those of other hosts."""

from collections.abc import Callable
from pathlib import Path

from app.gateway.access.hosts import (
    HostFacts,
    SharingHost,
    digest_of,
    sharing_hosts,
)
from app.gateway.access.pools import PooledRateLimits
from app.gateway.access.rate_limits import RateLimits
from app.gateway.access.tokens import Keyring, Token
from app.gateway.guard.concurrency import ConcurrencyLimit, ConcurrencyLimits
from app.gateway.guard.guarded import EXTRA_CALLS
from app.gateway.guard.host_places import HostPlaces, PlacesBeat
from app.gateway.kept.claim_table import HostClaimTable
from app.gateway.kept.claims import SharedClaims
from app.gateway.shared import InProcessState, SharedState
from app.settings import Settings, shown
from app.storage.backend import AuditBackend
from app.storage.shared.rate_limits import SlidingRateLimits
from app.version import VERSION

# What each host may have for itself: addresses, folders, how large it is, its log.
OWN = frozenset(
    {
        *("bind", "metrics_bind", "state_dir", "shared_dir", "metrics_dir"),
        *("tokens_file", "tls_ca", "anchor_file", "sandbox_page"),
        *("workers", "threads", "queue", "slots", "stream_slots", "max_memory"),
        *("log_level", "log_format", "otlp_endpoint"),
    }
)


class OwnFacts:
    """What this host tells the others of itself. Threads may share it.

    It is made anew when the tokens change; settings never do within a process.
    """

    def __init__(
        self, settings: Settings, keyring: Keyring | None, state_dir: Path
    ) -> None:
        given = settings.audit_key
        self._key = given.get_secret_value().encode() if given else b""
        self._keyring = keyring
        self._tokens: tuple[Token, ...] = ()
        self._made = HostFacts(
            VERSION,
            str(state_dir),
            self._digest_of_tokens(),
            {
                name: digest_of(self._key, name, value)
                for name, value in shown(settings).items()
                if name not in OWN
            },
        )

    def now(self) -> HostFacts:
        """The facts of this moment."""
        if self._keyring is not None and self._keyring.tokens is not self._tokens:
            self._made = self._made._replace(tokens=self._digest_of_tokens())
        return self._made

    def as_json(self) -> str:
        """The same, for the others to read."""
        return self.now().to_json()

    def _digest_of_tokens(self) -> str:
        self._tokens = self._keyring.tokens if self._keyring else ()
        return digest_of(self._key, "tokens", sorted(map(_told, self._tokens)))


def _told(token: Token) -> list[str]:
    """All that a token is, in an order that is the same on each host."""
    who = token.caller
    facts = (who.priority.name, who.rate, who.names_people, who.volume)
    valid = (token.not_before, token.expires)
    return [
        token.sha256.hex(),
        who.name,
        *map(str, (*sorted(who.scopes), *facts, *valid)),
    ]


class Hosts:
    """What hosts share, where their records are in one place; else nothing."""

    def __init__(
        self,
        audit: AuditBackend,
        shared: SharedState,
        state_dir: Path,
        has_several_callers: bool,
        facts: OwnFacts,
    ) -> None:
        self._facts = facts
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

    def seen(self) -> tuple[SharingHost, ...]:
        """The hosts that use these records, this one too; none where there is one."""
        if self._pools is None:
            return ()
        return sharing_hosts(self._pools.lanes, self._facts.now())

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
