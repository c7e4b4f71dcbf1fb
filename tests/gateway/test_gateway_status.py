"""GatewayStatus: one word for all of it."""

import pytest

from app.gateway.access.tokens import Caller, Keyring, Token
from app.gateway.gateway_status import State
from app.gateway.guard.call_history import RecentCalls
from app.gateway.guard.guarded import Obstacle
from app.gateway.records.signs import TrailSigns
from app.gateway.shared import InProcessState
from tests.support.fakes import FakeClock, FakeTrail, a_board, a_status_board


class FakeGuard:
    """A guard that tells what it was told to."""

    def __init__(self):
        self.found = None

    def obstacle(self):
        return self.found


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def guards():
    return {"switch": FakeGuard(), "madre": FakeGuard()}


@pytest.fixture
def keyring():
    return Keyring([Token.of(Caller("operator"), "a-token-for-tests")])


@pytest.fixture
def make(clock, guards, keyring):
    def make(**options):
        shared = InProcessState(clock)
        return a_status_board(
            FakeTrail(), keyring, guards, a_board(clock), shared, **options
        )

    return make


def codes(status):
    return [reason.code for reason in status.reasons]


def fail(board, upstream, times):
    now = board.shared.now()
    calls = RecentCalls(times, now, None, now, "reset").encode()
    board.shared.update(f"history:{upstream}", lambda _: (calls, None))


def test_nothing_is_known_to_be_wrong(make):
    status = make().now()

    assert (status.state, status.reasons) == (State.WELL, ())
    assert status.sentence == "well"


def test_no_record_can_be_written(make):
    board = make()
    board.trail.is_down = True

    assert codes(board.now()) == ["audit_unavailable"]
    assert board.now().state is State.REFUSING
    assert board.refusal().code == "audit_unavailable"


def test_at_best_effort_chats_are_taken_and_it_is_said_loudly(make):
    board = make(is_required=False)
    assert codes(board.now()) == ["audit_best_effort"]

    board.trail.is_down = True

    assert board.refusal() is None
    assert board.now().state is State.DEGRADED
    assert "none is written" in board.now().sentence


def test_the_gateway_is_being_stopped(make):
    board = make()
    board.drain.begin(1.0, lambda: True)

    assert codes(board.now()) == ["shutting_down"]
    assert board.refusal().code == "shutting_down"


def test_an_upstream_is_down_since(make, clock):
    board = make()
    board.health.note("switch", "connect_refused")
    clock.advance(7)

    (reason,) = board.now().reasons
    assert (reason.code, reason.upstream) == ("down", "switch")
    assert clock() - reason.since == 7
    assert board.now().state is State.DEGRADED


def test_an_upstream_is_up_and_answers_nothing(make):
    board = make()
    board.health.note("switch", None)
    fail(board, "switch", 2)
    assert board.now().state is State.WELL

    fail(board, "switch", 3)

    assert codes(board.now()) == ["failing"]
    assert (
        "the last 3 calls to switch failed: it breaks connections off (reset)"
        in board.now().sentence
    )


@pytest.mark.parametrize("reason", ["circuit_open", "resting"])
def test_an_upstream_is_passed_over(make, guards, reason):
    guards["switch"].found = Obstacle(reason, 2.0)

    assert codes(make().now()) == [reason]


@pytest.mark.parametrize(
    "obstacle", [Obstacle("no_slot"), Obstacle("circuit_open", 2.0, is_for_one=True)]
)
def test_load_and_one_callers_failures_are_no_outage(make, guards, obstacle):
    guards["switch"].found = obstacle

    assert make().now().state is State.WELL


def test_all_upstreams_are_out(make):
    board = make()
    board.health.note("switch", "dns")
    fail(board, "madre", 3)

    status = board.now()
    assert status.state is State.REFUSING
    assert codes(status) == ["no_upstream", "down", "failing"]
    assert board.refusal() is None  # it takes chats on, and asks for want of another


@pytest.mark.parametrize(("seconds", "expected"), [(1.0, []), (2.0, ["audit_slow"])])
def test_a_disk_that_stalls_is_told_before_chats_are_refused(make, seconds, expected):
    board = make()
    board.trail.signs = lambda: TrailSigns(writing_for=seconds)

    assert codes(board.now()) == expected
    assert board.refusal() is None


def test_the_file_of_tokens_is_stale(make, keyring):
    keyring.problems = ("line 16",)

    assert codes(make().now()) == ["tokens_stale"]


def test_since_when_is_kept_until_the_state_changes(make, clock):
    board = make()
    assert board.now().since == 0
    clock.advance(9)
    assert board.now().since == 9

    board.trail.is_down = True
    assert board.now().since == 0
    clock.advance(4)
    assert board.now().since == 4
