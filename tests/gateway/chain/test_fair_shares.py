"""Fair shares: what one caller may hold of slots, queue and streams beside others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.chain.admission_queue import AdmissionQueue, Limits, State
from app.gateway.chain.places import Places
from app.gateway.chat import Priority
from app.gateway.errors import Overloaded

HIGH, NORMAL, LOW = Priority


def a_gate(clock, *, slots=40, queue=16, streams=30, is_shared=True):
    limits = Limits(slots, queue, wait=3.0, streams=streams, is_shared=is_shared)
    return AdmissionQueue(limits, clock)


def ask(gate, caller, times=1, priority=NORMAL):
    """The tickets that he gets, and how often he was refused."""
    tickets, refused = [], 0
    for _ in range(times):
        try:
            tickets.append(gate.enter(priority, caller))
        except Overloaded:
            refused += 1
    return tickets, refused


def served(tickets):
    return sum(ticket.state is State.SERVED for ticket in tickets)


@pytest.mark.parametrize("priority", Priority)
def test_a_token_at_ten_times_its_share_leaves_slots_for_its_neighbour(clock, priority):
    gate = a_gate(clock)
    ask(gate, "greedy", times=400, priority=priority)

    tickets, refused = ask(gate, "modest", times=4, priority=priority)

    assert (served(tickets), refused) == (4, 0)


def test_of_two_who_want_all_each_gets_the_same(clock):
    gate = a_gate(clock)
    tickets = {"greedy": ask(gate, "greedy", 100)[0], "modest": []}
    for n in range(200):  # chats end, whoever's, and both want more
        for caller in tickets:
            tickets[caller] += ask(gate, caller, 3)[0]
        his = tickets["greedy" if n % 3 else "modest"]
        done = next(t for t in his if t.state is State.SERVED)
        his.remove(done)
        gate.leave(done)
    greedy, modest = tickets.values()

    assert abs(served(greedy) - served(modest)) <= 1
    assert served(greedy) + served(modest) >= 27


def test_who_is_alone_in_the_house_gets_all(clock):
    gate = a_gate(clock, is_shared=False)

    assert served(ask(gate, "operator", times=100, priority=HIGH)[0]) == 40


def test_even_a_single_slot_serves_a_caller(clock):
    gate = a_gate(clock, slots=1, queue=0, streams=1)

    ((ticket,), refused) = ask(gate, "operator")

    assert (ticket.state, refused) == (State.SERVED, 0)
    gate.make_stream(ticket)


def test_the_queue_is_shared_out_too(clock):
    gate = a_gate(clock)
    for n in range(40):
        gate.enter(HIGH, f"other-{n}")
    _, refused = ask(gate, "greedy", times=400)

    waiting, not_taken = ask(gate, "modest", times=2)

    assert refused > 380
    assert ([t.state for t in waiting], not_taken) == ([State.WAITING] * 2, 0)


def test_who_holds_fewest_slots_goes_first(clock):
    gate = a_gate(clock, slots=4, queue=16)
    first, *_ = (gate.enter(HIGH, "greedy") for _ in range(2))
    others = [gate.enter(HIGH, f"other-{n}") for n in range(2)]
    greedy = gate.enter(HIGH, "greedy")
    clock.advance(0.1)
    modest = gate.enter(HIGH, "modest")

    gate.leave(others[0])

    assert (greedy.state, modest.state) == (State.WAITING, State.SERVED)
    gate.leave(first)
    gate.leave(others[1])
    assert greedy.state is State.SERVED


def test_a_better_class_does_not_push_out_all_others_for_one_caller(clock):
    """Else he would fill the queue by evictions, and the next of his class fail."""
    gate = a_gate(clock)
    for n in range(40):
        gate.enter(HIGH, f"other-{n}")
    for n in range(14):
        gate.enter(LOW, f"low-{n}")

    ask(gate, "greedy", times=400, priority=HIGH)

    assert gate.enter(HIGH, "modest").state is State.WAITING


def test_streams_are_shared_out(clock):
    gate = a_gate(clock, slots=200, queue=0, streams=30)
    held = 0
    for ticket in ask(gate, "greedy", times=100)[0]:
        try:
            gate.make_stream(ticket)
        except Overloaded:
            break
        held += 1

    assert held < 27
    for ticket in ask(gate, "modest", times=3)[0]:
        gate.make_stream(ticket)


@given(
    st.integers(1, 60),
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(Priority))),
)
def test_whatever_others_hold_a_newcomer_finds_no_wall_where_there_is_room(most, asked):
    places = Places()
    for caller, priority in asked:
        if places.have_room(most, priority, caller):
            places.take(priority, caller)

    assert places.taken <= most
    if places.taken < most:
        assert places.have_room(most, HIGH, "newcomer")
    for caller, priority in asked:
        if places.held_by(caller):
            places.give_back(priority, caller)
