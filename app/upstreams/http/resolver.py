"""Resolver: names to addresses, without ever waiting for a resolver that hangs."""

import socket
from collections.abc import Callable, Sequence
from math import inf
from threading import Event, Lock, Thread
from time import monotonic

from app.gateway.budget import Clock
from app.gateway.errors import ConnectFailed
from app.upstreams.http.deadline import ExchangeDeadline, Phase
from app.upstreams.http.sockets import Address

Lookup = Callable[[str, int], Sequence[Address]]

FRESH = 30.0  # seconds; the time after which a name is looked up again
RETRY = 1.0  # seconds between lookups of a name while they, or its addresses, fail
# Seconds from the beginning of a lookup in which addresses that have failed are kept
# waiting for it: it mostly takes a few milliseconds, and else they are tried again.
HOLD = 0.25


def system_lookup(host: str, port: int, flags: int = 0) -> Sequence[Address]:
    """Ask the system's resolver, which may take long; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [Address(family, sockaddr) for family, _, _, _, sockaddr in found]


class _Name:
    """What is known of one name, and whether it is being asked for."""

    def __init__(self) -> None:
        self.addresses: Sequence[Address] = ()
        self.due = self.asked = self.learned = 0.0
        self.answered: Event | None = None  # set when the lookup under way ends
        self.is_doubted = False  # no connection came about since it was looked up


class Resolver:
    """Knows addresses by name. Threads may share it.

    A name's addresses are used for as long as there are no newer ones; each lookup
    runs in a thread of its own, one at a time per name, because a resolver cannot
    be interrupted. So a caller waits only for a name that was never found, and for a
    moment if its addresses have failed.
    """

    def __init__(
        self, lookup: Lookup = system_lookup, *, clock: Clock = monotonic
    ) -> None:
        self._lookup = lookup
        self._clock = clock
        self._names: dict[tuple[str, int], _Name] = {}
        self._lock = Lock()  # guards the names; never held during a lookup

    def addresses(
        self, host: str, port: int, watch: ExchangeDeadline
    ) -> Sequence[Address]:
        """Return the addresses; raises ConnectFailed if none are known in time."""
        watch.phase = Phase.RESOLVE
        if literal := _literal(host, port):
            return literal
        name, answered = self._know_or_ask(host, port)
        while answered is not None and (hold := self._hold(name)) > 0:
            if answered.wait(min(hold, watch.wait_limit())):
                break
        if not name.addresses:
            raise ConnectFailed("dns")
        return name.addresses

    def doubt(self, host: str, port: int) -> None:
        """Have a name looked up anew: no connection came about to its addresses.

        The lookup begins at once, but not before RETRY is over since the last one.
        """
        with self._lock:
            name = self._names.get((host, port))
            if name is None:
                return
            name.is_doubted = True
            name.due = min(name.due, name.learned + RETRY)
        self._know_or_ask(host, port)

    def _hold(self, name: _Name) -> float:
        """Seconds that the lookup under way is worth waiting for."""
        if not name.addresses:
            return inf
        return name.asked + HOLD - self._clock() if name.is_doubted else 0.0

    def _know_or_ask(self, host: str, port: int) -> tuple[_Name, Event | None]:
        """What is known now, and the end of the lookup under way, if there is one."""
        with self._lock:
            name = self._names.setdefault((host, port), _Name())
            is_due = name.answered is None and name.due <= self._clock()
            if is_due:
                name.answered, name.asked = Event(), self._clock()
            answered = name.answered
        if is_due:
            self._ask_in_background(host, port)
        return name, answered

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
            name.is_doubted = name.is_doubted and not found
            name.learned = self._clock()
            name.due = name.learned + (FRESH if found else RETRY)
            answered, name.answered = name.answered, None
        if answered is not None:
            answered.set()


def _literal(host: str, port: int) -> Sequence[Address]:
    """The address that the host already is, or nothing."""
    try:
        return system_lookup(host, port, socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return ()
