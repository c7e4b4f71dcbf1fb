import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.gateway.budget import Budget
from app.gateway.chain.admission import Admission
from app.gateway.chain.admission_queue import AdmissionQueue, Limits, Load
from app.gateway.chat import Priority
from app.gateway.errors import CallerGone, Interrupted, NobodyAnswered, Overloaded
from tests.support.fakes import FakeChat, a_request

IDLE = Load(busy=0, waiting=0, streams=0)
AT_ONCE = 0.1  # seconds; the promise, and more than a noisy machine takes
_tick = threading.Event()


def until(condition, limit=10.0):
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end
        _tick.wait(0.005)


@pytest.fixture
def upstream():
    return FakeChat()


@pytest.fixture
def gate():
    return AdmissionQueue(Limits(slots=1, queue=1, wait=0.5, streams=1))


@pytest.fixture
def admitted(upstream, gate):
    return Admission(upstream, gate)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def ask(admitted, *, seconds=10.0, checks=(), waited=0.0, **fields):
    budget = Budget(seconds, *checks, waited=waited)
    return admitted.open(a_request(**fields), budget)


class TestTheSlot:
    def test_is_held_until_the_reply_is_over(self, admitted, gate):
        stream = ask(admitted)
        assert gate.load().busy == 1

        assert stream.collect().text == "Hi"

        assert gate.load() == IDLE

    def test_is_given_back_when_the_reply_is_closed_half_way(self, admitted, gate):
        stream = ask(admitted)
        next(stream)

        stream.close()

        assert gate.load() == IDLE

    def test_is_given_back_when_the_reply_breaks(self, admitted, gate, upstream):
        upstream.breaks_with = Interrupted("truncated")
        stream = ask(admitted)

        with pytest.raises(Interrupted):
            stream.collect()

        assert gate.load() == IDLE

    @pytest.mark.parametrize("error", [NobodyAnswered(), KeyError("a bug")], ids=repr)
    def test_is_given_back_when_nobody_answers(self, admitted, gate, upstream, error):
        upstream.fail(error)

        with pytest.raises(type(error)):
            ask(admitted)

        assert gate.load() == IDLE

    def test_goes_to_who_waits(self, admitted, gate, pool):
        first = ask(admitted)
        second = pool.submit(ask, admitted)
        until(lambda: gate.load().waiting)

        first.close()

        reply = second.result(10).collect()
        assert reply.text == "Hi"
        assert 0 < reply.queue_seconds < 10


class TestAPlace:
    """The slot of a request that is yet to be read."""

    def test_is_given_back_when_the_request_cannot_be_read(self, admitted, gate):
        def read():
            with admitted.enter(a_request(), Budget(10)):
                assert gate.load().busy == 1
                json.loads("{")

        with pytest.raises(ValueError, match="Expecting"):
            read()

        assert gate.load() == IDLE

    def test_goes_over_to_the_reply_that_is_opened_in_it(self, admitted, gate):
        with admitted.enter(a_request(), Budget(10)) as place:
            stream = place.open(a_request(), Budget(10))
        assert gate.load().busy == 1

        stream.close()

        assert gate.load() == IDLE

    def test_is_given_back_before_the_record_is_committed(self, gate):
        seen = []

        class Recorded(FakeChat):
            def open(self, request, budget):
                stream = super().open(request, budget)
                stream.on_end(lambda _: seen.append(gate.load()))
                return stream

        ask(Admission(Recorded(), gate)).collect()

        assert seen == [IDLE]

    def test_is_kept_until_then_while_the_disk_is_slow(self, gate):
        """Else all threads would come to wait for the disk, those of /health too."""
        seen = []

        class Recorded(FakeChat):
            def open(self, request, budget):
                stream = super().open(request, budget)
                stream.on_end(lambda _: seen.append(gate.load().busy), may_veto=True)
                return stream

        ask(Admission(Recorded(), gate, is_disk_slow=lambda: True)).collect()

        assert seen == [1]
        assert gate.load() == IDLE

    def test_is_given_back_when_nobody_answers(self, admitted, gate, upstream):
        upstream.fail(NobodyAnswered())

        place = admitted.enter(a_request(), Budget(10))

        with place, pytest.raises(NobodyAnswered):
            place.open(a_request(), Budget(10))

        assert gate.load() == IDLE

    def test_counts_as_a_streams_once_that_is_known(self, admitted, gate):
        with admitted.enter(a_request(), Budget(10)) as place:
            assert gate.load().streams == 0
            stream = place.open(a_request(stream=True), Budget(10))

        assert gate.load() == Load(busy=1, waiting=0, streams=1)
        stream.close()
        assert gate.load() == IDLE

    def test_is_given_back_by_a_stream_too_many(self, upstream):
        gate = AdmissionQueue(Limits(slots=3, queue=0, wait=0.5, streams=1))
        admitted = Admission(upstream, gate)
        first = ask(admitted, stream=True)

        with pytest.raises(Overloaded, match="streams_full"):
            ask(admitted, stream=True)

        assert gate.load() == Load(busy=1, waiting=0, streams=1)
        assert [str(error) for _, error in upstream.turned_away] == ["streams_full"]
        first.close()


class TestARefusal:
    def test_is_told_with_what_is_known_of_the_request(self, admitted, upstream, gate):
        gate.limits = Limits(slots=1, queue=0, wait=0.5, streams=1)
        first = ask(admitted)

        with pytest.raises(Overloaded):
            admitted.enter(a_request(caller="late"), Budget(10))

        ((known, error),) = upstream.turned_away
        assert (known.caller, str(error)) == ("late", "queue_full")
        first.close()

    def test_comes_at_once_and_nobody_is_asked(self, admitted, gate, pool, upstream):
        first = ask(admitted)
        second = pool.submit(ask, admitted)
        until(lambda: gate.load().waiting)

        started = time.monotonic()
        with pytest.raises(Overloaded) as refused:
            ask(admitted)

        assert time.monotonic() - started < AT_ONCE
        assert refused.value.retry_after == 0.5
        assert upstream.calls == 1
        first.close()
        second.result(10).close()

    def test_comes_to_who_is_evicted_by_a_better_one(self, admitted, gate, pool):
        first = ask(admitted)
        low = pool.submit(ask, admitted, priority=Priority.LOW)
        until(lambda: gate.load().waiting)

        high = pool.submit(ask, admitted, priority=Priority.HIGH)

        with pytest.raises(Overloaded):
            low.result(10)
        first.close()
        high.result(10).close()
        assert gate.load() == IDLE

    def test_ends_the_longest_wait(self, admitted, gate):
        first = ask(admitted)

        started = time.monotonic()
        with pytest.raises(Overloaded):
            ask(admitted)

        assert 0.45 < time.monotonic() - started < 5
        first.close()
        assert gate.load() == IDLE

    def test_counts_the_wait_at_the_front_door(self, admitted):
        first = ask(admitted)

        started = time.monotonic()
        with pytest.raises(Overloaded):
            ask(admitted, waited=0.5)

        assert time.monotonic() - started < AT_ONCE
        first.close()

    def test_is_all_that_is_left_for_work_that_came_too_late(self, admitted, upstream):
        with pytest.raises(Overloaded):
            ask(admitted, seconds=-1.0, waited=37.0)

        assert upstream.calls == 0

    def test_ends_a_wait_at_the_deadline(self, admitted):
        first = ask(admitted)

        with pytest.raises(Overloaded):
            ask(admitted, seconds=0.05)

        first.close()

    def test_spares_a_process_that_is_short_of_memory(self, upstream, gate):
        admitted = Admission(upstream, gate, is_short=lambda: True)

        with pytest.raises(Overloaded):
            ask(admitted)

        assert (upstream.calls, gate.load()) == (0, IDLE)


def test_a_caller_who_leaves_the_queue_frees_his_place_within_a_slice(gate, upstream):
    admitted = Admission(upstream, gate)
    gate.limits = Limits(slots=1, queue=1, wait=60.0, streams=1)
    first = ask(admitted)
    asked = []

    def has_left():
        asked.append(time.monotonic())
        if len(asked) > 1:
            raise CallerGone

    with pytest.raises(CallerGone):
        ask(admitted, seconds=60.0, checks=[has_left])

    assert gate.load() == Load(busy=1, waiting=0, streams=0)
    assert 0.2 < asked[1] - asked[0] < 5, "neither late nor a storm of questions"
    first.close()
