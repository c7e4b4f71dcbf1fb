"""What leaves an answer to chance is not answered from memory."""

import pytest

from app.gateway.kept.chance import is_left_to_chance


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"temperature": 0},
        {"temperature": 0.0, "top_p": 0.5},
        {"temperature": None},
        {"temperature": 0.7, "seed": 1},
        {"temperature": 0.7, "seed": 0},
        {"temperature": 1, "random_seed": 5},
        {"n": 1},
        {"n": None},
        {"top_p": 1},
        {"top_p": 1.0, "top_k": 1},
        {"max_tokens": 5, "tools": [], "stop": ["a"]},
    ],
)
def test_the_same_may_be_said_again(extra):
    assert not is_left_to_chance(extra)


@pytest.mark.parametrize(
    "extra",
    [
        {"temperature": 0.7},
        {"temperature": 1},
        {"temperature": "0.7"},
        {"temperature": True},
        {"temperature": [0]},
        {"n": 2},
        {"n": 2, "seed": 1},
        {"best_of": 3, "temperature": 0},
        {"top_p": 0.9},
        {"top_k": 40},
        {"min_p": 0.05},
        {"temperature": 0.7, "seed": None},
    ],
)
def test_somebody_wants_another_answer_each_time(extra):
    assert is_left_to_chance(extra)
