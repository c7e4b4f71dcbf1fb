import pytest

from app.gateway.budget import Budget
from app.gateway.errors import (
    BadReply,
    CallerGone,
    ConnectFailed,
    ContentFiltered,
    ContextTooLong,
    NoAnswer,
    Refused,
)
from app.gateway.routing.retries import Retried, RetryBudget
from app.gateway.routing.router import ChatRouter
from tests.support.fakes import FakeUpstream, Unguarded, a_request


@pytest.fixture
def vllm(clock):
    return FakeUpstream("vllm", clock=clock)


@pytest.fixture
def allowance(clock):
    return RetryBudget(clock)


@pytest.fixture
def repeat(allowance, clock):
    """Put retries around an upstream; jitter draws its upper end."""

    def make(upstream, retries=2, **options):
        facts = {"wait": clock.advance, "jitter": lambda low, high: high} | options
        return Retried(upstream, retries, allowance, clock=clock, **facts)

    return make


@pytest.fixture
def ask(repeat, vllm, clock):
    def ask(seconds=30, upstream=None):
        return (upstream or repeat(vllm)).open(
            a_request(), Budget(seconds, clock=clock)
        )

    return ask


def full(after=None):
    return Refused("rate_limited", status=429, retry_after=after)


def test_a_full_upstream_is_asked_again_after_the_rest_it_wants(ask, vllm, clock):
    vllm.fail(full(after=2))
    began = clock()

    reply = ask().collect()

    assert 2 <= clock() - began <= 2.5
    assert [(a.upstream, a.fault) for a in reply.attempts] == [
        ("vllm", "rate_limited"),
        ("vllm", None),
    ]


@pytest.mark.parametrize("after", [29.5, 60])
def test_a_rest_that_does_not_fit_is_not_waited_for(ask, vllm, clock, after):
    vllm.fail(full(after))
    began = clock()

    with pytest.raises(Refused):
        ask()

    assert (clock() - began, vllm.calls) == (0, 1)


@pytest.mark.parametrize(
    "hiccup",
    [Refused("http_5xx", status=status) for status in (500, 502, 503, 504)]
    + [NoAnswer("reset")],
    ids=lambda e: str(e.status or e),
)
def test_a_hiccup_is_asked_again_once(ask, vllm, hiccup):
    vllm.fail(hiccup, times=2)

    with pytest.raises(type(hiccup)) as caught:
        ask()

    assert vllm.calls == 2
    assert len(caught.value.attempts) == 2


def test_a_hiccup_may_ask_for_a_rest_too(ask, vllm, clock):
    vllm.fail(Refused("http_5xx", status=503, retry_after=2))
    began = clock()

    ask()

    assert vllm.calls == 2
    assert 2 <= clock() - began <= 2.5


@pytest.mark.parametrize("after", [29.5, 60])
def test_a_hiccup_whose_rest_does_not_fit_is_not_asked_again(ask, vllm, after):
    vllm.fail(Refused("http_5xx", status=503, retry_after=after))

    with pytest.raises(Refused):
        ask()

    assert vllm.calls == 1


@pytest.mark.parametrize(
    "error",
    [
        Refused("quota", status=429),
        ContextTooLong("context_length", status=500),
        NoAnswer("first_token"),
        NoAnswer("read_timeout"),
        NoAnswer("reset", received=5),
        Refused("http_5xx", status=501),
        Refused("upstream_auth", status=401),
        ConnectFailed("connect_refused"),
        ContextTooLong("context_length", status=400),
        ContentFiltered("content_filter", status=400),
        BadReply("truncated"),
    ],
    ids=str,
)
def test_what_would_not_help_is_not_done(ask, vllm, error):
    """A route that was silent once would only cost the same time again."""
    vllm.fail(error)

    with pytest.raises(type(error)):
        ask()

    assert vllm.calls == 1


@pytest.mark.parametrize("fault", ["http_5xx", "rate_limited"])
def test_who_forbids_to_be_asked_again_is_not(ask, vllm, fault):
    error = Refused(fault, status=500)
    error.may_repeat = False
    vllm.fail(error)

    with pytest.raises(Refused):
        ask()

    assert vllm.calls == 1


def test_an_upstream_is_asked_at_most_so_many_times(ask, repeat, vllm):
    vllm.fail(full(), times=9)

    with pytest.raises(Refused):
        ask(upstream=repeat(vllm, retries=1))

    assert vllm.calls == 2


def test_a_wait_ends_when_the_caller_leaves(repeat, vllm, clock):
    vllm.fail(full(after=20))
    left_at = clock() + 1

    def check():
        if clock() >= left_at:
            raise CallerGone

    with pytest.raises(CallerGone) as caught:
        repeat(vllm).open(a_request(), Budget(60, check, clock=clock))

    assert clock() - left_at <= 0.25
    first, last = caught.value.attempts
    assert (first.fault, last.fault) == ("rate_limited", "client_gone")
    assert 1 <= last.duration <= 1.25  # it is not said to have taken the whole rest


def test_the_pause_before_a_retry_is_drawn_between_nothing_and_ever_more(repeat, vllm):
    drawn = []
    vllm.fail(full(), times=9)

    def jitter(low, high):
        drawn.append((low, high))
        return 0.0

    with pytest.raises(Refused):
        repeat(vllm, jitter=jitter).open(a_request(), Budget(30))

    assert drawn == [(0.0, 0.25), (0.0, 0.5)]


class TestOneRequest:
    @pytest.fixture
    def upstreams(self, clock):
        return [FakeUpstream(name, clock=clock) for name in "abcdefgh"]

    @pytest.fixture
    def ask(self, repeat, upstreams, clock):
        def ask(count, **options):
            chosen = [Unguarded(repeat(u, **options)) for u in upstreams[:count]]
            router = ChatRouter(chosen, clock)
            return router.open(a_request(), Budget(300, clock=clock)).collect()

        return ask

    def test_has_at_most_four_tries_within_three_seconds(self, ask, upstreams):
        upstreams[0].fail(full(), times=9)

        reply = ask(2, jitter=lambda low, high: 0.0)

        assert upstreams[0].calls == 3
        assert reply.upstream == "b"
        assert len(reply.attempts) == 4

    def test_has_at_most_six_tries_in_all_and_one_is_kept_for_who_is_next(
        self, ask, upstreams
    ):
        for upstream in upstreams[:2]:
            upstream.fail(full(after=4), times=9)

        reply = ask(3)

        assert [u.calls for u in upstreams[:3]] == [3, 2, 1]
        assert reply.upstream == "c"
        assert len(reply.attempts) == 6

    @pytest.mark.parametrize("count", [5, 8])
    def test_reaches_a_healthy_one_behind_at_once(self, ask, upstreams, clock, count):
        """Nobody is refused while an upstream is left untried, however many failed."""
        for upstream in upstreams[: count - 1]:
            upstream.fail(BadReply("schema"))
        began = clock()

        reply = ask(count)

        assert reply.upstream == upstreams[count - 1].name
        assert clock() == began

    def test_does_not_count_upstreams_that_never_saw_it(self, ask, upstreams):
        for upstream in upstreams[:7]:
            upstream.fail(ConnectFailed("connect_refused"))

        assert ask(8).upstream == "h"


class TestOverTime:
    def count(self, allowance, times):
        return sum(allowance.take() for _ in range(times))

    def test_a_quiet_gateway_may_retry_a_few_times_in_ten_seconds(
        self, allowance, clock
    ):
        assert self.count(allowance, 19) == 10

        clock.advance(9)
        assert self.count(allowance, 19) == 0
        clock.advance(2)
        assert self.count(allowance, 19) == 10

    def test_a_busy_one_may_retry_a_fifth_of_its_calls(self, allowance):
        for _ in range(200):
            allowance.note_call()

        assert self.count(allowance, 99) == 40

    def test_an_outage_does_not_multiply_the_calls(self, repeat, clock):
        upstream = FakeUpstream("vllm", clock=clock)
        upstream.fail(Refused("http_5xx", status=503), times=10_000)
        asked = repeat(upstream, jitter=lambda low, high: 0.0)

        for _ in range(1000):
            clock.advance(0.1)
            with pytest.raises(Refused):
                asked.open(a_request(), Budget(30, clock=clock))

        assert upstream.calls <= 1200 + 10
