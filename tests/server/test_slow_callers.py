"""Those for whom threads wait: fewer than there are threads, the slowest goes."""

import pytest

from app.server.slow_callers import SlowCallers


class Caller:
    def __init__(self, since):
        self.since = since
        self.is_given_up = False

    def give_up(self):
        self.is_given_up = True


def test_who_has_been_slow_for_longest_is_given_up_for_one_more():
    slow = SlowCallers(2)
    second, first, third = Caller(2.0), Caller(1.0), Caller(3.0)
    slow.enter(second)
    slow.enter(first)

    slow.enter(third)

    assert [c.is_given_up for c in (first, second, third)] == [True, False, False]


def test_who_drips_is_as_old_as_his_first_byte():
    slow = SlowCallers(1)
    dripping, other = Caller(1.0), Caller(2.0)
    slow.enter(dripping)
    slow.leave(dripping)
    slow.enter(other)

    with pytest.raises(TimeoutError):
        slow.enter(dripping)

    assert not other.is_given_up


def test_who_is_no_longer_waited_for_is_not_given_up():
    slow = SlowCallers(1)
    first = Caller(1.0)
    slow.enter(first)
    slow.leave(first)
    slow.leave(first)

    slow.enter(Caller(2.0))

    assert not first.is_given_up
