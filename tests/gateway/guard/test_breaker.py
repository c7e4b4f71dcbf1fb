import logging
import random

import pytest

from app.gateway.errors import NeverSent
from app.gateway.guard.breaker import HAND_IN, CircuitBreaker
from app.gateway.guard.circuit import UNSURE, Phase, Rules
from app.gateway.shared import InProcessState
from tests.support.fakes import LateReader

ALICE, BOB, CAROL = "alice", "bob", "carol"
CLOSED, OPEN, HALF_OPEN = Phase.CLOSED, Phase.OPEN, Phase.HALF_OPEN


@pytest.fixture
def shared(clock):
    return InProcessState(clock)


@pytest.fixture
def transitions():
    return []


@pytest.fixture
def a_breaker(shared, transitions):
    """Makes breakers of several processes, so to speak."""

    def make(draw=1.0, **rules):
        return CircuitBreaker(
            "switch",
            shared,
            Rules(**rules),
            draw=lambda: draw,
            listener=transitions.append,
        )

    return make


@pytest.fixture
def breaker(a_breaker):
    return a_breaker()


def fail(breaker, times=1, caller=ALICE):
    for _ in range(times):
        breaker.failed(breaker.admit(caller, 30))


def succeed(breaker, times=1, took=0.1, caller=ALICE):
    for _ in range(times):
        breaker.succeeded(breaker.admit(caller, 30), took)


def refusal(breaker, caller=ALICE):
    with pytest.raises(NeverSent) as caught:
        breaker.admit(caller, 30)
    return caught.value.fault, round(caught.value.retry_after, 3)


class TestOpening:
    def test_five_failures_in_a_row_open_it(self, breaker):
        fail(breaker, 4)
        assert breaker.phase is CLOSED

        fail(breaker)

        assert refusal(breaker) == ("circuit_open", 1.0)

    def test_a_success_in_between_begins_the_row_anew(self, breaker):
        for _ in range(2):
            fail(breaker, 4)
            succeed(breaker)

        assert breaker.phase is CLOSED

    def test_half_of_at_least_ten_open_it(self, breaker):
        for _ in range(4):
            fail(breaker)
            succeed(breaker)
        fail(breaker)
        assert breaker.phase is CLOSED  # 5 of 9

        succeed(breaker)
        fail(breaker)

        assert breaker.phase is OPEN  # 6 of 11

    def test_what_is_older_than_the_window_is_forgotten(self, breaker, clock):
        for _ in range(4):
            fail(breaker)
            succeed(breaker)
        clock.advance(31)

        for _ in range(4):
            succeed(breaker)
            fail(breaker)

        assert breaker.phase is CLOSED

    def test_slow_calls_count(self, a_breaker):
        breaker = a_breaker(slow_call=20.0)
        succeed(breaker, 4, took=20.1)
        assert breaker.phase is CLOSED

        succeed(breaker, took=20.1)

        assert breaker.phase is OPEN

    def test_unless_that_is_off(self, breaker):
        succeed(breaker, 20, took=3600)

        assert breaker.phase is CLOSED

    def test_every_number_can_be_chosen(self, a_breaker, clock):
        breaker = a_breaker(failures=2, open_base=7.0, open_max=8.0)

        fail(breaker, 2)
        assert refusal(breaker) == ("circuit_open", 7.0)
        clock.advance(7)
        fail(breaker)

        assert refusal(breaker) == ("circuit_open", 8.0)


class TestOpenTime:
    def test_it_doubles_up_to_twenty_seconds(self, breaker, clock):
        fail(breaker, 5)
        waits = []
        for _ in range(8):
            waits.append(refusal(breaker)[1])
            clock.advance(waits[-1])
            fail(breaker)

        assert waits == [1, 2, 4, 8, 16, 20, 20, 20]

    def test_it_has_full_jitter(self, a_breaker):
        breaker = a_breaker(draw=0.25)

        fail(breaker, 5)

        assert refusal(breaker) == ("circuit_open", 0.25)

    def test_a_recovery_that_does_not_last_does_not_begin_it_anew(self, breaker, clock):
        fail(breaker, 5)
        clock.advance(1)
        succeed(breaker)
        clock.advance(29)

        fail(breaker, 5)

        assert refusal(breaker) == ("circuit_open", 2.0)

    def test_one_that_lasts_does(self, breaker, clock):
        fail(breaker, 5)
        clock.advance(1)
        succeed(breaker)
        clock.advance(30)

        fail(breaker, 5)

        assert refusal(breaker) == ("circuit_open", 1.0)

    def test_a_flapping_upstream_moves_it_less_than_once_in_five_seconds(
        self, shared, clock, transitions
    ):
        """Over ten minutes: fine and dead in turns, each second."""
        chance = random.Random(7)
        breaker = CircuitBreaker(
            "switch",
            shared,
            Rules(open_max=60.0),
            draw=chance.random,
            listener=transitions.append,
        )
        for tick in range(600 * 10):
            try:
                permit = breaker.admit(ALICE, 1)
            except NeverSent:
                pass
            else:
                is_fine = tick // 10 % 2
                breaker.succeeded(permit, 0.1) if is_fine else breaker.failed(permit)
            clock.advance(0.1)

        assert 10 < len(transitions) <= 600 / 5


class TestProbing:
    @pytest.fixture(autouse=True)
    def opened(self, breaker, clock):
        fail(breaker, 5)
        clock.advance(1)

    def test_one_caller_is_let_through(self, breaker):
        breaker.admit(ALICE, 30)

        assert breaker.phase is HALF_OPEN
        assert refusal(breaker) == ("circuit_open", 1.0)

    def test_of_two_who_find_the_time_over_at_once_one_is_let_through(
        self, breaker, shared
    ):
        view = LateReader(shared)
        view.look("circuit:switch")
        other = CircuitBreaker("switch", view)

        breaker.admit(ALICE, 30)

        assert refusal(other)[0] == "circuit_open"

    def test_its_success_closes_the_circuit(self, breaker):
        succeed(breaker)

        assert breaker.phase is CLOSED
        fail(breaker, 4)
        assert breaker.phase is CLOSED

    def test_its_failure_opens_it_for_longer(self, breaker):
        fail(breaker)

        assert refusal(breaker) == ("circuit_open", 2.0)

    def test_if_it_teaches_nothing_the_next_caller_probes(self, breaker):
        breaker.dropped(breaker.admit(ALICE, 30))

        succeed(breaker)

        assert breaker.phase is CLOSED

    def test_a_probe_that_is_never_heard_of_wedges_nothing(self, breaker, clock):
        breaker.admit(ALICE, 31)
        clock.advance(30.9)
        assert refusal(breaker)[0] == "circuit_open"
        clock.advance(0.1)

        succeed(breaker)

        assert breaker.phase is CLOSED

    @pytest.mark.parametrize("end", ["succeeded", "failed", "dropped"])
    def test_one_that_comes_after_its_lease_counts_for_nothing(
        self, breaker, clock, end
    ):
        late = breaker.admit(ALICE, 31)
        clock.advance(31)
        breaker.admit(ALICE, 31)

        if end == "succeeded":
            breaker.succeeded(late, 31)
        else:
            getattr(breaker, end)(late)

        assert breaker.phase is HALF_OPEN
        assert refusal(breaker)[0] == "circuit_open"

    def test_a_sign_of_life_from_elsewhere_brings_the_probe_forward(
        self, breaker, clock
    ):
        fail(breaker)
        assert refusal(breaker) == ("circuit_open", 2.0)

        breaker.revive()

        succeed(breaker)
        assert breaker.phase is CLOSED

    def test_but_starts_no_second_one(self, breaker):
        breaker.admit(ALICE, 30)

        breaker.revive()

        assert refusal(breaker)[0] == "circuit_open"


class TestOneCallerWhoFailsAlways:
    @pytest.fixture(autouse=True)
    def opened(self, breaker, clock):
        for caller in (ALICE, BOB) * 3:
            fail(breaker, caller=caller)
        clock.advance(1)

    def test_is_the_probe_once_and_then_keeps_nobody_away_but_itself(
        self, breaker, clock
    ):
        fail(breaker, caller=CAROL)
        assert refusal(breaker, ALICE) == ("circuit_open", 2.0)
        clock.advance(2)

        fail(breaker, caller=CAROL)

        assert refusal(breaker, CAROL)[0] == "circuit_open"
        succeed(breaker, caller=ALICE)
        assert breaker.refusal(BOB) is None

    def test_is_kept_away_for_longer_each_time(self, breaker, clock):
        waits = []
        for _ in range(6):
            fail(breaker, caller=CAROL)
            assert refusal(breaker, CAROL)[0] == "circuit_open"
            waits.append(breaker._state().suspect.until - clock())
            clock.advance(20)

        assert waits[1:] == [4, 8, 16, 20, 20]

    def test_a_sign_of_life_lets_it_probe_too(self, breaker, clock):
        fail(breaker, caller=CAROL)
        clock.advance(2)
        fail(breaker, caller=CAROL)
        assert refusal(breaker, CAROL)[0] == "circuit_open"

        breaker.revive()

        succeed(breaker, caller=CAROL)
        assert breaker.phase is CLOSED


class TestCallsFromBeforeATrip:
    @pytest.mark.parametrize("is_success", [True, False])
    def test_count_for_nothing(self, breaker, is_success):
        late = [breaker.admit(ALICE, 30) for _ in range(3)]
        fail(breaker, 5)

        for permit in late:
            if is_success:
                breaker.succeeded(permit, 1.0)
            else:
                breaker.failed(permit)

        assert refusal(breaker) == ("circuit_open", 1.0)

    def test_not_after_the_recovery_either(self, breaker, clock):
        late = [breaker.admit(ALICE, 30) for _ in range(5)]
        fail(breaker, 5)
        clock.advance(1)
        succeed(breaker)

        for permit in late:
            breaker.failed(permit)

        assert breaker.phase is CLOSED


class TestSharing:
    def test_failures_met_by_different_processes_add_up(self, a_breaker):
        breakers = [a_breaker() for _ in range(4)]

        for n in range(5):
            fail(breakers[n % 4])

        assert [refusal(b)[0] for b in breakers] == ["circuit_open"] * 4

    def test_one_of_them_probes(self, a_breaker, clock):
        here, there = a_breaker(), a_breaker()
        fail(here, 5)
        clock.advance(1)
        there.admit(ALICE, 30)

        assert refusal(here)[0] == "circuit_open"

    def test_a_success_anywhere_ends_the_row(self, a_breaker):
        here, there = a_breaker(), a_breaker()
        fail(here, 4)
        succeed(there)

        fail(here, 4)

        assert here.phase is CLOSED

    def test_successes_are_handed_in_together(self, a_breaker, shared, clock):
        here, there = a_breaker(), a_breaker()
        succeed(here)
        handed_in = shared.read("circuit:switch")
        succeed(here, 99)
        assert shared.read("circuit:switch") == handed_in

        clock.advance(HAND_IN)
        succeed(here)
        for _ in range(50):
            fail(there)
            succeed(here)

        assert there.phase is CLOSED  # 50 of 151

    def test_a_transition_is_told_once(self, a_breaker, transitions, clock, caplog):
        caplog.set_level(logging.WARNING)
        here, there = a_breaker(), a_breaker()

        fail(here, 5)
        clock.advance(1)
        succeed(there)

        moves = [(t.upstream, t.before, t.after) for t in transitions]
        assert moves == [
            ("switch", CLOSED, OPEN),
            ("switch", OPEN, HALF_OPEN),
            ("switch", HALF_OPEN, CLOSED),
        ]
        assert "The circuit of switch is now open for 1.0 s" in caplog.text
        assert "for caller alice alone" in caplog.text


def test_a_rest_is_kept_by_all_and_teaches_nothing(a_breaker, clock):
    here, there = a_breaker(), a_breaker()
    here.rest(40)
    here.rest(10)

    assert refusal(there) == ("resting", 40.0)
    clock.advance(40)

    assert there.admit(ALICE, 30)
    assert there.phase is CLOSED


class TestSeveralCallers:
    """What one caller asks may be the reason why it fails."""

    def test_failures_of_one_open_its_circuit_and_no_other(self, breaker):
        fail(breaker, 5)

        assert refusal(breaker) == ("circuit_open", 1.0)
        assert breaker.refusal(BOB) is None
        assert breaker.refusal().is_for_one
        succeed(breaker, caller=BOB)

    def test_failures_of_several_open_it_for_everybody(self, breaker):
        for caller in (ALICE, BOB, CAROL, ALICE, BOB, CAROL):
            fail(breaker, caller=caller)

        assert [breaker.refusal(c).reason for c in (ALICE, "dave")] == (
            ["circuit_open"] * 2
        )
        assert not breaker.refusal().is_for_one

    def test_one_who_fails_without_end_is_counted_once_for_everybody(self, breaker):
        for _ in range(10):
            for _ in range(4):
                fail(breaker)
            fail(breaker, caller=BOB)  # once in a while it happens to others, too
            succeed(breaker, 3, caller=BOB)

        assert breaker.refusal(BOB) is None

    def test_a_probe_of_one_closes_its_circuit(self, breaker, clock):
        fail(breaker, 5)
        clock.advance(1)

        succeed(breaker)

        assert breaker.phase is CLOSED
        assert breaker.refusal(ALICE) is None

    def test_a_probe_for_everybody_may_be_made_by_anybody(self, breaker, clock):
        for caller in (ALICE, BOB, CAROL, ALICE, BOB, CAROL):
            fail(breaker, caller=caller)
        clock.advance(1)

        fail(breaker, caller="dave")

        assert refusal(breaker, "erin") == ("circuit_open", 2.0)

    @pytest.mark.parametrize("failures", [1, 5])
    def test_one_alone_never_opens_it_for_everybody(self, a_breaker, failures, clock):
        breaker = a_breaker(failures=failures)
        for _ in range(50):
            try:
                fail(breaker)
            except NeverSent as wait:
                clock.advance(wait.retry_after)

        assert breaker.refusal(BOB) is None


class TestTimeLimits:
    """A limit that was met may be due to a long prompt as well as to the server."""

    def test_it_takes_four_times_as_many(self, breaker):
        for _ in range(19):
            breaker.failed(breaker.admit(ALICE, 30), UNSURE)
        assert breaker.phase is CLOSED

        breaker.failed(breaker.admit(ALICE, 30), UNSURE)

        assert breaker.phase is OPEN

    def test_a_success_ends_their_row(self, breaker):
        for _ in range(10):
            for _ in range(19):
                breaker.failed(breaker.admit(ALICE, 30), UNSURE)
            succeed(breaker)

        assert breaker.phase is CLOSED


class TestExtraCalls:
    """An open circuit chooses among upstreams; it refuses nobody."""

    @pytest.fixture(autouse=True)
    def opened(self, breaker):
        fail(breaker, 5)

    def test_may_be_made_at_any_time(self, breaker):
        assert breaker.admit_extra(ALICE).is_extra
        assert breaker.phase is OPEN

    def test_a_success_closes_the_circuit(self, breaker):
        breaker.succeeded(breaker.admit_extra(ALICE), 0.1)

        assert breaker.phase is CLOSED
        fail(breaker, 4)
        assert breaker.phase is CLOSED

    def test_a_failure_changes_nothing(self, breaker, clock):
        breaker.failed(breaker.admit_extra(ALICE))

        assert refusal(breaker) == ("circuit_open", 1.0)

    def test_a_late_success_is_a_sign_of_life_all_the_same(self, breaker, clock):
        extra = breaker.admit_extra(ALICE)
        clock.advance(1)
        fail(breaker)  # the probe
        breaker.succeeded(extra, 0.1)

        assert breaker.phase is CLOSED

    def test_a_rest_that_the_upstream_asked_for_is_kept(self, breaker):
        breaker.rest(40)

        with pytest.raises(NeverSent, match="resting"):
            breaker.admit_extra(ALICE)

    def test_one_that_could_be_the_probe_is_an_extra_call_all_the_same(
        self, breaker, clock
    ):
        """Or all who wait would go at once when the circuit's open time is over."""
        clock.advance(1)

        assert breaker.admit_extra(ALICE).is_extra
        assert not breaker.is_closed_to(ALICE)

    def test_where_no_circuit_is_open_it_is_a_call_like_any_other(self, breaker):
        assert not breaker.admit_extra(BOB).is_extra
