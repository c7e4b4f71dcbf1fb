"""CallHistory: what callers' calls say of upstreams."""

import pytest

from app.gateway.chain.metered import Ending
from app.gateway.chat import Attempt, ChatReply
from app.gateway.guard.call_history import NEWS, RECENT, CallHistory, RecentCalls
from app.gateway.shared import InProcessState
from tests.support.fakes import FakeClock, a_request


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def shared(clock):
    return InProcessState(clock)


@pytest.fixture
def history(shared):
    return CallHistory(shared)


def chat(history, *faults, upstream="switch", error_type=""):
    attempts = tuple(Attempt(upstream, fault, 0.1) for fault in faults)
    reply = ChatReply(text="", upstream=upstream, model="", attempts=attempts)
    history.ended(
        Ending(
            a_request(),
            reply,
            outcome="failed" if error_type else "completed",
            error_type=error_type,
            duration=0.1,
            queued=0.0,
            overhead=0.0,
            overshoot=-1.0,
        )
    )


def test_of_one_that_was_never_asked_nothing_is_known(history):
    assert history.recent("switch") == RecentCalls()


def test_failures_are_counted_until_a_success(history, clock):
    chat(history, "http_5xx")
    began = clock()
    clock.advance(5)
    chat(history, "upstream_auth")

    recent = history.recent("switch")
    assert (recent.failures, recent.fault) == (2, "upstream_auth")
    assert (recent.since, recent.failed_at) == (began, clock())

    chat(history, None)
    recent = history.recent("switch")
    assert (recent.failures, recent.succeeded_at) == (0, clock())
    assert recent.failed_at == clock()  # it is still told when the last one was


@pytest.mark.parametrize(
    "fault",
    ["circuit_open", "unhealthy", "context_length", "client_gone", "shutting_down"],
)
def test_what_says_nothing_of_the_upstream_is_not_counted(history, fault):
    chat(history, fault)

    assert history.recent("switch").failures == 0


def test_a_success_soon_after_another_one_changes_nothing(history, clock):
    chat(history, None)
    first = clock()
    clock.advance(NEWS / 2)
    chat(history, None)
    assert history.recent("switch").succeeded_at == first

    clock.advance(NEWS)
    chat(history, None)
    assert history.recent("switch").succeeded_at == clock()


def test_another_worker_sees_the_same(history, shared):
    chat(history, "reset", "reset")

    assert CallHistory(shared).recent("switch").failures == 2


def test_chats_that_nobody_answered_are_told_for_a_minute(history, clock):
    began = clock()
    chat(history, "http_5xx", error_type="upstream_nobody_answered")
    clock.advance(RECENT - 1)
    chat(history, "http_5xx", error_type="upstream_nobody_answered")
    assert (history.unanswered().chats, history.unanswered().since) == (2, began)

    clock.advance(RECENT + 1)
    assert history.unanswered().chats == 0

    chat(history, "http_5xx", error_type="upstream_nobody_answered")
    assert history.unanswered().chats == 1


def test_a_mistake_of_the_caller_is_no_chat_without_an_answer(history):
    chat(history, error_type="caller_invalid")

    assert history.unanswered().chats == 0
