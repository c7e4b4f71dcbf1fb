"""The clock of a stream, wrapped around the pieces of a made-up dialect."""

import pytest

from app.gateway.budget import Budget
from app.gateway.errors import (
    BadReply,
    Interrupted,
    NoAnswer,
    StreamLimit,
    UpstreamError,
)
from app.upstreams.words_in_time import SLICE, WordsInTime
from tests.upstreams.timed_exchange import TimedExchange

FIRST, IDLE = 5.0, 2.0
PING = b"\n"


@pytest.fixture
def words(clock):
    """Lines of words, each of which takes some seconds to come; a blank one is none."""

    def words(*pieces, seconds=30.0, lasting=None, **limits):
        budget = Budget(seconds, clock=clock)
        if lasting:
            budget = budget.streaming(lasting)
        exchange = TimedExchange(clock, pieces)
        timed = WordsInTime(
            exchange, budget, budget.within(FIRST), IDLE, clock=clock, **limits
        )
        return timed, read(timed)

    def read(timed):
        has_begun = False
        try:
            for line in timed:
                if line == PING:
                    continue
                if not has_begun:
                    timed.begin()
                    has_begun = True
                timed.renew()
                yield line
        except UpstreamError as error:
            raise timed.meaning(error) from None

    return words


def test_words_that_come_in_time_are_handed_on(words):
    _, said = words((4.9, b"a"), (1.9, b"b"), (1.9, b"c"))

    assert list(said) == [b"a", b"b", b"c"]


def test_first_words_that_are_late_are_no_answer(words, clock):
    began = clock()
    _, said = words((3.0, PING), (3.0, b"a"))

    with pytest.raises(NoAnswer, match="first_token"):
        next(said)

    assert clock() - began == pytest.approx(FIRST)


def test_a_silence_after_words_is_a_break(words):
    _, said = words((1.0, b"a"), (1.5, PING), (1.5, b"b"))
    next(said)

    with pytest.raises(Interrupted, match="stream_idle"):
        next(said)


def test_the_time_that_the_reader_takes_is_not_the_upstreams(words, clock):
    timed, said = words((1.0, b"a"), (1.9, b"b"))

    next(said)
    clock.advance(9)
    next(said)

    assert timed.unread == pytest.approx(9)


def test_the_end_of_the_budget_is_not_taken_for_silence(words):
    timed, said = words((1.0, b"a"), (1.5, b"b"), seconds=2.0)
    next(said)

    with pytest.raises(Interrupted, match="read_timeout"):
        next(said)
    assert not timed.is_silence(NoAnswer("read_timeout"))


@pytest.mark.parametrize("limit", [{"lasting": 5}, {"stream_limit": 4.0}])
def test_words_may_flow_for_so_long_and_no_longer(words, limit):
    _, said = words(*[(1.0, b"w")] * 9, **({"seconds": 3.0, "lasting": 9} | limit))

    with pytest.raises(StreamLimit):
        list(said)


def test_a_break_tells_what_came_over_the_wire(words):
    _, said = words((1.0, b"abc"), (1.0, BadReply("truncated")))
    next(said)

    with pytest.raises(Interrupted) as told:
        next(said)

    assert (told.value.received, told.value.status) == (3, 200)


def test_a_large_piece_is_handed_on_in_slices(words):
    piece = bytes(range(256)) * 100

    timed, _ = words((1.0, piece), (1.0, b"a"))

    slices = list(timed)
    assert b"".join(slices) == piece + b"a"
    assert max(map(len, slices)) <= SLICE <= 4096


def test_a_slice_is_in_hand_without_a_wait(words, clock):
    timed, _ = words((1.0, b"a" * (SLICE + 1)), (1.0, b"b"))
    assert not timed.holds_more()
    next(timed)
    began = clock()

    assert timed.holds_more()
    assert next(timed) == b"a"

    assert clock() == began
    assert not timed.holds_more()


def worked_on(timed, clock):
    """Yield the sizes of slices, each of which is a second's work for the reader."""
    for piece in timed:
        yield len(piece)
        clock.advance(1.0)


def test_no_slice_is_handed_on_after_the_deadline(words, clock):
    timed, _ = words((0.0, b"data:{}\n" * 100_000), seconds=3.0)
    taken = []

    with pytest.raises(NoAnswer, match="deadline"):
        taken.extend(worked_on(timed, clock))

    assert taken == [SLICE] * 3


def test_no_slice_of_a_stream_is_handed_on_after_its_limit(words, clock):
    timed, _ = words((0.0, b"data:{}\n" * 100_000), seconds=3.0, lasting=6.0)
    next(timed)
    timed.begin()
    taken = []

    with pytest.raises(StreamLimit):
        taken.extend(worked_on(timed, clock))

    assert taken == [SLICE] * 6
