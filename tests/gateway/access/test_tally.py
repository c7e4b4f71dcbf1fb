"""Tally: the first of its kind is told at once, the rest as a sum."""

import pytest

from app.gateway.access.tally import Tally


@pytest.fixture
def told():
    return []


@pytest.fixture
def minutes():
    return []


@pytest.fixture
def tally(told, minutes):
    return Tally(
        lambda kind, count: told.append((kind, count)),
        later=lambda after, work: minutes.append((after, work)),
    )


def test_the_first_of_each_kind_is_new_and_the_rest_is_a_sum(tally, told, minutes):
    assert [tally.add(kind) for kind in "aabab"] == [True, False, True, False, False]
    assert told == []

    ((after, tell),) = minutes
    tell()

    assert (after, told) == (60.0, [("a", 2), ("b", 1)])
    assert tally.add("a")
    assert len(minutes) == 2


def test_what_was_not_repeated_has_no_sum(tally, told):
    tally.add("a")

    tally.close()

    assert told == []


def test_a_sum_that_cannot_be_told_costs_the_others_nothing(minutes, caplog):
    told = []

    def tell(kind, count):
        if kind == "a":
            raise RuntimeError("disk")
        told.append((kind, count))

    tally = Tally(tell, later=lambda *work: minutes.append(work))
    for kind in "aabb":
        tally.add(kind)

    tally.close()

    assert told == [("b", 1)]
    assert "could not be told" in caplog.text


def test_without_a_thread_nothing_breaks_and_the_end_tells_the_sum(told):
    def later(*_):
        raise RuntimeError("can't start new thread")

    tally = Tally(lambda *sum: told.append(sum), later)
    tally.add("a")
    tally.add("a")

    tally.close()

    assert told == [("a", 1)]
