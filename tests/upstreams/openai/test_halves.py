"""Characters that a server cuts into the halves of their surrogate pairs."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.upstreams.openai.halves import Halves, mended


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (rb'"a\ud83d"', "a\ufffd"),
        (rb'"\uDE00b"', "\ufffdb"),
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600"),
        (rb'"\\ud83d"', r"\ud83d"),
        (rb'"\\\ud83d"', "\\\ufffd"),
        (rb'"\ud83d\n"', "\ufffd\n"),
    ],
)
def test_a_half_that_stands_alone_is_an_unknown_character(body, text):
    assert json.loads(mended(body)) == text


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_whole_characters_stay_as_they_are(text):
    body = json.dumps(text).encode()

    assert json.loads(mended(body)) == text


def joined(*texts):
    halves = Halves()
    told = [halves.joined({"content": text}, 0)["content"] for text in texts]
    return told, halves


def test_two_halves_in_two_events_are_one_character():
    told, _ = joined("Hi \ud83d", "\ude00!")

    assert "".join(told) == "Hi \U0001f600!"


@pytest.mark.parametrize("texts", [("a\ud83d", "b"), ("a\ud83d", "", "b")])
def test_a_half_whose_other_one_never_comes_is_an_unknown_character(texts):
    told, _ = joined(*texts)

    assert "".join(told) == "a\ufffdb"


def test_halves_of_different_places_are_not_put_together():
    halves = Halves()

    halves.joined({"index": 0, "delta": {"content": "\ud83d"}}, 0)
    told = halves.joined({"index": 1, "delta": {"content": "\ude00"}}, 1)

    assert told["delta"]["content"] == "\ufffd"
    (left,) = halves.rest()
    assert (left["index"], left["delta"]) == (0, {"content": "\ufffd"})


@given(st.lists(st.text(st.characters(exclude_categories=()), max_size=5), max_size=8))
def test_what_comes_out_can_always_be_sent(texts):
    told, _ = joined(*texts)

    "".join(told).encode()
