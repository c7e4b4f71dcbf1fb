import json
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway import strict_json
from app.gateway.strict_json import ValueCounter, holds_more_values

encode = strict_json.encoder(separators=(",", ":"))


def test_numbers_that_json_has_no_words_for_are_null():
    value = {"a": [nan, -inf, 1.5, (inf,)], "b": {"c": inf, "d": "NaN"}}

    assert encode(value) == '{"a":[null,null,1.5,[null]],"b":{"c":null,"d":"NaN"}}'


def test_everything_else_is_as_python_writes_it():
    value = {"a": [1, 2.5, None, True, "\u00e9"]}

    assert encode(value) == json.dumps(value, separators=(",", ":"))


texts = st.text('"\\\\,[{}]:ab\n\u00e9', max_size=8)
values = st.recursive(
    st.none() | st.integers() | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=30,
)


def number_of(value):
    """The values in it, as bounds count them: an empty list is two."""
    if not isinstance(value, list | dict):
        return 0
    members = value if isinstance(value, list) else value.values()
    return max(1, len(members)) + sum(map(number_of, members))


@given(values, st.integers(1, 40), st.booleans())
def test_values_are_counted_however_they_come_in(value, size, is_ascii):
    text = json.dumps(value, ensure_ascii=is_ascii).encode()
    counter = ValueCounter()

    for start in range(0, len(text), size):
        counter.feed(text[start : start + size])

    assert counter.found == number_of(value)


@pytest.mark.parametrize("start", [b'{"a":"', b'{"', b'["a","b'])
def test_signs_in_a_text_without_an_end_are_no_values(start):
    assert not holds_more_values(start + b'[{,\\"' * 1000, 2)


def test_a_bound_is_the_most_that_is_let_through():
    text = json.dumps([0] * 100_000).encode()

    assert not holds_more_values(text, 100_000)
    assert holds_more_values(text, 99_999)
