"""AdmissionQueue: slots for chats, and a bounded queue, by priority and age."""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from threading import Event, Lock
from time import monotonic

from app.gateway.budget import Clock
from app.gateway.chat import Priority
from app.gateway.errors import Overloaded

# At most this share of slots and of queue entries goes to normal and low priority, so
# that a high-priority chat rarely has to evict one that is waiting.
LOWER_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Limits:
    """The number of chats that one process takes on.

    `slots` chats are worked on at once, at most `streams` of them as streams, and
    `queue` more wait for at most `wait` seconds.
    """

    slots: int
    queue: int
    wait: float
    streams: int


class State(Enum):
    """The state of a ticket. Its owner gives it back in each of them."""

    WAITING = "waiting"
    SERVED = "served"
    EVICTED = "evicted"
    LEFT = "left"


class RefusalReason(Enum):
    """The reason why a chat gets no slot."""

    QUEUE_FULL = "queue_full"
    STREAMS_FULL = "streams_full"
    EVICTED = "evicted"
    WAITED = "waited_too_long"
    LATE = "no_time_left"
    MEMORY = "memory"


class Ticket:
    """One chat's slot or place in the queue; `arrived` is on the monotonic clock."""

    __slots__ = ("arrived", "called", "is_stream", "priority", "state")

    def __init__(self, priority: Priority, arrived: float) -> None:
        self.priority = priority
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

    The ticket with the highest effective priority is served first, the oldest first
    among equals; priority rises by one class for each half of the longest wait. Whether
    a chat is a stream is known only when its body was read, in its slot. Streams have a
    limit of their own and never queue for it, so that they cannot hold all slots.
    """

    def __init__(self, limits: Limits, clock: Clock = monotonic) -> None:
        self.limits = limits
        self._clock = clock
        self._lock = Lock()  # guards what follows; never held during a wait
        self._lanes: dict[Priority, deque[Ticket]] = {p: deque() for p in Priority}
        self._busy = 0
        self._busy_lower = 0
        self._streams = 0
        self._waiting = 0

    def enter(self, priority: Priority) -> Ticket:
        """Return a ticket that is served, or waits for its `called`.

        Raises Overloaded. It must be given back by `leave`, served or not.
        """
        with self._lock:
            ticket = Ticket(priority, self._clock())
            # Whoever waits could not have a free slot, so none is overtaken here.
            if self._has_slot(ticket):
                self._serve(ticket)
            else:
                self._enqueue(ticket)
            return ticket

    def make_stream(self, ticket: Ticket) -> None:
        """Let a served ticket be a stream's; raises Overloaded for one too many."""
        with self._lock:
            if not self._has_stream_place(ticket.priority):
                raise self.refusal(RefusalReason.STREAMS_FULL)
            ticket.is_stream = True
            self._streams += 1

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
            return Load(self._busy, self._waiting, self._streams)

    def refusal(self, why: RefusalReason) -> Overloaded:
        """What to raise to whoever gets no place."""
        return Overloaded(why.value, retry_after=self.limits.wait)

    def _has_slot(self, ticket: Ticket) -> bool:
        if self._busy >= self.limits.slots:
            return False
        is_high = ticket.priority is Priority.HIGH
        return is_high or self._busy_lower < _lower(self.limits.slots)

    def _has_stream_place(self, priority: Priority) -> bool:
        places = self.limits.streams
        is_high = priority is Priority.HIGH
        return self._streams < (places if is_high else _lower(places))

    def _enqueue(self, ticket: Ticket) -> None:
        if not self._has_place(ticket):
            self._evict_for(ticket)
        ticket.state = State.WAITING
        ticket.called = Event()
        self._lanes[ticket.priority].append(ticket)
        self._waiting += 1

    def _has_place(self, ticket: Ticket) -> bool:
        if self._waiting >= self.limits.queue:
            return False
        lower = self._waiting - len(self._lanes[Priority.HIGH])
        return ticket.priority is Priority.HIGH or lower < _lower(self.limits.queue)

    def _evict_for(self, newcomer: Ticket) -> None:
        """Make room by the worst, newest waiter; Overloaded if that is he himself."""
        tails = [lane[-1] for lane in self._lanes.values() if lane]
        worst = max(tails, key=self._rank, default=newcomer)
        if self._rank(newcomer)[0] >= self._rank(worst)[0]:
            raise self.refusal(RefusalReason.QUEUE_FULL)
        self._remove(worst, State.EVICTED)

    def _rank(self, ticket: Ticket) -> tuple[int, float]:
        """Smaller goes first."""
        grown = int((self._clock() - ticket.arrived) / (self.limits.wait / 2))
        return max(Priority.HIGH, ticket.priority - grown), ticket.arrived

    def _best(self) -> Ticket | None:
        """The waiter who is to be served next, if there is a slot for one.

        A lane holds its tickets by age, so its first one is its best one.
        """
        heads = [lane[0] for lane in self._lanes.values() if lane]
        servable = [ticket for ticket in heads if self._has_slot(ticket)]
        return min(servable, key=self._rank, default=None)

    def _call_waiters(self) -> None:
        while self._waiting and (ticket := self._best()):
            self._remove(ticket, State.SERVED)
            self._serve(ticket)

    def _serve(self, ticket: Ticket) -> None:
        self._busy += 1
        self._busy_lower += ticket.priority is not Priority.HIGH

    def _free(self, ticket: Ticket) -> None:
        ticket.state = State.LEFT
        self._busy -= 1
        self._busy_lower -= ticket.priority is not Priority.HIGH
        self._streams -= ticket.is_stream

    def _remove(self, ticket: Ticket, state: State) -> None:
        """Take a waiter out of the queue and tell him where he stands now."""
        self._lanes[ticket.priority].remove(ticket)
        self._waiting -= 1
        ticket.state = state
        if ticket.called is not None:
            ticket.called.set()


def _lower(places: int) -> int:
    """How many of so many places the classes below high may take; at least one."""
    return max(1, int(places * LOWER_SHARE))
