import pytest

from app.gateway.budget import SLICE, Budget
from app.gateway.errors import CallerGone, NoAnswer


def test_a_budget_runs_down_and_never_below_zero(clock):
    budget = Budget(10, clock=clock)

    clock.advance(4)
    assert budget.remaining() == 6
    clock.advance(7)
    assert budget.remaining() == 0


def test_a_used_up_budget_ends_a_wait(clock):
    budget = Budget(10, clock=clock)
    budget.check()

    clock.advance(10)

    with pytest.raises(NoAnswer, match="deadline"):
        budget.check()


def test_an_inner_budget_never_ends_later(clock):
    outer = Budget(10, clock=clock)

    assert outer.within(4).remaining() == 4
    assert outer.within(40).remaining() == 10


def test_an_inner_budget_keeps_the_cancellation_and_adds_its_own(clock):
    calls = []

    def leave():
        raise CallerGone

    outer = Budget(10, lambda: calls.append("outer"), clock=clock)
    inner = outer.within(5, leave)

    with pytest.raises(CallerGone):
        inner.check()
    assert calls == ["outer"]
    outer.check()


def test_a_wait_is_never_longer_than_a_slice(clock):
    budget = Budget(10, clock=clock)

    assert budget.slice() == SLICE
    clock.advance(9.9)
    assert budget.slice() == pytest.approx(0.1)
