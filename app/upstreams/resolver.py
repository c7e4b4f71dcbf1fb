"""Resolver: names to addresses, without ever waiting for a resolver that hangs."""

import socket
from collections.abc import Callable, Sequence
from threading import Event, Lock, Thread
from time import monotonic

from app.gateway.budget import Clock
from app.gateway.errors import ConnectFailed
from app.upstreams.sockets import Address
from app.upstreams.watch import Phase, Watch

Lookup = Callable[[str, int], Sequence[Address]]

FRESH = 30.0  # seconds; the time after which names are asked again (pitfalls, 2.1)
RETRY = 1.0  # seconds between lookups of a name while they fail


def system_lookup(host: str, port: int, flags: int = 0) -> Sequence[Address]:
    """Ask the system's resolver, which may take long; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [Address(family, sockaddr) for family, _, _, _, sockaddr in found]


class _Name:
    """What is known of one name, and whether it is being asked for."""

    def __init__(self) -> None:
        self.addresses: Sequence[Address] = ()
        self.due = 0.0
        self.answered: Event | None = None  # set when the lookup under way ends


class Resolver:
    """Knows addresses by name. Threads may share it.

    A name's addresses are used for as long as there are no newer ones; each lookup
    runs in a thread of its own, one at a time per name, because a resolver cannot
    be interrupted. So a caller waits only for a name that was never found.
    """

    def __init__(
        self, lookup: Lookup = system_lookup, *, clock: Clock = monotonic
    ) -> None:
        self._lookup = lookup
        self._clock = clock
        self._names: dict[tuple[str, int], _Name] = {}
        self._lock = Lock()  # guards the names; never held during a lookup

    def addresses(self, host: str, port: int, watch: Watch) -> Sequence[Address]:
        """Return the addresses; raises ConnectFailed if none are known in time."""
        watch.phase = Phase.RESOLVE
        if literal := _literal(host, port):
            return literal
        known, answered = self._know_or_ask(host, port)
        if not known and answered is not None:
            while not answered.wait(watch.wait_limit()):
                pass
            with self._lock:
                known = self._names[host, port].addresses
        if not known:
            raise ConnectFailed("dns")
        return known

    def _know_or_ask(
        self, host: str, port: int
    ) -> tuple[Sequence[Address], Event | None]:
        """What is known now, and the end of the lookup under way, if there is one."""
        with self._lock:
            name = self._names.setdefault((host, port), _Name())
            is_due = name.answered is None and name.due <= self._clock()
            if is_due:
                name.answered = Event()
            known, answered = name.addresses, name.answered
        if is_due:
            self._ask_in_background(host, port)
        return known, answered

    def _ask_in_background(self, host: str, port: int) -> None:
        thread = Thread(
            target=self._ask, args=(host, port), name="resolver", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no more threads: the system is at its limit
            self._learn(host, port, ())

    def _ask(self, host: str, port: int) -> None:
        found: Sequence[Address] = ()
        try:
            found = self._lookup(host, port)
        except (OSError, UnicodeError):  # UnicodeError: not encodable as IDNA
            pass
        finally:
            self._learn(host, port, found)

    def _learn(self, host: str, port: int, found: Sequence[Address]) -> None:
        with self._lock:
            name = self._names[host, port]
            name.addresses = found or name.addresses
            name.due = self._clock() + (FRESH if found else RETRY)
            answered, name.answered = name.answered, None
        if answered is not None:
            answered.set()


def _literal(host: str, port: int) -> Sequence[Address]:
    """The address that the host already is, or nothing."""
    try:
        return system_lookup(host, port, socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return ()
