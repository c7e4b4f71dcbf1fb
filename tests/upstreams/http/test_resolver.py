"""A resolver that hangs or fails costs little once, and then nothing (row 4)."""

import socket
from threading import Event
from time import monotonic

import pytest

from app.gateway.budget import Budget
from app.gateway.errors import CallerGone, ConnectFailed
from app.upstreams.http.deadline import ExchangeDeadline
from app.upstreams.http.resolver import FRESH, HOLD, RETRY, Resolver
from app.upstreams.http.sockets import Address
from app.upstreams.http.transport import Transport
from tests.support.fakes import FakeClock
from tests.support.stack import wait_until
from tests.upstreams.raw_server import OK, Stopwatch, answering, serving

ONE, OTHER = (
    Address(socket.AF_INET, ("127.0.0.1", 80)),
    Address(socket.AF_INET, ("127.0.0.2", 80)),
)


SOON = RETRY + 5.0  # seconds; on a busy machine, and still far from FRESH


class FakeLookup:
    """Answers as told: addresses, an error, or silence until `released`."""

    def __init__(self, *found):
        self.found, self.error, self.calls = list(found), None, 0
        self.hangs, self.released = False, Event()

    def __call__(self, host, port):
        self.calls += 1
        if self.hangs:
            self.released.wait()
        if self.error:
            raise self.error
        return list(self.found)


@pytest.fixture
def lookup():
    lookup = FakeLookup(ONE)
    yield lookup
    lookup.released.set()


@pytest.fixture
def resolver(lookup, clock):
    return Resolver(lookup, clock=clock)


def ask(resolver, seconds=5.0, host="switch"):
    return list(resolver.addresses(host, 80, ExchangeDeadline(Budget(seconds))))


def ask_until(resolver, expected):
    """Background lookups are not waited for by callers, so the test asks again."""
    budget = Budget(5.0)
    while ask(resolver) != expected:
        budget.check()


def test_a_name_is_looked_up_once_while_its_addresses_are_fresh(
    resolver, lookup, clock
):
    for _ in range(3):
        assert ask(resolver) == [ONE]
    clock.advance(FRESH - 1)
    ask(resolver)

    assert lookup.calls == 1


def test_stale_addresses_serve_while_they_are_refreshed(resolver, lookup, clock):
    ask(resolver)
    clock.advance(FRESH)
    lookup.found, lookup.hangs = [OTHER], True

    with Stopwatch() as watch:
        while_refreshing = [ask(resolver) for _ in range(3)]
    lookup.released.set()

    assert while_refreshing == [[ONE]] * 3
    assert watch.took < 0.5
    ask_until(resolver, [OTHER])
    assert lookup.calls == 2


def test_a_resolver_that_hangs_costs_the_first_caller_its_limit(resolver, lookup):
    lookup.hangs = True

    with Stopwatch() as watch, pytest.raises(ConnectFailed, match=r"^dns$"):
        ask(resolver, seconds=0.4)

    assert 0.4 <= watch.took <= 0.4 + 0.25 + 0.35


def test_callers_of_a_name_that_hangs_share_one_lookup(resolver, lookup):
    lookup.hangs = True
    for _ in range(3):
        with pytest.raises(ConnectFailed):
            ask(resolver, seconds=0.05)

    lookup.released.set()

    assert ask(resolver) == [ONE]
    assert lookup.calls == 1


def test_a_caller_who_leaves_ends_the_wait_for_a_name(resolver, lookup):
    lookup.hangs = True
    gone = CallerGone()

    def check():
        raise gone

    with pytest.raises(CallerGone) as caught:
        resolver.addresses("switch", 80, ExchangeDeadline(Budget(30.0, check)))

    assert caught.value is gone


@pytest.mark.parametrize(
    "error",
    [socket.gaierror(-2, "unknown"), TimeoutError(), UnicodeError("label too long")],
    ids=lambda error: type(error).__name__,
)
def test_a_resolver_that_fails_is_a_fault_at_once(error, resolver, lookup):
    lookup.error = error

    with Stopwatch() as watch, pytest.raises(ConnectFailed, match=r"^dns$"):
        ask(resolver)

    assert watch.took < 1.0


def test_a_name_without_addresses_is_a_fault(resolver, lookup):
    lookup.found = []

    with pytest.raises(ConnectFailed, match=r"^dns$"):
        ask(resolver)


def test_known_addresses_outlive_a_resolver_that_fails(resolver, lookup, clock):
    ask(resolver)
    lookup.error = socket.gaierror(-3, "again")

    for _ in range(3):
        clock.advance(FRESH)
        assert ask(resolver) == [ONE]


def test_a_failed_lookup_is_repeated_soon_but_not_for_every_caller(
    resolver, lookup, clock
):
    lookup.error = socket.gaierror(-3, "again")
    for _ in range(5):
        with pytest.raises(ConnectFailed):
            ask(resolver)
    lookup.error = None
    clock.advance(RETRY)

    assert ask(resolver) == [ONE]
    assert lookup.calls == 2


def test_addresses_that_have_failed_are_looked_up_anew_at_once(resolver, lookup, clock):
    ask(resolver)
    clock.advance(RETRY)
    lookup.found = [OTHER]

    resolver.doubt("switch", 80)

    assert ask(resolver) == [OTHER]


def test_a_dead_host_costs_a_lookup_a_second_however_many_fail(resolver, lookup, clock):
    ask(resolver)
    for _ in range(10):
        for _ in range(20):
            resolver.doubt("switch", 80)
            assert ask(resolver) == [ONE]
        clock.advance(RETRY / 2)

    assert lookup.calls == 5


def test_one_that_failed_too_soon_is_looked_up_by_the_next_caller(
    resolver, lookup, clock
):
    ask(resolver)
    lookup.found = [OTHER]
    resolver.doubt("switch", 80)
    assert ask(resolver) == [ONE]

    clock.advance(RETRY)

    assert ask(resolver) == [OTHER]
    assert lookup.calls == 2


def test_a_lookup_that_hangs_holds_up_failed_addresses_only_for_a_moment(lookup):
    ahead = FakeClock(0.0)
    resolver = Resolver(lookup, clock=lambda: monotonic() + ahead())
    ask(resolver)
    ahead.advance(RETRY)
    lookup.hangs = True

    resolver.doubt("switch", 80)
    with Stopwatch() as first:
        assert ask(resolver) == [ONE]
    with Stopwatch() as later:
        assert [ask(resolver) for _ in range(5)] == [[ONE]] * 5

    assert first.took < HOLD + 0.35
    assert later.took < 0.1


def test_a_lookup_that_fails_leaves_the_doubt(resolver, lookup, clock):
    ask(resolver)
    clock.advance(RETRY)
    lookup.error = socket.gaierror(-3, "again")
    resolver.doubt("switch", 80)
    ask(resolver)
    lookup.error, lookup.found = None, [OTHER]

    clock.advance(RETRY)

    assert ask(resolver) == [OTHER]


def test_a_name_that_nobody_asked_for_is_not_looked_up_for_its_failure(
    resolver, lookup
):
    resolver.doubt("elsewhere", 80)

    assert lookup.calls == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_needs_no_lookup(host, resolver, lookup):
    found = ask(resolver, host=host)

    assert found[0].sockaddr[:2] == (host, 80)
    assert lookup.calls == 0


def test_a_hanging_resolver_costs_a_call_two_seconds_and_then_nothing(serve):
    server = serve(serving)
    lookup = FakeLookup(Address(socket.AF_INET, (server.host, server.port)))
    lookup.hangs = True
    transport = Transport(lookup=lookup)

    with Stopwatch() as first, pytest.raises(ConnectFailed, match=r"^dns$"):
        transport.post("http://switch/", b"{}", {}, Budget(30.0))
    lookup.released.set()
    answer = transport.post("http://switch/", b"{}", {}, Budget(5.0))
    transport.close()

    assert 1.9 <= first.took <= 2.0 + 0.25 + 0.35
    assert answer.status == 200


class TestAMovedUpstream:
    """It was at one address, fails there, and is at another by now."""

    @pytest.fixture
    def moved(self, serve, ca_file):
        """Makes the two places of one name, and what asks it."""
        made = []

        def make(old):
            new = serve(serving, host="127.0.0.3", port=old.port)
            lookup = FakeLookup(Address(socket.AF_INET, (old.host, old.port)))
            made.append(Transport(lookup=lookup, verify=ca_file))
            return new, lookup, made[-1]

        yield make
        for transport in made:
            transport.close()

    def ask(self, transport, port, scheme="http", seconds=5.0):
        url = f"{scheme}://switch:{port}/"
        return transport.post(url, b"{}", {}, Budget(seconds)).status

    def test_that_refuses_is_found_within_a_second(self, serve, moved):
        old = serve(answering(OK), host="127.0.0.2")
        new, lookup, transport = moved(old)
        assert self.ask(transport, old.port) == 200

        old.stop()
        lookup.found = [Address(socket.AF_INET, (new.host, new.port))]
        with Stopwatch() as watch:
            self.found(transport, old.port)

        assert watch.took < RETRY + 0.5
        assert len(new.requests) == 1

    def test_where_connecting_hangs_is_found_by_the_next(self, block, moved):
        old = block(host="127.0.0.2")
        new, lookup, transport = moved(old)
        with pytest.raises(ConnectFailed, match="connect_timeout"):
            self.ask(transport, old.port, seconds=RETRY + 0.1)

        lookup.found = [Address(socket.AF_INET, (new.host, new.port))]
        self.found(transport, old.port)

        assert len(new.requests) == 1

    def test_where_somebody_else_answers_over_tls_is_found(self, serve, moved):
        """Its address went to a server that can not prove to be it."""
        old = serve(serving, host="127.0.0.2")
        _, lookup, transport = moved(old)
        with pytest.raises(ConnectFailed):
            self.ask(transport, old.port, scheme="https")

        wait_until(lambda: self.asks_again(transport, old.port, lookup), limit=SOON)

    def asks_again(self, transport, port, lookup):
        with pytest.raises(ConnectFailed):
            self.ask(transport, port, scheme="https")
        return lookup.calls > 1

    def found(self, transport, port):
        wait_until(lambda: self.answers(transport, port), limit=SOON, every=0.05)

    def answers(self, transport, port):
        try:
            return self.ask(transport, port, seconds=0.5) == 200
        except ConnectFailed:
            return False
