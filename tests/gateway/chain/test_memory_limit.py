import pytest

from app.gateway.chain.memory_limit import Watermark


@pytest.fixture
def used():
    return [50]


@pytest.fixture
def mark(used, clock):
    return Watermark(100, lambda: used[0], clock)


def test_below_the_mark_chats_are_taken_on(mark):
    assert not mark()


def test_above_it_they_are_refused_until_there_is_memory_again(mark, used, clock):
    used[0] = 101
    assert mark()

    used[0] = 99
    clock.advance(0.6)
    assert not mark()


def test_the_kernel_is_not_asked_for_each_chat(clock):
    asked = []
    mark = Watermark(100, lambda: len(asked.append(1) or asked), clock)

    for _ in range(100):
        mark()

    assert len(asked) == 1
