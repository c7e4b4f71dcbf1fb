from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from app.gateway.chain.admission_queue import AdmissionQueue, Limits, Load, State
from app.gateway.chat import Priority
from app.gateway.errors import Overloaded
from tests.support.fakes import FakeClock

HIGH, NORMAL, LOW = Priority


@pytest.fixture
def gate(clock):
    return AdmissionQueue(Limits(slots=2, queue=3, wait=2.0, streams=1), clock)


def full(gate, *classes, clock=None):
    """Take all slots; return tickets of these classes that wait, in this order."""
    for _ in range(gate.limits.slots):
        gate.enter(HIGH)
    waiting = []
    for priority in classes:
        waiting.append(gate.enter(priority))
        if clock:
            clock.advance(0.01)
    return waiting


def states(tickets):
    return [ticket.state for ticket in tickets]


def test_slots_first_then_the_queue_then_a_refusal_that_says_when(gate):
    tickets = [gate.enter(HIGH) for _ in range(5)]

    assert states(tickets) == [State.SERVED] * 2 + [State.WAITING] * 3
    with pytest.raises(Overloaded) as refused:
        gate.enter(HIGH)
    assert refused.value.retry_after == 2.0


def test_a_slot_that_is_given_back_goes_to_who_waited_longest(gate, clock):
    served, _, first, second = (gate.enter(HIGH) for _ in range(4))

    gate.leave(served)

    assert states([first, second]) == [State.SERVED, State.WAITING]
    assert first.called.is_set()


def test_the_better_class_goes_first(clock):
    gate = AdmissionQueue(Limits(slots=1, queue=3, wait=2.0, streams=1), clock)
    served = gate.enter(HIGH)
    low, normal, high = (gate.enter(p) for p in (LOW, NORMAL, HIGH))
    order = []
    for _ in range(3):
        gate.leave(served)
        served = next(t for t in (low, normal, high) if t.state is State.SERVED)
        order.append(served.priority)

    assert order == [HIGH, NORMAL, LOW]


def test_who_waits_grows_up_by_a_class_for_each_half_of_the_longest_wait(clock):
    gate = AdmissionQueue(Limits(slots=1, queue=3, wait=2.0, streams=1), clock)
    served, low = gate.enter(HIGH), gate.enter(LOW)
    clock.advance(0.99)
    normal = gate.enter(NORMAL)
    clock.advance(0.02)

    gate.leave(served)

    assert states([low, normal]) == [State.SERVED, State.WAITING]


def test_the_lower_classes_leave_a_tenth_of_the_queue_free(gate):
    waiting = full(gate, LOW, LOW)

    with pytest.raises(Overloaded):
        gate.enter(LOW)
    assert gate.enter(HIGH).state is State.WAITING
    assert states(waiting) == [State.WAITING] * 2


@pytest.fixture
def roomy(clock):
    """Three places in the queue for the lower classes, one more for high."""
    return AdmissionQueue(Limits(slots=2, queue=4, wait=2.0, streams=1), clock)


def test_a_better_newcomer_takes_the_place_of_the_worst_newest(roomy, clock):
    normal, older, newer, _ = full(roomy, NORMAL, LOW, LOW, HIGH, clock=clock)

    high = roomy.enter(HIGH)

    assert states([normal, older, newer, high]) == [
        State.WAITING,
        State.WAITING,
        State.EVICTED,
        State.WAITING,
    ]
    assert newer.called.is_set()


def test_an_equal_newcomer_takes_nobodys_place(roomy):
    waiting = full(roomy, LOW, LOW, LOW)

    with pytest.raises(Overloaded):
        roomy.enter(LOW)
    assert states(waiting) == [State.WAITING] * 3


def test_nobody_is_evicted_by_a_class_that_he_has_grown_into(roomy, clock):
    gate, waiting = roomy, full(roomy, NORMAL, NORMAL, NORMAL)
    gate.enter(HIGH)
    clock.advance(1.0)

    with pytest.raises(Overloaded):
        gate.enter(HIGH)
    assert states(waiting) == [State.WAITING] * 3


def test_the_lower_classes_leave_a_tenth_of_the_slots_free(clock):
    gate = AdmissionQueue(Limits(slots=10, queue=5, wait=2.0, streams=1), clock)

    crowd = [gate.enter(NORMAL) for _ in range(11)]
    high = gate.enter(HIGH)

    assert Counter(states(crowd)) == {State.SERVED: 9, State.WAITING: 2}
    assert high.state is State.SERVED


def test_even_a_single_slot_serves_all_classes(clock):
    gate = AdmissionQueue(Limits(slots=1, queue=0, wait=2.0, streams=1), clock)

    assert gate.enter(LOW).state is State.SERVED


class TestStreams:
    def test_beyond_their_cap_they_are_refused_while_chats_are_served(self, gate):
        gate.make_stream(gate.enter(HIGH))
        one_too_many = gate.enter(HIGH)

        with pytest.raises(Overloaded):
            gate.make_stream(one_too_many)
        gate.leave(one_too_many)
        assert gate.enter(LOW).state is State.SERVED

    def test_one_that_ends_makes_room_for_the_next(self, gate):
        first = gate.enter(HIGH)
        gate.make_stream(first)
        gate.leave(first)

        gate.make_stream(gate.enter(HIGH))

        assert gate.load().streams == 1

    def test_one_that_was_refused_counts_as_none(self, gate):
        gate.make_stream(gate.enter(HIGH))
        refused = gate.enter(HIGH)
        with pytest.raises(Overloaded):
            gate.make_stream(refused)

        gate.leave(refused)

        assert gate.load() == Load(busy=1, waiting=0, streams=1)


def test_who_leaves_the_queue_frees_his_place(gate):
    waiting = full(gate, HIGH, HIGH, HIGH)

    gate.leave(waiting[1])

    assert gate.load() == Load(busy=2, waiting=2, streams=0)
    assert gate.enter(HIGH).state is State.WAITING


def test_a_ticket_may_be_given_back_twice(gate):
    ticket = gate.enter(HIGH)

    gate.leave(ticket)
    gate.leave(ticket)

    assert gate.load() == Load(busy=0, waiting=0, streams=0)


class AnyOrderOfEvents(RuleBasedStateMachine):
    """Whatever comes in whatever order, the books are right and no slot is idle."""

    @initialize(
        slots=st.integers(1, 12), queue=st.integers(0, 6), streams=st.integers(1, 4)
    )
    def open_the_gate(self, slots, queue, streams):
        self.clock = FakeClock()
        self.gate = AdmissionQueue(
            Limits(slots, queue, wait=2.0, streams=streams), self.clock
        )
        self.mine = []

    @rule(priority=st.sampled_from(Priority))
    def arrive(self, priority):
        waiting = self.having(State.WAITING)
        try:
            self.mine.append(self.gate.enter(priority))
        except Overloaded:
            assert self.is_full_for(priority, waiting)
            assert all(self.rank(t)[0] <= priority for t in waiting)
        evicted = [t for t in waiting if t.state is State.EVICTED]
        assert evicted in ([], [max(waiting, key=self.rank, default=None)])

    def is_full_for(self, priority, waiting):
        places = self.gate.limits.queue
        lower = [t for t in waiting if t.priority is not HIGH]
        is_lower_full = len(lower) >= max(1, int(places * 0.9))
        return len(waiting) == places or (priority is not HIGH and is_lower_full)

    @precondition(lambda self: self.chats())
    @rule(data=st.data())
    def turn_out_a_stream(self, data):
        ticket = data.draw(st.sampled_from(self.chats()))
        places, taken = self.gate.limits.streams, self.gate.load().streams
        try:
            self.gate.make_stream(ticket)
        except Overloaded:
            is_high = ticket.priority is HIGH
            assert taken >= (places if is_high else max(1, int(places * 0.9)))

    @precondition(lambda self: self.mine)
    @rule(data=st.data())
    def leave(self, data):
        ticket = data.draw(st.sampled_from(self.mine))
        self.mine.remove(ticket)
        waiting = self.having(State.WAITING)
        self.gate.leave(ticket)
        for called in (t for t in waiting if t.state is State.SERVED):
            passed = [t for t in self.having(State.WAITING) if self.could_be(t, called)]
            assert all(self.rank(called) <= self.rank(t) for t in passed)

    @rule(seconds=st.floats(0.001, 1))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @invariant()
    def the_books_are_right(self):
        served, waiting = self.having(State.SERVED), self.having(State.WAITING)
        streams = sum(t.is_stream for t in served)
        limits = self.gate.limits
        assert self.gate.load() == Load(len(served), len(waiting), streams)
        assert len(served) <= limits.slots
        assert len(waiting) <= limits.queue
        assert streams <= limits.streams
        assert self.lower(served) <= max(1, int(limits.slots * 0.9))

    @invariant()
    def nobody_waits_for_a_slot_that_is_free(self):
        served, waiting = self.having(State.SERVED), self.having(State.WAITING)
        limits = self.gate.limits
        if len(served) < limits.slots:
            assert self.lower(waiting) == len(waiting)
            assert not waiting or self.lower(served) >= max(1, int(limits.slots * 0.9))

    def chats(self):
        return [t for t in self.having(State.SERVED) if not t.is_stream]

    def having(self, state):
        return [t for t in self.mine if t.state is state]

    def lower(self, tickets):
        return sum(t.priority is not HIGH for t in tickets)

    def rank(self, ticket):
        grown = int((self.clock() - ticket.arrived) / 1.0)
        return max(0, ticket.priority - grown), ticket.arrived, self.mine.index(ticket)

    def could_be(self, ticket, called):
        """Whether he could have been served in the place of who was called."""
        return ticket.priority is HIGH or called.priority is not HIGH


AnyOrderOfEvents.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestAnyOrderOfEvents = AnyOrderOfEvents.TestCase
