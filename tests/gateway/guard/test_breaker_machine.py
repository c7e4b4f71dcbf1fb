"""The breaker under any order of events: hypothesis looks for one that breaks it."""

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.gateway.errors import NeverSent
from app.gateway.guard.breaker import CircuitBreaker
from app.gateway.guard.breaker_state import BreakerState
from app.gateway.guard.circuit import SURE, UNSURE, Circuit, Phase, Rules
from app.gateway.shared import InProcessState
from tests.support.fakes import FakeClock

RULES = Rules(slow_call=20.0)
LEASE = 31.0


class CircuitMachine(RuleBasedStateMachine):
    """Three processes, their calls, and an upstream that does as it likes."""

    def __init__(self):
        super().__init__()
        self.clock = FakeClock()
        self.shared = InProcessState(self.clock)
        self.draws = 0.5
        self.breakers = [self.a_breaker() for _ in range(3)]
        self.running = []  # (breaker, permit)
        self.callers = itertools.count()  # each call another one's: all failures count
        self.row = 0  # what a reader of the rules would count himself
        self.ended = []  # (time, failed) in the present closed phase
        self.generation = 0
        self.probe_until = None
        self.breakers[0].failed(self.breakers[0].admit("the first", LEASE))

    def a_breaker(self):
        return CircuitBreaker("switch", self.shared, RULES, draw=lambda: self.draws)

    def a_caller(self):
        return f"caller {next(self.callers)}"

    @property
    def circuit(self):
        return BreakerState.decode(self.shared.read("circuit:switch")).everybody

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 3.0, 31.0, 61.0]))
    def time_passes(self, seconds):
        self.clock.advance(seconds)

    @rule(draw=st.floats(0, 1))
    def the_dice_are_thrown(self, draw):
        self.draws = draw

    @rule(n=st.integers(0, 2))
    def a_call_begins(self, n):
        before, now = self.circuit, self.clock()
        if before.phase is not Phase.CLOSED and now < before.until:
            with pytest.raises(NeverSent) as caught:
                self.breakers[n].admit(self.a_caller(), LEASE)
            assert 0 < caught.value.retry_after <= RULES.open_max
            return
        permit = self.breakers[n].admit(self.a_caller(), LEASE)
        assert permit.generation == self.circuit.generation
        self.running.append((self.breakers[n], permit))
        if before.phase is not Phase.CLOSED:
            assert self.circuit.phase is Phase.HALF_OPEN

    @precondition(lambda self: self.running)
    @rule(data=st.data(), end=st.sampled_from(["good", "slow", "bad", "dropped"]))
    def a_call_ends(self, data, end):
        at = data.draw(st.integers(0, len(self.running) - 1))
        breaker, permit = self.running.pop(at)
        before = self.circuit
        if end in ("good", "slow"):
            breaker.succeeded(permit, 25.0 if end == "slow" else 1.0)
        elif end == "bad":
            breaker.failed(permit)
        else:
            breaker.dropped(permit)
        is_current = permit.generation == before.generation
        if not is_current:
            assert self.circuit == before
        elif before.phase is Phase.HALF_OPEN:
            self.the_probe_ended(before, end)
        elif end != "dropped":
            self.the_rules_are_kept(before, failed=end != "good")

    def the_probe_ended(self, before, end):
        expected = {"good": Phase.CLOSED, "dropped": Phase.HALF_OPEN}
        after = self.circuit
        assert after.phase is expected.get(end, Phase.OPEN)
        if end == "dropped":
            assert after.until <= self.clock()
        if after.phase is Phase.OPEN:
            assert after.trips == before.trips + 1

    def the_rules_are_kept(self, before, failed):
        if before.generation != self.generation or before.since != self.since:
            self.row, self.ended = 0, []
            self.generation, self.since = before.generation, before.since
        now = self.clock()
        self.row = self.row + 1 if failed else 0
        self.ended.append((now, failed))
        window = [f for t, f in self.ended if now - t <= RULES.window]
        has_opened = self.circuit.phase is Phase.OPEN
        if self.row >= RULES.failures:
            assert has_opened
        if has_opened:
            assert failed
            assert self.row >= RULES.failures or (
                len(window) >= RULES.min_calls
                and sum(window) >= RULES.ratio * (len(window) - self.not_handed_in())
            )

    since = 0.0

    def not_handed_in(self):
        return sum(breaker._good._count for breaker in self.breakers)

    @rule()
    def somebody_sees_it_alive(self):
        before = self.circuit
        self.breakers[0].revive()
        if before.phase is Phase.OPEN:
            assert self.circuit.until <= self.clock()
        else:
            assert self.circuit == before

    @rule()
    def a_worker_dies_with_its_calls(self):
        dead = self.breakers[0]
        self.running = [(b, p) for b, p in self.running if b is not dead]
        self.breakers[0] = self.a_breaker()

    @invariant()
    def nothing_is_closed_to_callers_for_ever(self):
        circuit, now = self.circuit, self.clock()
        longest = max(LEASE, RULES.open_max)
        assert circuit.phase is Phase.CLOSED or circuit.until - now <= longest

    @invariant()
    def there_is_one_probe_at_a_time(self):
        circuit = self.circuit
        if circuit.phase is Phase.HALF_OPEN:
            current = [p for _, p in self.running if p.generation == circuit.generation]
            assert len(current) <= 1

    @invariant()
    def the_state_survives_being_written_down(self):
        raw = self.circuit.encode()
        assert Circuit.decode(raw) == self.circuit
        assert len(raw) < 100


class CallersMachine(RuleBasedStateMachine):
    """One caller does what it likes at an upstream that answers everybody else.

    The others' calls fail now and then, at most one of four.
    """

    def __init__(self):
        super().__init__()
        self.clock = FakeClock()
        shared = InProcessState(self.clock)
        self.breaker = CircuitBreaker("switch", shared, RULES, draw=lambda: 1.0)

    @rule(seconds=st.sampled_from([0.01, 1.0, 31.0, 3600.0]))
    def time_passes(self, seconds):
        self.clock.advance(seconds)

    @rule(
        ends=st.lists(st.sampled_from(["bad", "unsure", "slow", "good", "dropped"])),
        seconds=st.sampled_from([0.0, 0.5, 4.0]),
    )
    def the_one_asks(self, ends, seconds):
        for end in ends:
            self.clock.advance(seconds)
            try:
                permit = self.breaker.admit("mallory", LEASE)
            except NeverSent:
                permit = self.breaker.admit_extra("mallory")
            self.the_call_ends(permit, end)

    def the_call_ends(self, permit, end):
        if end in ("bad", "unsure"):
            self.breaker.failed(permit, SURE if end == "bad" else UNSURE)
        elif end == "dropped":
            self.breaker.dropped(permit)
        else:
            self.breaker.succeeded(permit, 25.0 if end == "slow" else 1.0)

    @rule(name=st.sampled_from(["alice", "bob"]), fails_once=st.booleans())
    def another_one_asks(self, name, fails_once):
        if fails_once:
            self.breaker.failed(self.breaker.admit(name, LEASE))
        for _ in range(3):
            self.breaker.succeeded(self.breaker.admit(name, LEASE), 1.0)

    @invariant()
    def nobody_else_is_kept_away(self):
        assert self.breaker.refusal("alice") is None
        assert self.breaker.refusal("bob") is None


CallersMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=60, deadline=None
)
TestCallersMachine = CallersMachine.TestCase

CircuitMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=60, deadline=None
)
TestCircuitMachine = CircuitMachine.TestCase
