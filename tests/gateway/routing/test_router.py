import logging

import pytest

from app.gateway.budget import Budget
from app.gateway.chat import Attempt
from app.gateway.errors import (
    BadReply,
    CallerFault,
    CallerGone,
    ConnectFailed,
    ContextTooLong,
    Interrupted,
    NeverSent,
    NoAnswer,
    NobodyAnswered,
    Refused,
    Rejected,
    Unfit,
    UnknownModel,
)
from app.gateway.routing.failover import least_shares
from app.gateway.routing.router import ChatRouter
from tests.support.fakes import FakeUpstream, a_request


@pytest.fixture
def switch(clock):
    return FakeUpstream("switch", timeout=30, clock=clock)


@pytest.fixture
def madre(clock):
    return FakeUpstream("madre", timeout=5, clock=clock)


@pytest.fixture
def router(switch, madre, clock):
    return ChatRouter([switch, madre], clock)


def ask(router, clock, seconds=36, **fields):
    return router.open(a_request(**fields), Budget(seconds, clock=clock)).collect()


def test_the_first_upstream_answers_and_nothing_is_degraded(router, clock, madre):
    reply = ask(router, clock)

    assert (reply.upstream, reply.is_degraded) == ("switch", False)
    assert reply.attempts == (Attempt("switch", None, 0.0),)
    assert madre.calls == 0


@pytest.mark.parametrize(
    "error",
    [
        ConnectFailed("refused"),
        Refused("http_5xx"),
        BadReply("schema"),
        NoAnswer("deadline"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_failing_upstream_hands_over_to_the_next(router, switch, clock, error):
    switch.fail(error)

    reply = ask(router, clock)

    assert (reply.upstream, reply.degraded_by) == ("madre", error.fault)
    assert [a.fault for a in reply.attempts] == [error.fault, None]


def test_a_request_that_is_itself_at_fault_is_not_asked_again(
    router, switch, madre, clock
):
    switch.fail(CallerFault("upstream_rejected", status=400))

    with pytest.raises(CallerFault) as caught:
        ask(router, clock)

    assert madre.calls == 0
    assert [a.status for a in caught.value.attempts] == [400]


def test_a_caller_who_left_is_not_answered_by_anybody_else(
    router, switch, madre, clock
):
    switch.fail(CallerGone())

    with pytest.raises(CallerGone) as caught:
        ask(router, clock)

    assert madre.calls == 0
    assert [a.fault for a in caught.value.attempts] == ["client_gone"]


def test_when_all_fail_the_caller_learns_when_to_come_back(
    router, switch, madre, clock
):
    switch.fail(Refused("rate_limited", retry_after=40))
    madre.fail(Refused("rate_limited", retry_after=7))

    with pytest.raises(NobodyAnswered) as caught:
        ask(router, clock)

    assert caught.value.retry_after == 7
    assert [a.upstream for a in caught.value.attempts] == ["switch", "madre"]


LONG, UNKNOWN = ContextTooLong("context_length"), UnknownModel("unknown_model")
UNABLE, REJECTED = Unfit("unsupported"), Rejected("upstream_rejected")


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ([LONG, LONG], ContextTooLong),
        ([LONG, UNKNOWN], ContextTooLong),
        ([UNKNOWN, LONG, UNABLE], ContextTooLong),
        ([UNABLE, REJECTED], Unfit),
        ([REJECTED, UNKNOWN], Rejected),
        ([UNKNOWN, UNKNOWN], UnknownModel),
        ([NeverSent("circuit_open"), LONG, LONG], ContextTooLong),
        ([LONG, NeverSent("unhealthy")], ContextTooLong),
        ([Refused("upstream_auth"), UNABLE], Unfit),
        ([Refused("quota"), LONG], ContextTooLong),
        ([Refused("http_5xx"), LONG], NobodyAnswered),
        ([LONG, ConnectFailed("connect_refused")], NobodyAnswered),
        ([NeverSent("resting"), LONG], NobodyAnswered),
        ([NeverSent("no_slot"), LONG], NobodyAnswered),
        ([NeverSent("circuit_open"), NeverSent("circuit_open")], NobodyAnswered),
        ([Refused("quota"), Refused("quota")], NobodyAnswered),
    ],
    ids=lambda value: str(value) if isinstance(value, list) else value.__name__,
)
def test_what_nobody_can_answer_ends_with_the_most_useful_error(clock, errors, told):
    upstreams = [FakeUpstream(f"u{n}", clock=clock) for n in range(len(errors))]
    for upstream, error in zip(upstreams, errors, strict=True):
        upstream.fail(error, times=2)  # who was passed over is asked after all

    with pytest.raises(told) as caught:
        ask(ChatRouter(upstreams, clock), clock)

    assert type(caught.value) is told


def test_one_that_has_no_place_for_those_whom_its_circuit_keeps_away_is_still_open(
    router, switch, madre, clock
):
    switch.fail(NeverSent("circuit_open"))
    switch.fail(NeverSent("no_slot"))
    madre.fail(LONG)

    with pytest.raises(ContextTooLong):
        ask(router, clock)

    assert switch.calls == 2


@pytest.mark.parametrize(("took", "may"), [(1, True), (17, False)])
def test_who_has_waited_all_the_time_is_not_to_try_again(
    router, switch, madre, clock, took, may
):
    for upstream in (switch, madre):
        upstream.fail(NoAnswer("read_timeout"), taking=took)

    with pytest.raises(NobodyAnswered) as caught:
        ask(router, clock)

    assert caught.value.may_repeat is may


@pytest.mark.parametrize(
    ("seconds", "switch_gets"), [(36, 30), (20, 15), (8, 4), (2, 1)]
)
def test_the_primary_cannot_starve_the_fallback(
    router, switch, madre, clock, seconds, switch_gets
):
    switch.fail(NoAnswer("deadline"), taking=switch_gets)

    ask(router, clock, seconds)

    assert switch.limits == [switch_gets]
    assert madre.limits == [min(5, seconds - switch_gets)]


def test_a_reply_that_breaks_later_still_tells_of_its_attempt(switch, clock):
    switch.breaks_with = Interrupted("truncated", received=3)
    router = ChatRouter([switch], clock)
    stream = router.open(a_request(stream=True), Budget(36, clock=clock))

    with pytest.raises(Interrupted):
        stream.collect()

    assert [a.fault for a in stream.reply.attempts] == ["truncated"]


def test_the_log_has_the_lines_that_the_seed_promises(router, switch, clock, caplog):
    caplog.set_level(logging.INFO)
    switch.fail(NoAnswer("read_timeout"))

    ask(router, clock)

    assert "Switch failed, fallback to madre: read_timeout" in caplog.text


@pytest.mark.parametrize(
    ("timeouts", "deadline", "shares"),
    [
        ([30, 5], 36, [30, 5]),
        ([30, 5], 20, [15, 5]),
        ([30, 5], 9, [4.5, 4.5]),
        ([30, 2], 9, [7, 2]),
        ([30, 20, 5], 36, [12, 19, 5]),
        ([30, 20, 5], 9, [3, 3, 3]),
    ],
)
def test_a_deadline_is_shared_out_as_the_operating_guide_says(
    timeouts, deadline, shares
):
    assert least_shares(timeouts, deadline) == shares
