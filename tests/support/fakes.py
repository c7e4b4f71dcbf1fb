"""Fakes at our own ports. Each is held to its port's contract by a test."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic

from app.gateway.chain.drain import Drain
from app.gateway.chat import ChatReply, ChatRequest, Delta, Message
from app.gateway.errors import AuditUnavailable
from app.gateway.gateway_status import StatusBoard
from app.gateway.guard.breaker import CircuitBreaker
from app.gateway.guard.call_history import CallHistory
from app.gateway.guard.concurrency import ConcurrencyLimit, ConcurrencyLimits
from app.gateway.guard.guarded import EXTRA_CALLS, Guarded
from app.gateway.guard.hang_detection import HangCheck
from app.gateway.guard.health import HealthBoard
from app.gateway.handler import ReplyStream
from app.gateway.records.signs import TrailSigns
from app.gateway.shared import InProcessState


class FakeClock:
    """A clock that goes only when told."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


def a_request(text="Hello", **fields):
    facts = {
        "session_id": "s-1",
        "correlation_id": "c-1",
        "caller": "operator",
    } | fields
    return ChatRequest(messages=(Message("user", text),), **facts)


class FakeUpstream:
    """Answers with its deltas, or raises what it was told to, in order."""

    def __init__(self, name="switch", timeout=30.0, deltas=("Hi",), clock=None):
        self.name, self.timeout = name, timeout
        self.deltas, self.clock = deltas, clock
        self.failures, self.limits, self.turns, self.calls = [], [], [], 0
        self.asked = []  # the requests
        self.breaks_with = None  # raised after the last delta

    def fail(self, error, times=1, taking=0.0):
        self.failures += [(error, taking)] * times

    def open(self, request, budget, turn=None):
        self.calls += 1
        self.turns.append(turn)
        self.asked.append(request)
        self.limits.append(budget.remaining())
        if self.failures:
            error, taking = self.failures.pop(0)
            if taking:
                self.clock.advance(taking)
            raise error
        return ReplyStream(
            self._speak(), ChatReply(text="", upstream=self.name, model="m")
        )

    def _speak(self):
        yield from map(Delta, self.deltas)
        if self.breaks_with:
            raise self.breaks_with


class Unguarded:
    """A handler as a router's candidate, that takes every turn."""

    def __init__(self, upstream):
        self.name, self.timeout = upstream.name, upstream.timeout
        self._upstream = upstream

    def open(self, request, budget, turn=None):
        return self._upstream.open(request, budget)


class FakeChat(FakeUpstream):
    """A RecordedChat that remembers what never came to it."""

    def __init__(self):
        super().__init__()
        self.refused, self.turned_away = [], []

    def refuse(self, request, code, status):
        self.refused.append((request, code, status))

    def turn_away(self, request, budget, error):
        self.turned_away.append((request, error))


@dataclass
class FakeTrail:
    """Keeps records in memory; `is_down` makes it unwritable."""

    key: bytes = b"k" * 32
    is_down: bool = False
    unsigned: int = 0
    signs: type = TrailSigns  # called, it knows nothing
    begun: list = field(default_factory=list)
    closed: list = field(default_factory=list)

    def check(self):
        if self.is_down:
            raise AuditUnavailable("down")

    def key_id(self):
        return "a-key"

    def begin(self, intent):
        self.check()
        self.begun.append(intent)

    def finish(self, intent, closing, timeout, pulse=lambda: None):
        self.check()
        self.closed.append((intent, closing))
        return 0.001

    def note(self, intent, closing):
        self.closed.append((intent, closing))


@dataclass
class FakeActivity:
    """A past that was told beforehand."""

    moments: tuple = ()
    outages: tuple = ()
    used: tuple = ()

    def recent(self, since, limit):
        return tuple(m for m in self.moments if m.opened_at >= since)[:limit]

    def windows(self, since, limit):
        return tuple(w for w in self.outages if w.began >= since)[:limit]

    def usage(self, since, until, limit, *, by_person):
        return self.used[:limit]


@dataclass
class FakeRecords:
    """Finds what a FakeTrail was given."""

    trail: FakeTrail

    def get(self, any_id):
        for intent, closing in self.trail.closed:
            if any_id in (intent.id, intent.correlation_id):
                return closing
        return None

    def search(self, query):
        return tuple(closing for _, closing in self.trail.closed)

    listed = search


def a_board(clock=monotonic):
    """A health board that is shared with nobody."""
    return HealthBoard(InProcessState(clock))


def a_status_board(trail, keyring, guards, health, shared=None, *, is_required=True):
    """What tells how a gateway of these parts is."""
    shared = shared or InProcessState()
    return StatusBoard(
        shared=shared,
        drain=Drain(),
        trail=trail,
        is_required=is_required,
        keyring=keyring,
        guards=guards,
        health=health,
        history=CallHistory(shared),
    )


def a_guard(upstream, health, clock=monotonic, *, cap=None, inquire=None, breaker=None):
    """A guarded upstream that shares its circuit with nobody."""
    shared = InProcessState(clock)
    breaker = breaker or CircuitBreaker(upstream.name, shared, draw=lambda: 1.0)
    check = HangCheck(inquire or (lambda _: Future()), patience=3.0)

    def pause(event, seconds):
        event.wait(seconds) if clock is monotonic else clock.advance(seconds)

    caps = ConcurrencyLimits(
        ConcurrencyLimit(upstream.name, shared, cap, pause),
        ConcurrencyLimit(f"extra:{upstream.name}", shared, EXTRA_CALLS, pause),
    )
    return Guarded(
        upstream, health, breaker, caps, hang_check=check, queue_wait=3.0, clock=clock
    )


class LateReader:
    """A process's view of a state whose reads lag behind, as reads do in a race."""

    alone = 0

    def __init__(self, state):
        self.state, self.now = state, state.now
        self.update, self.close = state.update, state.close
        self.seen = {}

    def look(self, key):
        """See the value as it is now, from now on."""
        self.seen[key] = self.state.read(key)

    def read(self, key):
        return self.seen.get(key)
