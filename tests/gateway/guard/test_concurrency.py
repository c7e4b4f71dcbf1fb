from contextlib import suppress

import pytest

from app.gateway.budget import Budget
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


class TestSeveralCallers:
    """The slow calls of one caller leave a slot to the others."""

    def a_cap(self, shared, limit, pause=None):
        pause = pause or (lambda *_: None)
        return ConcurrencyLimit("madre", shared, limit, pause, has_several_callers=True)

    def taken(self, cap, caller):
        count = 0
        with suppress(NeverSent):
            for count in range(100):  # noqa: B007  # the last one is looked at
                cap.acquire(30, caller)
        return count

    @pytest.mark.parametrize(("limit", "of_one"), [(2, 1), (8, 5), (100, 66), (1, 1)])
    def test_one_holds_a_part_of_them_on_the_whole_host(self, shared, limit, of_one):
        here, there = self.a_cap(shared, limit), self.a_cap(shared, limit)

        assert self.taken(here, "greedy") + self.taken(there, "greedy") == of_one
        assert self.taken(there, "modest") == min(of_one, limit - of_one)

    def test_what_was_given_back_or_is_over_counts_no_more(self, shared, clock):
        cap = self.a_cap(shared, 2)
        for _ in range(3):
            cap.release(cap.acquire(30, "greedy"))
        renewed = cap.renew(cap.acquire(30, "greedy"), 60)
        clock.advance(31)
        assert self.taken(cap, "greedy") == 0
        cap.release(renewed)
        assert self.taken(cap, "greedy") == 1
        clock.advance(31)

        assert self.taken(cap, "greedy") == 1

    def test_who_waits_for_his_own_share_is_passed_by(self, shared, clock):
        """Two slow calls of one token must not keep all others from a dead upstream."""
        got = []

        def pause(event, seconds):
            clock.advance(seconds)
            if not got:
                got.append(cap.wait_for(6, Budget(1, clock=clock), "modest"))

        cap = self.a_cap(shared, 2, pause)
        cap.acquire(30, "greedy")

        with pytest.raises(NeverSent):
            cap.wait_for(6, Budget(1, clock=clock), "greedy")

        assert got[0].caller == "modest"

    def test_one_does_not_fill_the_line(self, shared, clock):
        refused = []

        def pause(event, seconds):
            waiting, caller = len(cap._line._waiters), "modest" if refused else "greedy"
            try:
                cap.wait_for(6, Budget(1, clock=clock), caller, longest_line=8)
            except NeverSent:
                refused.append((caller, waiting))
            clock.advance(seconds)

        cap = self.a_cap(shared, 2, pause)
        cap.acquire(30, "greedy")
        cap.acquire(30, "other")

        with pytest.raises(NeverSent):
            cap.wait_for(6, Budget(1, clock=clock), "greedy", longest_line=8)

        assert refused[:2] == [("greedy", 5), ("modest", 8)]
