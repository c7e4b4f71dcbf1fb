"""A replay asks one upstream, where nobody waits, and nobody learns from it."""

import json

import pytest

from app.gateway.budget import Budget
from app.gateway.chain.audited import Audited
from app.gateway.errors import (
    AuditUnavailable,
    BadReply,
    CallerGone,
    ConnectFailed,
    NoAnswer,
    NobodyAnswered,
    Overloaded,
    Refused,
)
from app.gateway.guard.breaker import CircuitBreaker
from app.gateway.guard.circuit import Phase
from app.gateway.guard.concurrency import ConcurrencyLimit
from app.gateway.records.audit import Record
from app.gateway.records.content import Content, ContentPolicy
from app.gateway.records.redaction import Redactor
from app.gateway.replay.origin import Replay
from app.gateway.replay.replayer import Replayer, UnknownUpstream
from app.gateway.replay.stored import Change, NotReplayable
from app.gateway.routing.retries import Retried, RetryBudget
from app.gateway.routing.router import ChatRouter
from app.gateway.routing.routes import Route
from app.gateway.shared import InProcessState
from tests.support.fakes import (
    FakeTrail,
    FakeUpstream,
    a_board,
    a_guard,
    a_request,
)


class FoundAgain:
    """Finds what a trail holds, as a Record."""

    def __init__(self, trail):
        self.trail = trail

    def get(self, any_id):
        for intent, closing in reversed(self.trail.closed):
            if any_id in (intent.id, intent.correlation_id):
                known = dict.fromkeys(Record.__dataclass_fields__)
                for part in (intent, closing):
                    fields = known.keys() & set(part._fields)
                    known |= {name: getattr(part, name) for name in fields}
                return Record(**known)
        return None


class Gateway:
    """The handlers of a chat around a switch and a madre, and a replayer."""

    def __init__(self, clock):
        self.clock = clock
        self.trail, self.health = FakeTrail(), a_board(clock)
        self.switch = FakeUpstream("switch", clock=clock)
        self.madre = FakeUpstream("madre", deltas=["I am madre"], clock=clock)
        self.shared = InProcessState(clock)
        self.breakers, self.inquired = {}, []
        guards = [self._guard(one) for one in (self.switch, self.madre)]
        routes = [Route("*", ("switch",))]
        router = ChatRouter(guards, clock, routes=routes)
        policy = ContentPolicy(Content.FULL, Redactor(), b"k" * 32)
        self.chat = Audited(router, self.trail, policy, clock=clock)
        self.place = ConcurrencyLimit("replays", self.shared, 1)
        self.is_busy, self.told = False, []
        self.records = FoundAgain(self.trail)
        self.replayer = Replayer(
            self.chat,
            self.records,
            {"switch": False, "madre": True},
            self.place,
            is_busy=lambda: self.is_busy,
            tell=lambda *facts: self.told.append(facts),
        )

    def _guard(self, upstream):
        breaker = CircuitBreaker(upstream.name, self.shared, draw=lambda: 1.0)
        self.breakers[upstream.name] = breaker
        return a_guard(upstream, self.health, self.clock, cap=8, breaker=breaker)

    def ask(self, text="Hello", model="fast", **fields):
        request = a_request(text, model=model, **fields)
        reply = self.chat.open(request, Budget(36, clock=self.clock))
        return self.records.get(reply.collect().audit_id)

    def again(self, record, **changes):
        change = Change(**{"may_act": True} | changes)
        budget = Budget(36, clock=self.clock)
        return self.replayer.ask(record, change, "ann", budget).record


@pytest.fixture
def gateway(clock):
    return Gateway(clock)


def test_who_answered_is_asked_again_and_it_is_on_record_as_a_replay(gateway):
    first = gateway.ask(person="bob")

    again = gateway.again(first)

    assert (again.provider, again.route, again.caller) == ("switch", "replay", "ann")
    assert again.person is None
    assert json.loads(again.request)["manner"] == {"replays": first.id}
    assert gateway.told == [("switch", "completed")]


def test_another_one_is_asked_whatever_the_routes_say(gateway):
    again = gateway.again(gateway.ask(), upstream="madre")

    assert again.provider == "madre"
    assert json.loads(again.reply) == {"text": "I am madre"}
    assert gateway.madre.asked[-1].model == "fast"


def test_nobody_else_is_asked_where_that_one_fails(gateway):
    """Else one compares somebody else's answer."""
    first = gateway.ask()
    gateway.switch.fail(ConnectFailed("connect_refused"))

    again = gateway.again(first)

    assert again.outcome == "failed"
    assert gateway.madre.calls == 0
    assert gateway.told == [("switch", "failed")]


@pytest.mark.parametrize(
    "error",
    [
        ConnectFailed("connect_refused"),
        NoAnswer("read_timeout"),
        BadReply("schema"),
        Refused("http_5xx", status=500),
        Refused("rate_limited", status=429, retry_after=30.0),
    ],
)
def test_a_replay_that_fails_is_evidence_of_nothing(gateway, error):
    first = gateway.ask()
    gateway.health.note("switch", None)
    before = gateway.health.verdict("switch")
    gateway.switch.fail(error, times=20)

    for _ in range(20):
        gateway.again(first)

    assert gateway.switch.calls == 21
    assert gateway.breakers["switch"].phase is Phase.CLOSED
    assert gateway.breakers["switch"].refusal() is None
    assert gateway.health.verdict("switch") == before


def test_nor_is_one_that_goes_well(gateway, clock):
    """It neither probes an open circuit nor ends a bad verdict."""
    first = gateway.ask()
    gateway.switch.fail(BadReply("schema"), times=10)
    for caller in "abcde" * 2:
        with pytest.raises(NobodyAnswered):
            gateway.ask(caller=caller)
    assert gateway.breakers["switch"].phase is Phase.OPEN
    asked = gateway.switch.calls

    again = gateway.again(first)
    clock.advance(60.0)  # a probe is due, and a replay is none
    later = gateway.again(first)

    assert [again.outcome, later.outcome] == ["failed", "failed"]
    assert [one["fault"] for one in json.loads(again.attempts)] == ["circuit_open"]
    assert gateway.switch.calls == asked


def test_an_upstream_that_is_out_is_not_asked(gateway):
    first = gateway.ask()
    gateway.health.note("switch", "connect_refused")

    again = gateway.again(first)

    assert [one["fault"] for one in json.loads(again.attempts)] == ["unhealthy"]
    assert gateway.switch.calls == 1


def test_a_replay_is_no_call_that_may_be_retried(clock):
    upstream = FakeUpstream("cloud", clock=clock)
    upstream.fail(Refused("http_5xx", status=503), times=3)
    allowance = RetryBudget(clock)
    retried = Retried(upstream, 2, allowance, clock=clock, wait=clock.advance)

    with pytest.raises(Refused):
        retried.open(a_request(replay=Replay("r", "cloud")), Budget(36, clock=clock))

    assert upstream.calls == 1


def test_it_is_not_begun_while_chats_wait(gateway):
    first = gateway.ask()
    gateway.is_busy = True

    with pytest.raises(Overloaded):
        gateway.again(first)

    assert gateway.switch.calls == 1


def test_one_at_a_time(gateway):
    first = gateway.ask()
    held = gateway.place.acquire(10.0)

    with pytest.raises(Overloaded):
        gateway.again(first)
    gateway.place.release(held)

    assert gateway.again(first).outcome == "completed"


def test_the_place_comes_back_however_it_ends(gateway):
    first = gateway.ask()
    gateway.switch.fail(CallerGone())
    with pytest.raises(CallerGone):
        gateway.again(first)
    gateway.switch.fail(ConnectFailed("connect_refused"))
    gateway.again(first)

    assert gateway.again(first).outcome == "completed"


def test_an_upstream_that_acts_is_asked_again_only_by_permission(gateway):
    first = gateway.ask()

    with pytest.raises(NotReplayable) as refusal:
        gateway.again(first, may_act=False)
    again = gateway.again(first, upstream="madre", may_act=False)

    assert refusal.value.reason == "may_act"
    assert again.provider == "madre"
    assert gateway.switch.calls == 1


def test_a_name_that_is_none_is_no_upstream(gateway):
    with pytest.raises(UnknownUpstream):
        gateway.again(gateway.ask(), upstream="nobody")


def test_a_chat_that_nobody_answered_is_asked_of_whom_it_was_asked_first(gateway):
    gateway.switch.fail(ConnectFailed("connect_refused"))
    with pytest.raises(NobodyAnswered):
        gateway.ask()
    failed = gateway.records.get(gateway.trail.closed[-1][0].id)
    gateway.health.note("switch", None)

    assert gateway.again(failed).provider == "switch"


def test_without_a_record_there_is_no_answer(gateway):
    first = gateway.ask()
    gateway.trail.is_down = True

    with pytest.raises(AuditUnavailable):
        gateway.again(first)
