"""The wait for a verdict on a record."""

import pytest

from app.gateway.errors import AuditUnavailable, CallerGone
from app.storage.audit.entry import CommitResult


@pytest.fixture
def verdict():
    return CommitResult()


def test_a_wait_has_a_pulse(verdict):
    pulses = []

    def pulse():
        pulses.append(True)
        if len(pulses) == 2:
            verdict.give(None)

    verdict.wait(10.0, pulse)

    assert len(pulses) == 2


def test_what_is_decided_already_is_not_waited_for(verdict):
    verdict.give(None)

    verdict.wait(0.0, lambda: pytest.fail("it waited"))


def test_a_pulse_that_breaks_ends_no_wait(verdict):
    """A caller who left is no reason to leave his record unwatched."""
    pulses = []

    def pulse():
        pulses.append(True)
        if len(pulses) == 2:
            verdict.give(None)
        raise CallerGone

    verdict.wait(10.0, pulse)

    assert len(pulses) == 2


def test_a_pulse_does_not_prolong_the_wait(verdict):
    pulses = []

    with pytest.raises(AuditUnavailable, match="too_slow"):
        verdict.wait(0.6, lambda: pulses.append(True))

    assert len(pulses) == 2
    assert not verdict.give(None)
