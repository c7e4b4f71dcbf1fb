"""A time without records is itself on record, once, when it is over."""

import pytest

from app.storage.audit.incidents import QUIET, Incidents


class Told:
    def __init__(self):
        self.gaps, self.jumps = [], []

    def audit_gap(self, gap):
        self.gaps.append(gap)

    def clock_jumped(self, seconds):
        self.jumps.append(seconds)


class Times:
    """A wall clock and a steady one that go together, unless somebody sets the one."""

    def __init__(self):
        self.steady, self.wall = 100.0, 5000.0

    def pass_by(self, seconds):
        self.steady += seconds
        self.wall += seconds


@pytest.fixture
def times():
    return Times()


@pytest.fixture
def incidents(times):
    return Incidents(lambda: times.steady, lambda: times.wall)


@pytest.fixture
def told():
    return Told()


def test_a_gap_is_told_with_its_times_its_reason_and_what_it_cost(
    incidents, times, told
):
    incidents.looked("disk_full", 0.5)
    incidents.refused()
    incidents.refused()
    incidents.undelivered()
    times.pass_by(30)
    incidents.looked("disk_full", 0.1)
    incidents.tell(told)
    assert told.gaps == []

    times.pass_by(10)
    incidents.looked(None, 0.0)
    incidents.tell(told)
    assert told.gaps == []  # it may come back

    times.pass_by(QUIET)
    incidents.looked(None, 0.0)
    incidents.tell(told)
    incidents.tell(told)

    assert told.gaps == [
        {
            "reason": "disk_full",
            "from": 4999.5,
            "until": 5040.0,
            "refused": 2,
            "undelivered": 1,
        }
    ]


def test_a_fault_that_comes_and_goes_is_one_gap(incidents, times, told):
    for _ in range(50):
        incidents.looked("locked", 0.0)
        times.pass_by(QUIET / 4)
        incidents.looked(None, 0.0)
        incidents.tell(told)
        times.pass_by(QUIET / 4)
    times.pass_by(QUIET)
    incidents.tell(told)

    (gap,) = told.gaps
    assert gap["until"] - gap["from"] == pytest.approx(50 * QUIET / 2 - QUIET / 4)


def test_a_write_that_was_stuck_is_a_gap_that_began_with_it(incidents, times, told):
    times.pass_by(4)
    incidents.looked(None, 4.0)
    times.pass_by(QUIET)
    incidents.tell(told)

    (gap,) = told.gaps
    assert (gap["reason"], gap["from"], gap["until"]) == ("stuck", 5000.0, 5004.0)


def test_a_chat_that_would_not_wait_longer_is_a_gap_too(incidents, times):
    incidents.gave_up(3.0)
    incidents.looked(None, 1.0)

    gap = incidents.take_gap(at_once=True)

    assert (gap["reason"], gap["undelivered"]) == ("too_slow", 1)
    assert gap["from"] == 4997.0


def test_a_clock_that_is_set_is_told_once(incidents, times, told):
    times.pass_by(10)
    incidents.tell(told)
    times.wall -= 3600
    incidents.tell(told)
    times.pass_by(10)
    incidents.tell(told)

    assert told.jumps == [-3600.0]
