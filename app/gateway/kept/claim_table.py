"""ClaimTable: where the claims of several processes are noted, each with a lease."""

from typing import Protocol

from app.gateway.shared import SharedState

LEASE = 3.0  # seconds after which a claim of a dead process is nobody's


class ClaimTable(Protocol):
    """The port to what those share who may ask the same. Threads may share it.

    Never raises. A claim is some bytes that name it, and is gone behind LEASE.
    """

    @property
    def poll(self) -> float:
        """Seconds between two looks at a claim of another process."""
        ...

    def take(self, key: bytes, mine: bytes) -> bytes:
        """Note `mine` if nothing is there; return what is there then."""
        ...

    def read(self, key: bytes) -> bytes | None:
        """Return what is there."""
        ...

    def renew(self, key: bytes, mine: bytes) -> None:
        """Let `mine` last for another lease, unless another's is there."""
        ...

    def drop(self, key: bytes, mine: bytes) -> None:
        """Take `mine` away, if it is there."""
        ...


class HostClaimTable:
    """Fulfils `ClaimTable` for the workers of a host, by what they share."""

    poll = 0.02

    def __init__(self, shared: SharedState) -> None:
        self._shared = shared

    def take(self, key: bytes, mine: bytes) -> bytes:
        """See ClaimTable."""

        def change(taken: bytes | None) -> tuple[bytes, bytes]:
            return (mine, mine) if taken is None else (taken, taken)

        if (taken := self.read(key)) is not None:
            return taken
        return self._shared.update(_name_of(key), change, LEASE)

    def read(self, key: bytes) -> bytes | None:
        """See ClaimTable."""
        return self._shared.read(_name_of(key))

    def renew(self, key: bytes, mine: bytes) -> None:
        """See ClaimTable."""
        # Where it has become another's, that one is not to be made to last.
        if self.read(key) in (None, mine):
            self._shared.update(_name_of(key), lambda now: (now or mine, None), LEASE)

    def drop(self, key: bytes, mine: bytes) -> None:
        """See ClaimTable."""
        # Where it has become another's, that one is renewed, never made to last.
        self._shared.update(_name_of(key), lambda now: _without(now, mine), LEASE)


def _name_of(key: bytes) -> str:
    return f"claim/{key.hex()[:40]}"


def _without(now: bytes | None, mine: bytes) -> tuple[bytes | None, None]:
    return (None if now == mine else now), None
