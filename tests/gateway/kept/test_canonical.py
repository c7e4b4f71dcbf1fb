"""No two questions are the same but where a written list says so."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.chat import ChatRequest, Message, Priority, StreamMode
from app.gateway.kept.canonical import LEFT_OUT, canonical
from app.gateway.kept.reuse import CacheControl
from tests.support.fakes import a_request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.text(min_size=1), JSON, max_size=3)
OPEN = st.sampled_from(["context", "metadata", "extra", "anthropic"])

# Another value of each field, so that one which is added later fails here.
OTHERS = {
    "messages": (Message("user", "Hello!"),),
    "caller": "somebody",
    "person": "ada",
    "context": {"a": 1},
    "metadata": {"a": 1},
    "model": "m",
    "extra": {"temperature": 0},
    "anthropic": {"thinking": {}},
    "needs": frozenset({"tools"}),
    "wants": frozenset({"tools"}),
    "wants_choices": True,
    "route": "openai",
    "task": "embeddings",
    "is_begun": True,
}
HANDED_OVER = {
    "cache_control": CacheControl(no_cache=True),
    "correlation_id": "c-2",
    "idempotency_key": "k",
    "priority": Priority.LOW,
    "session_id": "s-2",
    "size": 7,
    "stream": True,
    "stream_mode": StreamMode.VERIFIED,
}


def test_every_field_is_in_one_of_the_lists():
    known = set(ChatRequest._fields)

    assert known - {"replay"} == {*OTHERS, *LEFT_OUT}
    assert {*HANDED_OVER, "names_session"} == LEFT_OUT


@pytest.mark.parametrize("name", OTHERS)
def test_a_field_that_differs_makes_another_question(name):
    one = a_request()

    assert canonical(one) != canonical(one._replace(**{name: OTHERS[name]}))


@pytest.mark.parametrize("name", HANDED_OVER)
def test_how_and_how_soon_it_is_answered_makes_none(name):
    one = a_request()

    assert canonical(one) == canonical(one._replace(**{name: HANDED_OVER[name]}))


def test_a_session_counts_where_the_caller_has_named_it():
    one, other = (
        a_request(session_id=name, names_session=True) for name in ("s-1", "s-2")
    )

    assert canonical(one) != canonical(other)
    assert canonical(one) != canonical(a_request(session_id="s-1"))


@given(name=OPEN, one=OBJECTS, other=OBJECTS)
def test_unknown_fields_that_differ_make_another_question(name, one, other):
    same = as_text(one) == as_text(other)
    asked = [canonical(a_request(**{name: value})) for value in (one, other)]

    assert (asked[0] == asked[1]) == same


@given(name=OPEN, value=OBJECTS, key=st.text(min_size=1), more=JSON)
def test_one_field_more_makes_another_question(name, value, key, more):
    if key in value and as_text(value[key]) == as_text(more):
        return
    other = {**value, key: more}

    one, two = (canonical(a_request(**{name: said})) for said in (value, other))

    assert one != two


def as_text(value):
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize(
    "other",
    [
        [Message("user", "a"), Message("user", "b")],
        [Message("user", "b"), Message("user", "a")],
        [Message("user", "ab")],
        [Message("assistant", "ab")],
        [Message("user", "ab", {"role": "user", "content": "ab", "name": "x"})],
        [Message("user", "ab", anthropic={"is_error": True})],
    ],
)
def test_messages_are_taken_whole(other):
    every = canonical(a_request()._replace(messages=tuple(other)))
    plain = canonical(a_request()._replace(messages=(Message("user", "a b"),)))

    assert every != plain


def test_the_order_of_members_does_not_matter_and_their_kind_does():
    def asked(extra):
        return canonical(a_request(extra=extra))

    assert asked({"a": 1, "b": 2}) == asked({"b": 2, "a": 1})
    assert len({asked({"a": one}) for one in (1, 1.0, True, "1")}) == 4


def test_words_that_utf_8_lacks_are_no_obstacle():
    assert canonical(a_request("\ud800")) != canonical(a_request("?"))


def test_what_json_lacks_is_refused():
    with pytest.raises(TypeError):
        canonical(a_request(extra={"a": object()}))
