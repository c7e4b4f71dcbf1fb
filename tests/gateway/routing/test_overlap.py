"""What of a continuation is new."""

import pytest

from app.gateway.routing.overlap import Overlap

SAID = "One two "


def heard(said, *pieces):
    """All that is handed on of a continuation that comes in such pieces."""
    overlap = Overlap(said)
    return "".join([*map(overlap.beyond, pieces), overlap.rest()])


@pytest.mark.parametrize(
    ("continuation", "adds"),
    [
        ("three", "three"),
        (" three", "three"),
        ("One two three", "three"),
        ("One two\nthree", "\nthree"),
        ("One two", ""),
        ("One two ", ""),
        ("One too", "One too"),
        ("One tw", "One tw"),
        ("One, two", "One, two"),
        ("", ""),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 50])
def test_what_was_said_is_not_said_again(continuation, adds, size):
    pieces = [continuation[at : at + size] for at in range(0, len(continuation), size)]

    assert heard(SAID, *pieces) == adds


@pytest.mark.parametrize(
    ("said", "continuation", "adds"),
    [
        ("Code:\n\n    ", "\n\n    x = 1", "x = 1"),
        ("Code:\n\n    ", "\n\n        x = 1", "    x = 1"),
        ("Code:\n\n", "\nx = 1", "x = 1"),
        ("Code:", "\n\nx = 1", "\n\nx = 1"),
        (" \n", " \n\nHello", "\nHello"),
        (" \n", "Hello", "Hello"),
    ],
)
@pytest.mark.parametrize("size", [1, 4, 50])
def test_the_space_at_the_seam_is_not_doubled(said, continuation, adds, size):
    pieces = [continuation[at : at + size] for at in range(0, len(continuation), size)]

    assert heard(said, *pieces) == adds


def test_the_prefill_has_no_space_at_its_end():
    assert Overlap("One two \n").prefill == "One two"


def test_a_long_repetition_is_cut_off_in_linear_time():
    said = "word " * 200_000

    assert heard(said, *said, "more") == "more"
