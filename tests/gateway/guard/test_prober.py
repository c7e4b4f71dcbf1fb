import threading
import time

import pytest

from app.gateway.errors import ConnectFailed
from app.gateway.guard.health import HealthBoard
from app.gateway.guard.prober import (
    INQUIRY_INTERVAL,
    LEASE_MARGIN,
    PROBE_LIMIT,
    RECHECK,
    REFRESH,
    Prober,
)
from app.gateway.shared import InProcessState
from tests.support.fakes import LateReader, a_board
from tests.support.stack import wait_until


def exactly(low, high):
    """No jitter: the middle of the range."""
    return (low + high) / 2


@pytest.fixture
def shared(clock):
    return InProcessState(clock)


@pytest.fixture
def board(shared):
    return HealthBoard(shared)


@pytest.fixture
def a_prober(board, shared, clock):
    """Makes probers of several processes, so to speak."""
    made = []

    def make(probe=lambda budget: None):
        probes = {"switch": probe}
        made.append(Prober(board, probes, shared, clock=clock, jitter=exactly))
        return made[-1]

    yield make
    for prober in made:
        prober.stop()


def test_a_probe_that_returns_is_a_sign_of_life(a_prober, board):
    assert a_prober().probe("switch")

    assert board.verdict("switch").is_healthy


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectFailed("connect_refused"), "connect_refused"),
        (ValueError(), "probe_broke"),
    ],
)
def test_a_probe_that_raises_is_a_verdict_and_never_more(
    a_prober, board, error, reason
):
    def probe(budget):
        raise error

    assert not a_prober(probe).probe("switch")

    assert board.verdict("switch").reason == reason


def test_a_probe_has_two_seconds(a_prober):
    limits = []

    a_prober(lambda budget: limits.append(budget.remaining())).probe("switch")

    assert limits == [2.0]


def test_the_time_of_a_probe_and_its_lease_are_a_setting(board, shared, clock):
    limits = []
    probes = {"madre": lambda budget: limits.append(budget.remaining())}
    prober, other = (
        Prober(board, probes, shared, limit=7.0, clock=clock) for _ in range(2)
    )

    prober.probe("madre")
    clock.advance(2 * REFRESH)
    assert prober.take_due() == ["madre"]
    clock.advance(7.0 + LEASE_MARGIN - 0.1)
    assert other.take_due() == []
    clock.advance(0.1)

    assert limits == [7.0]
    assert other.take_due() == ["madre"]
    prober.stop()
    other.stop()


def test_one_without_a_probe_is_never_asked_and_never_said_to_be_dead(a_prober, board):
    prober = a_prober()

    assert prober.take_due() == ["switch"]
    assert not prober.inquire("unprobed").done()
    assert board.verdict("unprobed") is None


def test_healthy_upstreams_are_asked_before_the_verdict_expires(a_prober, board, clock):
    prober = a_prober()
    assert prober.take_due() == ["switch"]
    prober.probe("switch")
    clock.advance(REFRESH - 0.1)
    assert prober.take_due() == []

    clock.advance(0.1)

    assert prober.take_due() == ["switch"]
    assert board.verdict("switch").is_healthy


def test_a_failure_met_by_a_request_brings_the_next_probe_forward(
    a_prober, board, clock
):
    prober = a_prober()
    prober.take_due()
    prober.probe("switch")

    board.note("switch", "reset")
    clock.advance(RECHECK)

    assert prober.take_due() == ["switch"]


def test_of_all_processes_one_makes_each_probe(a_prober, clock):
    here, there = a_prober(), a_prober()

    taken = []
    for _ in range(300):
        for prober in (here, there):
            if prober.take_due():
                prober.probe("switch")
                taken.append(clock())
        clock.advance(0.25)

    assert taken == [1000.0, 1024.0, 1048.0, 1072.0]


def test_of_two_who_find_a_probe_due_at_once_one_makes_it(a_prober, board, shared):
    late = Prober(board, {"switch": lambda budget: None}, LateReader(shared))

    assert a_prober().take_due() == ["switch"]

    assert late.take_due() == []
    late.stop()


def test_the_probe_of_one_that_died_is_made_by_the_next(a_prober, clock):
    dying, other = a_prober(), a_prober()
    assert dying.take_due() == ["switch"]

    clock.advance(PROBE_LIMIT + LEASE_MARGIN - 0.1)
    assert other.take_due() == []
    clock.advance(0.1)

    assert other.take_due() == ["switch"]


def test_a_failure_during_a_probe_starts_no_second_one(a_prober, board, clock):
    prober = a_prober()
    prober.take_due()

    board.note("switch", "reset")
    clock.advance(RECHECK)

    assert prober.take_due() == []


def test_inquiries_at_the_same_time_share_one_probe(a_prober, clock):
    release, probes = threading.Event(), []

    def probe(budget):
        probes.append(1)
        release.wait(30)

    prober = a_prober(probe)
    first, second = prober.inquire("switch"), prober.inquire("switch")
    release.set()

    assert first is second
    assert first.result(10) is True
    assert prober.inquire("switch") is first
    clock.advance(INQUIRY_INTERVAL)
    assert prober.inquire("switch").result(10) is True
    assert len(probes) == 2


def test_an_inquiry_after_the_end_is_never_answered(a_prober):
    prober = a_prober()
    prober.stop()

    assert not prober.inquire("switch").done()


class TestInTheBackground:
    """With threads and the real clock."""

    def test_a_hanging_probe_holds_up_no_other(self):
        release, seen = threading.Event(), threading.Event()
        prober = Prober(
            a_board(),
            {
                "hanging": lambda b: release.wait(30) and None,
                "fine": lambda b: seen.set(),
            },
            InProcessState(),
        )

        prober.start()

        assert seen.wait(10)
        release.set()
        prober.stop()

    def test_it_starts_stops_and_leaves_no_thread(self):
        asked = threading.Event()
        probes = {"switch": lambda budget: asked.set()}
        prober = Prober(a_board(), probes, InProcessState())

        prober.start()
        assert asked.wait(10)
        prober.stop()
        prober._thread.join(10)

        assert not prober._thread.is_alive()

    @pytest.mark.parametrize("outcome", ["answers", "hangs", "raises"])
    def test_64_threads_on_one_expired_verdict_make_one_probe_and_never_wait(
        self, outcome
    ):
        shared = InProcessState()
        board = HealthBoard(shared, ttl=0.05)
        release, probes, waits = threading.Event(), [], []
        start = threading.Barrier(65)

        def probe(budget):
            probes.append(1)
            if outcome == "hangs":
                release.wait(30)
            if outcome == "raises":
                raise ConnectFailed("connect_refused")

        def look():
            start.wait()
            before = time.perf_counter()
            board.verdict("switch")
            waits.append(time.perf_counter() - before)

        board.note("switch", None)
        wait_until(lambda: board.verdict("switch") is None)
        prober = Prober(board, {"switch": probe}, shared)
        threads = [threading.Thread(target=look) for _ in range(64)]
        for thread in threads:
            thread.start()
        prober.start()
        start.wait()
        for thread in threads:
            thread.join()
        wait_until(lambda: probes)
        made = len(probes)
        release.set()
        prober.stop()

        assert made == 1
        assert sorted(waits)[60] < 0.05
