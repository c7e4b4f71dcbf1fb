import pytest

from app.gateway.errors import NeverSent
from app.gateway.guard.concurrency import MOST, ConcurrencyLimit
from app.gateway.shared import InProcessState


@pytest.fixture
def shared(clock):
    return InProcessState(clock)


def a_cap(shared, limit=2):
    """That of one process."""
    return ConcurrencyLimit("madre", shared, limit)


def is_full(cap):
    try:
        cap.release(cap.acquire(6))
    except NeverSent as refused:
        return (refused.fault, refused.retry_after) == ("no_slot", 1.0)
    return False


def test_the_limit_is_that_of_all_processes_together(shared):
    here, there = a_cap(shared), a_cap(shared)
    slot = here.acquire(6)
    there.acquire(6)
    assert is_full(here)
    assert is_full(there)

    here.release(slot)

    assert not is_full(there)


def test_a_slot_given_back_twice_is_nobody_elses(shared, clock):
    cap = a_cap(shared)
    slot = cap.acquire(6)
    cap.release(slot)
    clock.advance(0.2)
    cap.acquire(6)
    cap.acquire(6)

    cap.release(slot)

    assert is_full(cap)


def test_what_a_killed_worker_held_comes_back_by_itself(shared, clock):
    killed, other = a_cap(shared), a_cap(shared)
    killed.acquire(6)
    killed.acquire(6)
    clock.advance(5.9)
    assert is_full(other)

    clock.advance(0.2)

    assert not is_full(other)


def test_a_short_call_does_not_end_the_lease_of_a_long_one(shared, clock):
    cap = a_cap(shared)
    cap.acquire(30)
    cap.acquire(1)
    clock.advance(2)
    cap.acquire(1)

    assert is_full(cap)


def test_no_limit_costs_nothing(shared):
    cap = a_cap(shared, None)

    cap.release(cap.acquire(6))

    assert shared.read("calls:madre") is None


def test_as_many_as_a_setting_allows_can_be_counted(shared):
    cap = a_cap(shared, MOST)
    slots = [cap.acquire(6) for _ in range(MOST)]
    assert is_full(cap)

    for slot in slots:
        cap.release(slot)

    assert shared.read("calls:madre") is None


def test_how_many_are_running_is_told_for_the_whole_host(shared, clock):
    here, there = a_cap(shared), a_cap(shared)
    slot = here.acquire(6)
    there.acquire(3)
    assert (here.running, there.running, here.limit) == (2, 2, 2)

    clock.advance(3.1)  # what a killed worker held is over by itself
    assert there.running == 1
    here.release(slot)

    assert there.running == 0
    assert a_cap(shared, None).running == 0
