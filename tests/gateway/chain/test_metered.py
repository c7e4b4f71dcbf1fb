import pytest

from app.gateway.budget import Budget
from app.gateway.chain.audited import Audited
from app.gateway.chain.metered import Metered
from app.gateway.errors import (
    AuditUnavailable,
    CallerGone,
    Interrupted,
    Overloaded,
)
from app.gateway.records.content import Content, ContentPolicy
from app.gateway.records.redaction import Redactor
from app.gateway.routing.router import ChatRouter
from tests.support.fakes import FakeTrail, FakeUpstream, a_request


class Seen:
    """An observer that remembers."""

    def __init__(self, breaks=False):
        self.endings, self.refusals, self.breaks = [], [], breaks

    def ended(self, ending):
        self.endings.append(ending)
        if self.breaks:
            raise ZeroDivisionError

    def refused(self, request, error_type):
        self.refusals.append((request.route, error_type))


class House:
    """A gateway of a router with one upstream, around which all is metered."""

    def __init__(self, clock, breaks=False):
        self.clock = clock
        self.switch = FakeUpstream("switch", clock=clock)
        self.madre = FakeUpstream("madre", clock=clock)
        self.trail = FakeTrail()
        self.seen = Seen(breaks)
        router = ChatRouter([self.switch, self.madre], clock)
        policy = ContentPolicy(Content.FULL, Redactor([]), b"k" * 32)
        audited = Audited(router, self.trail, policy)
        self.chat = Metered(audited, [self.seen], clock)

    def ask(self, seconds=10.0, waited=0.0, lasting=None, **fields):
        budget = Budget(seconds, waited=waited, clock=self.clock)
        if lasting:
            budget = budget.streaming(lasting)
        return self.chat.open(a_request(**fields), budget)

    @property
    def ending(self):
        (ending,) = self.seen.endings
        return ending


@pytest.fixture
def house(clock):
    return House(clock)


def test_an_answer_is_told_of_once_with_all_that_is_known(house):
    house.ask().collect()

    assert (house.ending.outcome, house.ending.error_type) == ("completed", "")
    assert house.ending.reply.upstream == "switch"
    assert house.ending.reply.audit_seconds > 0


def test_times_count_from_when_the_front_door_took_the_request(house, clock):
    stream = house.ask(waited=2.0, stream=True)
    clock.advance(3.0)
    stream.collect()

    assert house.ending.duration == pytest.approx(5.0)
    assert house.ending.queued == pytest.approx(2.0)
    assert house.ending.first_delta == pytest.approx(2.0)
    assert house.ending.overshoot == pytest.approx(-7.0)


def test_what_upstreams_took_is_not_the_gateways_own_part(house, clock):
    stream = house.ask(stream=True)
    clock.advance(3.0)
    stream.collect()

    assert house.ending.overhead == pytest.approx(0.0)
    assert sum(a.duration for a in house.ending.reply.attempts) == pytest.approx(3.0)


def test_a_failure_is_told_of_with_its_attempts(house):
    house.switch.fail(Interrupted("truncated"))

    with pytest.raises(Interrupted):
        house.ask()

    assert house.ending.outcome == "failed"
    assert house.ending.error_type == "upstream_bad_reply"
    assert [a.upstream for a in house.ending.reply.attempts] == ["switch"]
    assert house.ending.first_delta is None


@pytest.mark.parametrize(
    ("error", "outcome", "error_type"),
    [
        (CallerGone(), "cancelled", "caller_gone"),
        (ZeroDivisionError(), "failed", "gateway_internal"),
    ],
)
def test_each_way_not_to_be_answered_has_its_outcome(house, error, outcome, error_type):
    house.switch.fail(error)

    with pytest.raises(type(error)):
        house.ask()

    assert (house.ending.outcome, house.ending.error_type) == (outcome, error_type)


def test_why_admission_refused_is_told(house):
    budget = Budget(10.0, waited=1.5, clock=house.clock)

    house.chat.turn_away(a_request(), budget, Overloaded("queue_full"))

    ending = house.ending
    assert (ending.outcome, ending.error_type) == ("refused", "policy_overloaded")
    assert ending.refusal == "queue_full"
    assert ending.queued == ending.duration == pytest.approx(1.5)
    ((_, closing),) = house.trail.closed
    assert (closing.outcome, closing.code) == ("refused", "overloaded")


def test_who_leaves_the_queue_is_no_refusal(house):
    house.chat.turn_away(a_request(), Budget(10.0, clock=house.clock), CallerGone())

    assert (house.ending.outcome, house.ending.refusal) == ("cancelled", "")
    assert house.ending.error_type == "caller_gone"


def test_a_reply_that_nobody_reads_to_its_end_is_cancelled(house):
    house.ask(stream=True).close()

    assert (house.ending.outcome, house.ending.error_type) == (
        "cancelled",
        "caller_gone",
    )


def test_a_reply_whose_record_cannot_be_committed_is_a_failure(house):
    stream = house.ask()
    house.trail.is_down = True

    with pytest.raises(AuditUnavailable):
        stream.collect()

    assert house.ending.outcome == "failed"
    assert house.ending.error_type == "gateway_audit_unavailable"


def test_a_stream_must_begin_by_the_deadline_and_end_by_its_own(house, clock):
    stream = house.ask(seconds=10.0, stream=True, lasting=600.0)
    clock.advance(500)
    stream.collect()

    assert house.ending.overshoot == pytest.approx(-10.0)


def test_a_deadline_that_was_missed_is_told(house, clock):
    stream = house.ask(seconds=1.0, stream=True)
    clock.advance(1.5)
    stream.close()

    assert house.ending.overshoot == pytest.approx(0.5)


def test_a_refusal_at_a_door_is_told_and_recorded(house):
    house.chat.refuse(a_request(route="openai"), "forbidden", 403)

    assert house.seen.refusals == [("openai", "caller_forbidden")]
    assert len(house.trail.closed) == 1


def test_an_observer_that_breaks_harms_no_answer(clock, caplog):
    house = House(clock, breaks=True)

    assert house.ask().collect().text == "Hi"
    assert "observer" in caplog.text


def test_nor_does_it_replace_the_error_of_a_chat_that_failed(clock):
    house = House(clock, breaks=True)
    house.switch.fail(ZeroDivisionError())

    with pytest.raises(ZeroDivisionError):
        house.ask()
