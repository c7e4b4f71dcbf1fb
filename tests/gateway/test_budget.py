import pytest

from app.gateway.budget import SLICE, Budget
from app.gateway.errors import CallerGone, NoAnswer, StreamLimit


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


class TestStreams:
    def test_a_stream_that_has_begun_outlasts_the_deadline(self, clock):
        budget = Budget(10, clock=clock).streaming(600)

        attempt = budget.within(4)
        flow = attempt.flowing(300)
        clock.advance(200)

        assert attempt.remaining() == 0
        assert flow.remaining() == 100
        assert budget.stream_remaining() == 400

    def test_it_counts_from_when_the_caller_began_to_wait(self, clock):
        budget = Budget(10, waited=5, clock=clock).streaming(600)

        assert budget.stream_remaining() == 595
        assert budget.flowing(1000).remaining() == 595

    def test_its_end_is_our_own_limit_and_no_lateness(self, clock):
        flow = Budget(10, clock=clock).streaming(600).flowing(300)
        word = flow.within(5)
        clock.advance(5)
        with pytest.raises(NoAnswer):
            word.check()

        clock.advance(295)

        with pytest.raises(StreamLimit):
            flow.within(5).check()

    def test_it_keeps_the_checks_of_its_attempt(self, clock):
        def leave():
            raise CallerGone

        flow = Budget(10, clock=clock).streaming(600).within(5, leave).flowing(300)

        with pytest.raises(CallerGone):
            flow.check()

    def test_without_time_of_its_own_it_ends_by_the_deadline(self, clock):
        budget = Budget(10, clock=clock)
        clock.advance(9)

        assert budget.within(5).flowing(300).remaining() == 1
        assert budget.renewed().remaining() == budget.stream_remaining() == 1

    def test_who_goes_on_has_the_whole_time_again(self, clock):
        budget = Budget(36, clock=clock).streaming(600)
        clock.advance(100)
        assert budget.renewed().remaining() == 36

        clock.advance(490)

        assert budget.renewed().remaining() == 10
        assert budget.renewed().renewed().stream_remaining() == 10

    def test_a_stream_never_has_less_time_than_its_beginning(self, clock):
        assert Budget(36, clock=clock).streaming(5).stream_remaining() == 36
