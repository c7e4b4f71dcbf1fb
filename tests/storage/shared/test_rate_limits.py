"""The port RateLimits on the shared state, in process and for all of a host."""

import logging
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from app.gateway.shared import InProcessState
from app.storage.shared.rate_limits import SlidingRateLimits
from app.storage.shared.shared_memory import SharedMemory


@pytest.fixture(params=["in process", "shared memory"])
def state(request, clock, tmp_path):
    if request.param == "in process":
        yield InProcessState(clock)
        return
    memory = SharedMemory(tmp_path / "memory", clock)
    yield memory
    memory.close()


@pytest.fixture
def limits(state, clock):
    clock.now = 60_000.5  # a window has just begun
    return SlidingRateLimits(state, clock=clock)


def taken(limits, times, quota=5, key="token:ci"):
    return sum(limits.take(key, quota).is_within for _ in range(times))


def test_a_quota_is_let_through_and_no_more(limits):
    assert taken(limits, 20) == 5


def test_keys_are_counted_apart(limits):
    taken(limits, 20)

    assert taken(limits, 20, key="token:other") == 5


def test_a_quota_that_is_changed_does_not_begin_anew(limits):
    taken(limits, 20, quota=20)

    assert taken(limits, 30, quota=40) == 20
    assert taken(limits, 30, quota=10) == 0


def test_what_is_left_goes_down_to_none(limits):
    left = [limits.take("token:ci", 3).remaining for _ in range(5)]

    assert left == [2, 1, 0, 0, 0]


def test_looking_counts_nothing(limits):
    assert [limits.look("token:ci", 1).is_within for _ in range(3)] == [True] * 3

    limits.take("token:ci", 1)
    assert not limits.look("token:ci", 1).is_within


def test_after_the_reset_there_is_room_again_and_not_before(limits, clock):
    taken(limits, 5)
    reset = limits.take("token:ci", 5).reset
    assert 0 < reset <= 60

    clock.advance(reset - 0.01)
    assert not limits.look("token:ci", 5).is_within

    clock.advance(0.02)
    assert limits.look("token:ci", 5).is_within


def test_the_seam_of_two_windows_lets_no_double_quota_through(limits, clock):
    clock.advance(59)
    taken(limits, 100, quota=60)

    clock.advance(2)

    assert taken(limits, 100, quota=60) <= 2


@pytest.mark.parametrize("start", range(0, 60, 7))
def test_over_a_long_time_it_is_the_rate(limits, clock, start):
    clock.advance(start)
    passed = 0
    for _ in range(600):
        passed += taken(limits, 2, quota=60)
        clock.advance(1)

    assert passed == pytest.approx(600, abs=62)


def test_what_is_long_ago_is_forgotten(limits, clock):
    taken(limits, 5)

    clock.advance(121)

    assert taken(limits, 20) == 5


def test_garbage_in_the_state_is_no_count(limits, state):
    key = "token:ci/rate/minute"
    state.update(key, lambda _: (b"garbage", None), 120)

    assert taken(limits, 20) == 5
    assert state.read(key) != b"garbage"  # it is counted there, not alone


def test_a_count_from_before_a_restart_of_the_machine_is_none(limits, clock):
    """The steady clock begins anew then."""
    taken(limits, 5)
    clock.now = 60.0

    assert taken(limits, 20) == 5


def test_threads_together_get_the_quota(limits):
    with ThreadPoolExecutor(16) as pool:
        passed = pool.map(lambda _: taken(limits, 50, quota=100), range(16))

    assert sum(passed) == 100


def test_processes_together_get_the_quota(clock, tmp_path):
    memories = [SharedMemory(tmp_path / "memory", clock) for _ in range(4)]
    workers = [SlidingRateLimits(memory, clock=clock) for memory in memories]

    assert sum(taken(worker, 10, quota=20) for worker in workers) == 20

    for memory in memories:
        memory.close()


class Broken(InProcessState):
    """A shared state that breaks when told to, slowly."""

    def __init__(self, clock):
        super().__init__(clock)
        self.error, self.calls = None, 0

    def update(self, *args, **options):
        self.calls += 1
        if self.error:
            raise self.error
        return super().update(*args, **options)


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("bad"), KeyError("k")])
def test_when_the_state_breaks_each_process_counts_alone(clock, error, caplog):
    state = Broken(clock)
    limits = SlidingRateLimits(state, clock=clock)
    state.error = error

    with caplog.at_level(logging.ERROR):
        began = monotonic()
        assert taken(limits, 20) == 5
        assert monotonic() - began < 20 * 0.05

    assert state.calls == 1  # not asked again at each request
    assert len(caplog.messages) == 1


def test_and_comes_back_to_it_by_itself(clock):
    state = Broken(clock)
    limits = SlidingRateLimits(state, clock=clock)
    state.error = OSError("gone")
    taken(limits, 20)

    state.error = None
    clock.advance(5)

    assert taken(limits, 20) == 5
    assert state.calls == 21
