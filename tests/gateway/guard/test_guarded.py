from concurrent.futures import Future

import pytest

from app.gateway.budget import Budget
from app.gateway.errors import (
    BadReply,
    CallerGone,
    ConnectFailed,
    ContextTooLong,
    GatewayError,
    Interrupted,
    NeverSent,
    NoAnswer,
    NobodyAnswered,
    Refused,
    Rejected,
    UpstreamError,
)
from app.gateway.guard.breaker import CircuitBreaker, Refusal
from app.gateway.guard.circuit import Phase, Rules
from app.gateway.guard.guarded import Obstacle
from app.gateway.routing.router import ChatRouter
from app.gateway.shared import InProcessState
from app.gateway.turns import Turn
from tests.support.fakes import FakeUpstream, a_board, a_guard, a_request


@pytest.fixture
def switch(clock):
    return FakeUpstream("switch", timeout=30, clock=clock)


@pytest.fixture
def madre(clock):
    return FakeUpstream("madre", timeout=5, clock=clock)


@pytest.fixture
def health(clock):
    return a_board(clock)


@pytest.fixture
def guard(switch, health, clock):
    return a_guard(switch, health, clock)


@pytest.fixture
def router(guard, madre, clock, health):
    return ChatRouter([guard, a_guard(madre, health, clock)], clock)


CHOICE = Turn()  # another one is before it, and another one is behind it


def ask(handler, clock, seconds=36, turn=None, **fields):
    turns = () if turn is None else (turn,)
    budget = Budget(seconds, clock=clock)
    return handler.open(a_request(**fields), budget, *turns).collect()


def fault_of(handler, clock, seconds=36, turn=CHOICE, **fields):
    """The fault of a call that fails."""
    with pytest.raises(UpstreamError) as caught:
        ask(handler, clock, seconds, turn, **fields)
    return caught.value.fault


def test_an_unhealthy_upstream_costs_nothing(router, switch, health, clock, caplog):
    health.note("switch", "read_timeout")

    reply = ask(router, clock)

    assert (reply.upstream, reply.degraded_by) == ("madre", "unhealthy")
    assert switch.calls == 0
    assert "Switch unavailable, using madre fallback" in caplog.text


def test_an_outage_turns_the_verdict_and_a_success_turns_it_back(
    router, switch, health, clock
):
    switch.fail(ConnectFailed("connect_refused"))
    ask(router, clock)
    assert health.verdict("switch").reason == "connect_refused"

    health.note("switch", None)
    ask(router, clock)

    assert switch.calls == 2
    assert health.verdict("switch").is_healthy


@pytest.mark.parametrize(
    "fault", ["reset", "silent", "read_timeout", "first_token", "stream_idle"]
)
def test_one_call_without_an_answer_has_the_health_asked_for_and_no_more(
    switch, health, clock, fault
):
    """What one caller asks for may take too long; its health says more than that."""
    inquiries = []
    guard = a_guard(switch, health, clock, inquire=inquiries.append)
    switch.fail(NoAnswer(fault), taking=30)

    fault_of(guard, clock)

    assert inquiries == ["switch"]
    assert health.verdict("switch") is None


@pytest.mark.parametrize(
    "error", [Refused("http_5xx", status=500), BadReply("schema"), Interrupted("reset")]
)
def test_one_odd_answer_does_not_switch_an_upstream_off(guard, health, clock, error):
    """Under load one 500 in a hundred would otherwise cost a second each time."""
    guard._upstream.fail(error)

    fault_of(guard, clock)

    assert health.verdict("switch") is None
    assert ask(guard, clock).upstream == "switch"


def test_five_odd_answers_in_a_row_open_the_circuit(guard, switch, clock):
    switch.fail(BadReply("schema"), times=5)

    faults = [fault_of(guard, clock) for _ in range(6)]

    assert faults == ["schema"] * 5 + ["circuit_open"]
    assert switch.calls == 5


def test_an_open_circuit_says_when_to_come_back(guard, switch, clock):
    switch.fail(BadReply("schema"), times=5)
    for _ in range(5):
        fault_of(guard, clock)

    with pytest.raises(NeverSent) as caught:
        ask(guard, clock)

    assert caught.value.retry_after == 1.0


def test_with_every_circuit_open_the_caller_learns_when_to_come_back(
    router, switch, madre, clock
):
    for upstream in (switch, madre):
        upstream.fail(Refused("http_5xx"), times=6)
    for _ in range(5):
        with pytest.raises(NobodyAnswered):
            ask(router, clock)

    with pytest.raises(NobodyAnswered) as caught:
        ask(router, clock)

    faults = [a.fault for a in caught.value.attempts]
    assert faults == ["circuit_open"] * 2 + ["http_5xx"] * 2
    assert caught.value.retry_after == 1.0


@pytest.mark.parametrize(
    "error",
    [CallerGone(), Refused("rate_limited", status=429), Refused("upstream_auth")],
)
def test_what_is_not_the_upstreams_fault_is_not_held_against_it(
    guard, switch, health, clock, error
):
    switch.fail(error, times=20)

    for _ in range(20):
        with pytest.raises(type(error)):
            ask(guard, clock)

    assert health.verdict("switch") is None
    assert ask(guard, clock).upstream == "switch"


def test_a_caller_in_a_hurry_cannot_switch_an_upstream_off(
    guard, switch, health, clock
):
    """Half a second is not enough to tell a model that thinks from one that hangs."""
    switch.fail(NoAnswer("read_timeout"), times=20, taking=0.5)

    faults = [fault_of(guard, clock, seconds=0.5) for _ in range(20)]

    assert set(faults) == {"read_timeout"}
    assert health.verdict("switch") is None


def test_a_time_limit_counts_a_quarter(guard, switch, clock):
    switch.fail(NoAnswer("read_timeout"), times=20, taking=30)

    faults = [fault_of(guard, clock) for _ in range(21)]

    assert faults == ["read_timeout"] * 20 + ["circuit_open"]


def test_the_time_that_a_slow_reader_took_is_not_held_against_it(guard, switch, clock):
    """Six callers who read slowly would else switch a healthy upstream off for all."""

    class SlowlyRead(FakeUpstream):
        def open(self, request, budget):
            stream = super().open(request, budget)
            stream.unread = 29.0
            clock.advance(30)
            return stream

    guard._upstream = SlowlyRead("switch", clock=clock)
    guard._upstream.breaks_with = Interrupted("deadline")

    faults = [fault_of(guard, clock) for _ in range(21)]

    assert faults == ["deadline"] * 21
    assert guard.phase is Phase.CLOSED


@pytest.mark.parametrize(
    ("fault", "is_blamed"), [("first_token", True), ("late_beginning", False)]
)
def test_a_limit_of_its_own_is_held_against_it_and_the_next_ones_turn_is_not(
    guard, switch, clock, fault, is_blamed
):
    """Ten seconds to the first words are little of the thirty for all of them."""
    switch.fail(NoAnswer(fault), times=20, taking=10)

    for _ in range(20):
        fault_of(guard, clock)

    assert (guard.phase is Phase.OPEN) == is_blamed


def test_what_follows_from_the_request_is_held_against_nobody(guard, switch, clock):
    errors = [
        BadReply("empty"),
        BadReply("too_large"),
        BadReply("bad_status", status=404),
        ContextTooLong("context_length", status=500),
        Rejected("upstream_rejected", status=422),
    ]
    for error in errors * 10:
        switch.fail(error)
        fault_of(guard, clock)

    assert guard.phase is Phase.CLOSED


def test_one_callers_failures_take_it_from_no_other(guard, switch, clock):
    switch.fail(Refused("http_5xx", status=500), times=5)
    for _ in range(5):
        fault_of(guard, clock, caller="mallory")

    assert fault_of(guard, clock, caller="mallory") == "circuit_open"
    assert ask(guard, clock, turn=CHOICE, caller="alice").upstream == "switch"


@pytest.mark.parametrize("is_streamed", [False, True])
def test_an_adapter_that_breaks_is_a_failed_attempt(
    router, switch, clock, caplog, is_streamed
):
    if is_streamed:
        switch.breaks_with = OverflowError("of an odd header")
        switch.deltas = ()
    else:
        switch.fail(OverflowError("of an odd header"))

    reply = ask(router, clock)

    assert (reply.upstream, reply.degraded_by) == ("madre", "internal")
    assert "OverflowError" in caplog.text


class TestNobodyIsRefused:
    """While an upstream is left untried."""

    @pytest.fixture
    def guards(self, switch, madre, health, clock):
        rules, shared = Rules(open_base=10.0), InProcessState(clock)
        return [
            a_guard(
                upstream,
                health,
                clock,
                breaker=CircuitBreaker(upstream.name, shared, rules, draw=lambda: 1.0),
            )
            for upstream in (switch, madre)
        ]

    @pytest.fixture
    def router(self, guards, clock):
        return ChatRouter(guards, clock)

    def open_circuit(self, guard, upstream, clock):
        upstream.fail(Refused("http_5xx"), times=5)
        for _ in range(5):
            fault_of(guard, clock)

    def test_one_with_an_open_circuit_is_asked_when_all_others_have_failed(
        self, router, guards, switch, madre, clock
    ):
        self.open_circuit(guards[0], switch, clock)
        madre.fail(Refused("http_5xx"))

        reply = ask(router, clock)

        assert (reply.upstream, reply.degraded_by) == ("switch", None)
        faults = [(a.upstream, a.fault) for a in reply.attempts]
        assert faults == [
            ("switch", "circuit_open"),
            ("madre", "http_5xx"),
            ("switch", None),
        ]

    def test_so_is_one_with_a_bad_verdict(self, router, switch, madre, health, clock):
        health.note("switch", "read_timeout")
        madre.fail(Refused("http_5xx"))

        assert ask(router, clock).upstream == "switch"

    def test_the_last_one_needs_no_verdict(self, router, switch, health, clock):
        for name in ("switch", "madre"):
            health.note(name, "read_timeout")

        reply = ask(router, clock)

        assert (reply.upstream, switch.calls) == ("madre", 0)

    def test_an_answer_closes_the_circuit(self, router, guards, madre, switch, clock):
        for guard, upstream in zip(guards, (switch, madre), strict=True):
            self.open_circuit(guard, upstream, clock)

        reply = ask(router, clock)

        assert reply.upstream == "switch"
        assert guards[0].phase is Phase.CLOSED

    def test_a_rest_is_kept_all_the_same(self, router, switch, madre, clock):
        for upstream in (switch, madre):
            upstream.fail(Refused("rate_limited", retry_after=40))
        with pytest.raises(NobodyAnswered):
            ask(router, clock)

        with pytest.raises(NobodyAnswered) as caught:
            ask(router, clock)

        assert [a.fault for a in caught.value.attempts] == ["resting"] * 2

    def test_who_rests_is_not_waited_for(self, guards, switch, clock):
        guard = guards[0]
        self.open_circuit(guard, switch, clock)
        guard._breaker.rest(40)
        for _ in range(2):
            guard._extra.acquire(36)

        with pytest.raises(NobodyAnswered) as caught:
            ask(ChatRouter([guard], clock), clock)

        assert [a.fault for a in caught.value.attempts] == ["resting"]
        assert caught.value.retry_after == 40

    def test_who_is_passed_over_takes_no_place(self, guards, switch, clock):
        guard = guards[0]
        self.open_circuit(guard, switch, clock)
        taken = []
        guard._extra.acquire = taken.append

        assert fault_of(guard, clock) == "circuit_open"
        assert taken == []

    def test_two_at_once_are_asked_and_the_rest_learn_it_soon(
        self, router, guards, switch, madre, clock
    ):
        for guard, upstream in zip(guards, (switch, madre), strict=True):
            self.open_circuit(guard, upstream, clock)
        extra = Turn(is_extra=True)
        held = [guards[0]._extra.acquire(36) for _ in range(2)]  # they hang
        began = clock()

        assert fault_of(guards[0], clock, turn=extra) == "no_slot"

        assert clock() - began <= 1.1
        assert switch.calls == 5
        guards[0]._extra.release(held[0])
        assert ask(guards[0], clock, turn=extra).upstream == "switch"

    def test_who_waits_goes_on_once_the_circuit_is_closed(
        self, guards, switch, clock, health
    ):
        guard, breaker = guards[0], guards[0]._breaker
        self.open_circuit(guard, switch, clock)
        for _ in range(2):
            guard._extra.acquire(36)
        first = breaker.admit_extra("operator")
        guard._extra._pause = lambda event, seconds: breaker.succeeded(first, 0.1)

        reply = ask(guard, clock, turn=Turn(is_extra=True))

        assert reply.upstream == "switch"

    def test_streams_that_have_begun_keep_nobody_waiting(
        self, router, guards, switch, madre, clock
    ):
        for guard, upstream in zip(guards, (switch, madre), strict=True):
            self.open_circuit(guard, upstream, clock)
        budget = Budget(36, clock=clock).streaming(600)

        held = [router.open(a_request(stream=True), budget) for _ in range(20)]

        assert {stream.reply.upstream for stream in held} == {"switch"}
        assert guards[0]._extra.running == 0

    def test_nor_do_those_of_one_with_a_bad_verdict(self, guards, health, clock):
        health.note("switch", "read_timeout")
        extra, budget = Turn(is_extra=True), Budget(36, clock=clock).streaming(600)

        held = [guards[0].open(a_request(), budget, extra) for _ in range(20)]

        assert len(held) == 20
        assert health.verdict("switch").is_healthy

    def test_one_that_breaks_all_that_it_begins_is_left_alone_again(
        self, guards, switch, clock
    ):
        self.open_circuit(guards[0], switch, clock)
        switch.breaks_with = Interrupted("reset")

        fault_of(guards[0], clock, turn=Turn(is_extra=True))
        faults = [fault_of(guards[0], clock) for _ in range(5)]

        assert faults == ["reset"] * 4 + ["circuit_open"]


def test_the_last_one_that_hangs_is_given_its_time(health, clock):
    """There is nobody to go on to, whatever its health says."""

    def inquire(name):
        inquiry = Future()
        inquiry.set_result(False)
        return inquiry

    switch = SilentUpstream("switch", timeout=30, clock=clock)
    switch.silence = 29
    guard = a_guard(switch, health, clock, inquire=inquire)

    assert ask(guard, clock, turn=Turn(is_last=True)).text == "Hi"
    assert fault_of(guard, clock, turn=Turn(is_first=True)) == "silent"


def test_a_reply_that_breaks_later_counts(guard, switch, clock):
    switch.breaks_with = Interrupted("truncated")

    faults = [fault_of(guard, clock) for _ in range(6)]

    assert faults == ["truncated"] * 5 + ["circuit_open"]


def test_a_reply_nobody_reads_to_the_end_counts_for_nothing(guard, clock):
    for _ in range(20):
        guard.open(a_request(), Budget(36, clock=clock)).close()

    assert guard._breaker.phase is Phase.CLOSED


def test_an_upstream_that_asks_for_a_rest_gets_it(router, switch, clock):
    switch.fail(Refused("rate_limited", retry_after=40))

    answered_by = []
    for _ in range(3):
        answered_by.append(ask(router, clock).upstream)
        clock.advance(20)
    answered_by.append(ask(router, clock).upstream)

    assert answered_by == ["madre", "madre", "switch", "switch"]


def test_our_own_rejected_credentials_raise_an_alarm(router, switch, clock, caplog):
    switch.fail(Refused("upstream_auth", status=401))

    assert ask(router, clock).upstream == "madre"
    assert "switch rejects our credentials" in caplog.text


class TestCap:
    def test_one_call_too_many_is_passed_over_at_once(self, switch, health, clock):
        guard = a_guard(switch, health, clock, cap=2)
        running = [guard.open(a_request(), Budget(36, clock=clock)) for _ in range(2)]

        assert fault_of(guard, clock) == "no_slot"
        running[0].close()

        assert ask(guard, clock).upstream == "switch"
        assert switch.calls == 3

    @pytest.mark.parametrize("turn", [Turn(is_first=True), Turn(is_last=True)])
    def test_at_the_preferred_one_and_at_the_last_one_a_chat_waits_for_its_place(
        self, switch, health, clock, turn
    ):
        guard = a_guard(switch, health, clock, cap=1)
        running = guard.open(a_request(), Budget(36, clock=clock))
        began = clock()

        assert fault_of(guard, clock, turn=turn) == "no_slot"
        assert clock() - began == pytest.approx(3.0, abs=0.1)

        guard._cap._pause = lambda event, seconds: running.close()
        assert ask(guard, clock, turn=turn).upstream == "switch"

    def test_every_ending_gives_the_place_back(self, switch, health, clock):
        guard = a_guard(switch, health, clock, cap=1)
        endings = [
            CallerGone(),
            Refused("rate_limited"),
            BadReply("schema"),
            ValueError("a defect"),
        ]
        for ending in endings:
            switch.fail(ending)
            with pytest.raises(GatewayError):
                ask(guard, clock)

        assert ask(guard, clock).upstream == "switch"

    def test_one_that_finds_no_place_leaves_the_probe_to_the_next(
        self, switch, health, clock
    ):
        guard = a_guard(switch, health, clock, cap=1)
        switch.fail(BadReply("schema"), times=5)
        held = guard.open
        for _ in range(5):
            fault_of(guard, clock)
        clock.advance(1.1)
        slot = guard._cap.acquire(36)

        assert fault_of(guard, clock) == "no_slot"
        guard._cap.release(slot)

        assert held(a_request(), Budget(36, clock=clock)).collect().text == "Hi"


class SilentUpstream(FakeUpstream):
    """Says nothing for `silence` seconds, asking its budget as a socket does."""

    silence = 30.0

    def open(self, request, budget):
        until = self.clock() + self.silence
        while self.clock() < until:
            budget.check()
            self.clock.advance(budget.slice())
        return super().open(request, budget)


class TestPatience:
    @pytest.fixture
    def switch(self, clock):
        return SilentUpstream("switch", timeout=30, clock=clock)

    @pytest.fixture
    def inquiries(self):
        return []

    @pytest.fixture
    def guard(self, switch, health, clock, inquiries):
        def inquire(name):
            inquiries.append((name, clock()))
            inquiry = Future()
            if self.is_alive is not None:
                inquiry.set_result(self.is_alive)
            return inquiry

        return a_guard(switch, health, clock, inquire=inquire)

    is_alive = True

    def test_a_slow_upstream_that_is_healthy_keeps_its_whole_time(
        self, guard, switch, clock, inquiries
    ):
        switch.silence = 29

        assert ask(guard, clock, turn=CHOICE).text == "Hi"
        assert inquiries[0] == ("switch", 1003.0)
        assert len(inquiries) < 10

    def test_one_whose_health_hangs_is_given_up(
        self, guard, switch, health, clock, inquiries
    ):
        self.is_alive = False

        assert fault_of(guard, clock) == "silent"
        assert clock() <= 1000 + 3 + 0.5

    def test_an_inquiry_without_an_answer_decides_nothing(
        self, guard, switch, clock, inquiries
    ):
        self.is_alive = None
        switch.silence = 29

        assert ask(guard, clock, turn=CHOICE).text == "Hi"
        assert len(inquiries) == 1

    def test_a_quick_one_is_never_asked(self, guard, switch, clock, inquiries):
        switch.silence = 2.5

        ask(guard, clock)

        assert inquiries == []

    def test_a_reply_that_has_begun_is_never_given_up(
        self, guard, switch, clock, inquiries
    ):
        self.is_alive = False
        switch.silence = 2.0
        budgets = []
        inner = switch.open
        switch.open = lambda request, budget: (
            budgets.append(budget) or inner(request, budget)
        )

        stream = guard.open(a_request(), Budget(36, clock=clock))
        clock.advance(20)
        budgets[0].check()

        assert stream.collect().text == "Hi"
        assert inquiries == []


class TestObstacle:
    """What a guard says of itself is what would become of a call."""

    def test_there_is_none_for_one_that_would_be_asked(self, guard):
        assert guard.obstacle() is None
        assert guard.phase is Phase.CLOSED

    def test_a_rest_is_told_with_its_end(self, guard, switch, clock):
        switch.fail(Refused("rate_limited", retry_after=40))
        fault_of(guard, clock)
        clock.advance(10)

        assert guard.obstacle() == Obstacle("resting", 30.0)
        assert fault_of(guard, clock) == "resting"

        clock.advance(30)
        assert guard.obstacle() is None

    def test_a_rest_is_not_cut_short_by_a_probe_under_way(self, clock):
        shared = InProcessState(clock)
        breaker = CircuitBreaker("switch", shared, Rules(failures=1), draw=lambda: 1.0)
        breaker.failed(breaker.admit("alice", 5))
        clock.advance(1)
        breaker.admit("alice", 20)
        assert breaker.refusal() == Refusal("circuit_open", 1.0, is_for_one=True)

        breaker.rest(15)

        assert breaker.refusal() == Refusal("resting", 15.0)

    def test_an_open_circuit_is_told_with_its_end(self, guard, switch, clock):
        switch.fail(BadReply("schema"), times=5)
        for _ in range(5):
            fault_of(guard, clock)

        assert guard.obstacle() == Obstacle("circuit_open", 1.0, is_for_one=True)

    def test_an_outage_ends_nobody_knows_when(self, guard, health):
        health.note("switch", "read_timeout")

        assert guard.obstacle() == Obstacle("unhealthy")

    def test_one_whose_places_are_all_taken(self, switch, health, clock):
        guard = a_guard(switch, health, clock, cap=1)
        with guard.open(a_request(), Budget(36, clock=clock)):
            assert guard.obstacle() == Obstacle("no_slot")
            assert (guard.cap.running, guard.cap.limit) == (1, 1)

        assert guard.obstacle() is None

    def test_looking_takes_nothing(self, guard, switch, clock):
        """Not even the one probe of a circuit that may be tried again."""
        switch.fail(BadReply("schema"), times=5)
        for _ in range(5):
            fault_of(guard, clock)
        clock.advance(2)

        assert [guard.obstacle() for _ in range(2)] == [None, None]
        assert ask(guard, clock).text == "Hi"
