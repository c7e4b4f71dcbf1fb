import socket
from time import monotonic, time

import pytest
from flask import Flask, request

from app.gateway.access.tokens import Caller
from app.gateway.chain.drain import Drain
from app.gateway.chat import Priority
from app.gateway.errors import CallerGone, ShuttingDown
from app.web.request.caller import (
    budget_of,
    has_left,
    priority_of,
    stream_seconds,
    waited,
)
from app.web.request.errors import InvalidBody


def test_time_before_us_is_looked_at_once():
    """Asked again at the end it would count the request's own time twice."""
    headers = {"X-Request-Start": f"t={time() - 5}"}
    with Flask("x").test_request_context(headers=headers):
        first = waited(request)
        until = monotonic() + 0.01
        while monotonic() < until:
            pass

        assert 5 <= first == waited(request)


def test_without_a_front_door_nothing_was_waited():
    with Flask("x").test_request_context():
        assert waited(request) == 0


def waited_since(shown):
    with Flask("x").test_request_context(headers={"X-Request-Start": shown}):
        return waited(request)


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "t=",
        "t=nan",
        "t=-inf",
        "t=1e9",
        "now",
        "t=1,t=2",
        "t=9_9",
        "t=٣",
        "t=" + "9" * 400,
    ],
)
def test_a_start_that_makes_no_sense_is_none(shown):
    assert waited_since(shown) == 0


@pytest.mark.parametrize("seconds", [3600, 40, 11, -11, -3600])
def test_a_start_by_a_clock_that_differs_is_none(seconds):
    assert waited_since(f"t={time() - seconds:.3f}") == 0


@pytest.mark.parametrize("behind", [0.5, 5, 9, 11, 40, 70, 3600, -5, -3600])
@pytest.mark.parametrize("deadline", [1.0, 4.5, 12.0, 36.0])
def test_no_clock_of_the_front_door_takes_more_than_half_the_time(behind, deadline):
    """Else a clock that is behind would refuse every single request."""
    headers = {"X-Request-Start": f"t={time() - behind:.3f}"}
    with Flask("x").test_request_context(headers=headers):
        budget = budget_of(request, deadline)

    assert deadline / 2 - 0.1 < budget.remaining() <= deadline


def test_a_start_in_milliseconds_is_none():
    assert waited_since(f"t={time() * 1000:.0f}") == 0


def test_what_was_waited_is_used_up():
    headers = {"X-Request-Start": f"t={time() - 5:.3f}"}
    with Flask("x").test_request_context(headers=headers):
        budget = budget_of(request, 36.0)

    assert 29 < budget.remaining() <= 31
    assert 5 <= monotonic() - budget.since < 7


@pytest.mark.parametrize(
    ("shown", "seconds"), [(None, 600.0), ("9000", 9.0), ("9999999", 600.0)]
)
def test_a_stream_lasts_as_long_as_the_setting_says_or_the_caller_asks(shown, seconds):
    headers = {"X-Gateway-Deadline-Ms": shown} if shown else {}
    with Flask("x").test_request_context(headers=headers):
        assert stream_seconds(request, 600.0) == seconds


class TestPriority:
    def shown(self, text, own=Priority.NORMAL):
        headers = {} if text is None else {"X-Gateway-Priority": text}
        with Flask("x").test_request_context(headers=headers):
            return priority_of(request, Caller("ann", priority=own))

    def test_is_that_of_the_token(self):
        assert self.shown(None, own=Priority.HIGH) is Priority.HIGH

    @pytest.mark.parametrize("text", ["low", "LOW", " Low "])
    def test_can_be_lowered(self, text):
        assert self.shown(text) is Priority.LOW

    def test_cannot_be_raised(self):
        assert self.shown("high") is Priority.NORMAL

    @pytest.mark.parametrize("text", ["", "urgent", "0", "high,low"])
    def test_must_be_a_class(self, text):
        with pytest.raises(InvalidBody):
            self.shown(text)


class TestLeaving:
    @pytest.fixture
    def ends(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            yield ours, theirs

    def test_who_is_there_has_not_left(self, ends):
        assert not has_left(ends[0])

    def test_who_sent_more_has_not_left(self, ends):
        ends[1].sendall(b"the next request")

        assert not has_left(ends[0])
        assert ends[0].recv(100) == b"the next request", "nothing was consumed"

    def test_who_closed_has_left(self, ends):
        ends[1].close()

        assert has_left(ends[0])

    def test_who_sent_more_and_died_has_left(self, ends):
        ends[1].sendall(b"x")
        ends[1].close()

        assert has_left(ends[0])

    def test_a_connection_that_we_closed_is_no_caller(self, ends):
        ends[0].close()

        assert has_left(ends[0])

    def test_ends_the_wait(self, ends):
        with Flask("x").test_request_context(environ_base={"gunicorn.socket": ends[0]}):
            budget = budget_of(request, 36.0)
        budget.check()
        ends[1].close()

        with pytest.raises(CallerGone):
            budget.check()


def test_a_worker_that_stops_ends_the_wait_before_its_grace_does(clock):
    drain = Drain(clock)
    with Flask("x").test_request_context():
        budget = budget_of(request, 36.0, drain)
    drain.begin(10.0, lambda: True)
    clock.advance(8.9)
    budget.check()
    clock.advance(0.2)

    with pytest.raises(ShuttingDown):
        budget.check()
