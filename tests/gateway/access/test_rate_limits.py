"""Failed authentications: what is counted, what is told, what is refused."""

import logging

import pytest

from app.gateway.access.rate_limits import FailedAuth, Unlimited
from app.gateway.shared import MAX_STRANGERS, InProcessState
from app.storage.shared.rate_limits import SlidingRateLimits


@pytest.fixture
def limits(clock):
    return SlidingRateLimits(InProcessState(clock), clock=clock)


@pytest.fixture
def failed(limits):
    return FailedAuth(limits)


def refused(failed, source, times, reason="wrong"):
    return sum(not failed.note(source, reason).is_within for _ in range(times))


def test_the_eleventh_of_a_source_in_a_minute_is_refused(failed):
    assert refused(failed, "10.0.0.1", 10) == 0

    standing = failed.note("10.0.0.1", "wrong")

    assert not standing.is_within
    assert 0 < standing.reset <= 60


def test_other_sources_are_not_refused_with_it(failed):
    refused(failed, "10.0.0.1", 50)

    assert failed.note("10.0.0.2", "wrong").is_within


def test_the_hundred_and_first_of_all_sources_is_refused(failed):
    assert sum(refused(failed, f"10.0.0.{n}", 10) for n in range(10)) == 0

    assert not failed.note("10.0.1.1", "wrong").is_within


def test_a_source_alone_cannot_use_up_what_is_everybodys(failed):
    refused(failed, "10.0.0.1", 500)

    assert sum(refused(failed, f"10.0.1.{n}", 10) for n in range(9)) == 0


def test_two_minutes_later_all_is_forgotten(failed, clock):
    refused(failed, "10.0.0.1", 20)

    clock.advance(120)

    assert refused(failed, "10.0.0.1", 10) == 0


def test_a_token_that_is_missing_does_not_use_up_those_that_are_wrong(failed):
    refused(failed, "10.0.0.1", 20, "missing")

    assert failed.note("10.0.0.1", "wrong").is_within


def test_all_are_told_by_reason_the_refused_ones_too(failed):
    heard = []
    failed.on_failure(heard.append)

    refused(failed, "10.0.0.1", 12)
    failed.note("10.0.0.1", "missing")

    assert heard == ["wrong"] * 12 + ["missing"]


def test_a_listener_that_breaks_changes_no_answer(failed, caplog):
    def broken(_):
        raise RuntimeError("gauge")

    failed.on_failure(broken)

    assert failed.note("10.0.0.1", "wrong").is_within
    assert "listener" in caplog.text


def test_each_is_logged_with_its_source_until_it_is_refused(failed, caplog):
    """A flood of them must not become a flood of lines."""
    with caplog.at_level(logging.WARNING):
        refused(failed, "10.0.0.1", 1000)

    assert len(caplog.messages) == 11
    assert all("source=10.0.0.1" in message for message in caplog.messages)


def test_what_is_not_logged_one_by_one_is_logged_as_a_sum(limits, caplog):
    """A hundred failures must not blind the log for those of other sources."""
    minutes = []
    failed = FailedAuth(limits, later=lambda after, work: minutes.append((after, work)))
    for n in range(30):
        refused(failed, f"10.0.0.{n}", 10)
    caplog.clear()

    ((after, tell),) = minutes
    tell()

    assert after == 60
    assert caplog.messages == [
        "Authentication failed: 199 more within a minute, wrong token"
    ]


def test_a_flood_from_many_sources_leaves_few_entries_and_pushes_out_nobody(clock):
    state = InProcessState(clock, max_expiring=10)
    limits = SlidingRateLimits(state, clock=clock)
    limits.take("token:ci", 5)
    failed = FailedAuth(limits)

    for n in range(3000):
        failed.note(f"10.{n >> 8}.{n & 255}.1", "wrong")

    assert len(state._of_strangers) == MAX_STRANGERS
    assert limits.look("token:ci", 5).remaining == 4


def test_a_source_over_its_bound_is_not_heard_until_the_minute_is_over(failed, clock):
    assert failed.look("10.0.0.1").is_within
    refused(failed, "10.0.0.1", 10)

    assert not failed.look("10.0.0.1").is_within
    assert failed.look("10.0.0.2").is_within
    clock.advance(120)
    assert failed.look("10.0.0.1").is_within


def test_a_source_is_counted_while_others_use_up_what_is_everybodys(failed):
    """Else the flood of others would be the hour in which to guess."""
    for n in range(20):
        refused(failed, f"10.0.1.{n}", 10)

    refused(failed, "10.0.0.1", 10)

    assert not failed.look("10.0.0.1").is_within


def test_without_limits_nobody_is_refused():
    assert refused(FailedAuth(Unlimited()), "10.0.0.1", 1000) == 0
