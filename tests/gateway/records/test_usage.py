"""Usage by day: the newest days first, as far as time allows."""

import pytest

from app.gateway.errors import SearchTookTooLong
from app.gateway.records.usage import DAY, WITHIN, usage_by_day
from tests.support.fakes import FakeClock

NOW = 100 * DAY + 3600.0


class SlowActivity:
    """Takes some time for each day; some days are too much for it."""

    def __init__(self, clock, takes=0.0, too_many=()):
        self.clock, self.takes, self.too_many = clock, takes, too_many
        self.asked = []

    def usage(self, since, until, limit, *, by_person):
        self.asked.append((since, until, by_person))
        self.clock.advance(self.takes)
        if since in self.too_many:
            raise SearchTookTooLong
        return ()


@pytest.fixture
def clock():
    return FakeClock()


def test_each_day_is_asked_for_by_itself_today_first(clock):
    activity = SlowActivity(clock)

    days = usage_by_day(activity, NOW, 3, by_person=True, clock=clock)

    assert [day.began for day in days] == [100 * DAY, 99 * DAY, 98 * DAY]
    assert activity.asked[0] == (100 * DAY, 101 * DAY, True)


def test_days_for_which_there_is_no_time_are_left_out(clock):
    activity = SlowActivity(clock, takes=WITHIN / 2)

    days = usage_by_day(activity, NOW, 90, by_person=False, clock=clock)

    assert len(days) == 2


def test_a_day_that_is_too_much_ends_the_count(clock):
    activity = SlowActivity(clock, too_many=(99 * DAY,))

    days = usage_by_day(activity, NOW, 7, by_person=False, clock=clock)

    assert [day.began for day in days] == [100 * DAY]


def test_if_even_today_is_too_much_it_is_said(clock):
    activity = SlowActivity(clock, too_many=(100 * DAY,))

    with pytest.raises(SearchTookTooLong):
        usage_by_day(activity, NOW, 7, by_person=False, clock=clock)
