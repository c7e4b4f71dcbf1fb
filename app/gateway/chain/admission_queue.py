"""AdmissionQueue: slots for chats, and a bounded queue, by priority, share and age."""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from threading import Event, Lock
from time import monotonic

from app.gateway.budget import Clock
from app.gateway.chain.places import Places
from app.gateway.chat import Priority
from app.gateway.errors import Overloaded


@dataclass(frozen=True, slots=True)
class Limits:
    """The number of chats that one process takes on.

    `slots` chats are worked on at once, at most `streams` of them as streams, and
    `queue` more wait for at most `wait` seconds. With `is_shared` no caller gets more
    than a fair share of them; without it there is but one caller.
    """

    slots: int
    queue: int
    wait: float
    streams: int
    is_shared: bool = False


class State(Enum):
    """The state of a ticket. Its owner gives it back in each of them."""

    WAITING = "waiting"
    SERVED = "served"
    EVICTED = "evicted"
    LEFT = "left"


class RefusalReason(Enum):
    """The reason why a chat gets no slot."""

    QUEUE_FULL = "queue_full"
    SHARE_USED = "share_used"
    STREAMS_FULL = "streams_full"
    EVICTED = "evicted"
    WAITED = "waited_too_long"
    LATE = "no_time_left"
    MEMORY = "memory"


class Ticket:
    """One chat's slot or place in the queue; `arrived` is on the monotonic clock.

    `caller` is "" where callers are not told apart.
    """

    __slots__ = ("arrived", "called", "caller", "is_stream", "priority", "state")

    def __init__(self, priority: Priority, arrived: float, caller: str = "") -> None:
        self.priority = priority
        self.caller = caller
        self.is_stream = False
        self.arrived = arrived
        self.state = State.SERVED
        self.called: Event | None = None  # only those who wait need one


@dataclass(frozen=True, slots=True)
class Load:
    """How many slots and queue entries of one process are taken."""

    busy: int
    waiting: int
    streams: int


@dataclass(frozen=True, slots=True)
class HostLoad:
    """The load of all `workers` of a host; each of them has `slots`."""

    workers: int
    slots: int
    load: Load


class AdmissionQueue:
    """Slots and a queue for them; no method waits. Threads may share it.

    The ticket with the highest effective priority is served first; among equals that
    of the caller who holds the fewest slots, then the oldest. Priority rises by one
    class for each half of the longest wait. Whether a chat is a stream is known only
    when its body was read, in its slot. Streams have a limit of their own and never
    queue for it, so that they cannot hold all slots.
    """

    def __init__(self, limits: Limits, clock: Clock = monotonic) -> None:
        self.limits = limits
        self._clock = clock
        self._lock = Lock()  # guards what follows; never held during a wait
        self._lanes: dict[Priority, deque[Ticket]] = {p: deque() for p in Priority}
        self._slots, self._streams, self._queue = Places(), Places(), Places()

    def enter(self, priority: Priority, caller: str = "") -> Ticket:
        """Return a ticket that is served, or waits for its `called`.

        Raises Overloaded. It must be given back by `leave`, served or not.
        """
        with self._lock:
            whose = caller if self.limits.is_shared else ""
            ticket = Ticket(priority, self._clock(), whose)
            # Whoever waits could not have a free slot, so none is overtaken here.
            if self._slots.have_room(self.limits.slots, priority, whose):
                self._slots.take(priority, whose)
            else:
                self._enqueue(ticket)
            return ticket

    def make_stream(self, ticket: Ticket) -> None:
        """Let a served ticket be a stream's; raises Overloaded for one too many."""
        with self._lock:
            who = ticket.priority, ticket.caller
            if not self._streams.have_room(self.limits.streams, *who):
                raise self.refusal(RefusalReason.STREAMS_FULL)
            ticket.is_stream = True
            self._streams.take(*who)

    def leave(self, ticket: Ticket) -> None:
        """Give a ticket back; the best waiter takes a slot that became free."""
        with self._lock:
            if ticket.state is State.WAITING:
                self._remove(ticket, State.LEFT)
            elif ticket.state is State.SERVED:
                self._free(ticket)
                self._call_waiters()

    def load(self) -> Load:
        """Say what is taken."""
        with self._lock:
            return Load(self._slots.taken, self._queue.taken, self._streams.taken)

    def refusal(self, why: RefusalReason) -> Overloaded:
        """What to raise to whoever gets no place."""
        return Overloaded(why.value, retry_after=self.limits.wait)

    def _enqueue(self, ticket: Ticket) -> None:
        who = ticket.priority, ticket.caller
        if not self._queue.have_room(self.limits.queue, *who):
            if self._queue.is_share_used(self.limits.queue, *who):
                raise self.refusal(RefusalReason.SHARE_USED)
            self._evict_for(ticket)
        ticket.state = State.WAITING
        ticket.called = Event()
        self._lanes[ticket.priority].append(ticket)
        self._queue.take(*who)

    def _evict_for(self, newcomer: Ticket) -> None:
        """Make room by the worst, newest waiter; Overloaded if that is he himself."""
        tails = [lane[-1] for lane in self._lanes.values() if lane]
        worst = max(tails, key=self._rank, default=newcomer)
        if self._rank(newcomer)[0] >= self._rank(worst)[0]:
            raise self.refusal(RefusalReason.QUEUE_FULL)
        self._remove(worst, State.EVICTED)

    def _rank(self, ticket: Ticket) -> tuple[int, int, float]:
        """Smaller goes first."""
        grown = int((self._clock() - ticket.arrived) / (self.limits.wait / 2))
        held = self._slots.held_by(ticket.caller)
        return max(Priority.HIGH, ticket.priority - grown), held, ticket.arrived

    def _best(self) -> Ticket | None:
        """The waiter who is to be served next, if there is a slot for one.

        A lane holds its tickets by age, so a caller's first one is his best one.
        """
        firsts: dict[tuple[Priority, str], Ticket] = {}
        for ticket in chain.from_iterable(self._lanes.values()):
            firsts.setdefault((ticket.priority, ticket.caller), ticket)
        servable = [
            ticket
            for who, ticket in firsts.items()
            if self._slots.have_room(self.limits.slots, *who)
        ]
        return min(servable, key=self._rank, default=None)

    def _call_waiters(self) -> None:
        while self._queue.taken and (ticket := self._best()):
            self._remove(ticket, State.SERVED)
            self._slots.take(ticket.priority, ticket.caller)

    def _free(self, ticket: Ticket) -> None:
        ticket.state = State.LEFT
        self._slots.give_back(ticket.priority, ticket.caller)
        if ticket.is_stream:
            self._streams.give_back(ticket.priority, ticket.caller)

    def _remove(self, ticket: Ticket, state: State) -> None:
        """Take a waiter out of the queue and tell him where he stands now."""
        self._lanes[ticket.priority].remove(ticket)
        self._queue.give_back(ticket.priority, ticket.caller)
        ticket.state = state
        if ticket.called is not None:
            ticket.called.set()
