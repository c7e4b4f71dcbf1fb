import threading

import pytest

from app.gateway.chain.big_work import BIG, BigWork, TooLate


def test_what_is_big_is_done_one_after_the_other():
    work = BigWork()

    with work.take(BIG, 1.0), pytest.raises(TooLate), work.take(BIG, 0.01):
        raise AssertionError("two at once")


def test_what_is_small_waits_for_nobody():
    work = BigWork()

    with work.take(BIG, 1.0), work.take(BIG - 1, 0.0):
        pass


def test_a_turn_is_over_when_it_breaks():
    work = BigWork()
    with pytest.raises(ZeroDivisionError), work.take(BIG, 1.0):
        raise ZeroDivisionError

    with work.take(BIG, 0.0):
        pass


def test_whoever_waits_comes_next():
    work, done = BigWork(), threading.Event()

    def wait():
        with work.take(BIG, 10.0):
            done.set()

    with work.take(BIG, 1.0):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not done.is_set()
    waiting.join(10)

    assert done.is_set()
