import json
import string
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.replay.comparison import MOST_WORDS, compared, differences


def a_call(name, arguments):
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def choices(*calls, part="message", **more):
    return [{"index": 0, part: {"tool_calls": list(calls), **more}}]


def compare(a_record, before, after):
    return compared(a_record(**before), a_record(**after))


def test_equal_answers_are_the_same_in_everything(a_record):
    found = compare(a_record, {}, {})

    assert found.likeness == 1.0
    assert found.is_same_outcome
    assert found.is_same_finish
    assert found.is_same_tools


def test_texts_are_compared_word_by_word(a_record):
    found = compare(
        a_record,
        {"reply": {"text": "The sea is blue today"}},
        {"reply": {"text": "The sea is very green today"}},
    )

    told = [(piece.kind, piece.text) for piece in found.pieces]
    assert told == [
        ("same", "The sea is"),
        ("gone", " blue"),
        ("new", " very green"),
        ("same", " today"),
    ]
    assert found.likeness == pytest.approx(8 / 11)


TEXTS = st.text(alphabet="ab \n\t\N{NO-BREAK SPACE}", max_size=60)


@given(TEXTS, TEXTS)
def test_the_pieces_are_both_texts(before, after):
    pieces = list(differences(before, after))

    assert "".join(p.text for p in pieces if p.kind != "new") == before
    assert "".join(p.text for p in pieces if p.kind != "gone") == after


def test_too_many_differences_are_told_as_a_whole(a_record):
    was, now = (" ".join(f"{letter}{n}" for n in range(MOST_WORDS)) for letter in "ab")
    found = compare(
        a_record,
        {"reply": {"text": f"Same {was} shared end"}},
        {"reply": {"text": f"Same {now} new shared end"}},
    )

    assert [piece.kind for piece in found.pieces] == ["same", "gone", "new", "same"]
    assert found.likeness == pytest.approx(6 / (2 * MOST_WORDS + 7))


def test_arguments_are_compared_as_the_values_that_they_are(a_record):
    told = json.dumps({"city": "Oslo", "days": 2})
    other = '{"days":2, "city":"Oslo"}'

    found = compare(
        a_record,
        {"reply": {"text": "", "choices": choices(a_call("weather", told))}},
        {
            "reply": {
                "text": "",
                "choices": choices(a_call("weather", other), part="delta"),
            }
        },
    )

    assert found.is_same_tools


@pytest.mark.parametrize(
    "call",
    [
        a_call("weather", '{"city": "Bergen"}'),
        a_call("wetter", '{"city": "Oslo"}'),
        a_call("weather", '{"city": "Oslo"'),
        {"function": "odd"},
    ],
)
def test_another_call_is_another_answer(a_record, call):
    first = choices(a_call("weather", '{"city": "Oslo"}'))

    found = compare(
        a_record,
        {"reply": {"text": "", "choices": first}},
        {"reply": {"text": "", "choices": choices(call)}},
    )

    assert not found.is_same_tools


@pytest.mark.parametrize("odd", ['["\\ud800"]', "[" * 300 + "]" * 300, "9" * 5000])
def test_arguments_that_cannot_be_told_as_json_are_a_text(a_record, odd):
    said = {"text": "", "choices": choices(a_call("weather", odd))}

    found = compare(a_record, {"reply": said}, {"reply": said})

    assert found.is_same_tools
    assert found.after.tools[0].arguments == odd


def test_a_finish_reason_is_that_of_a_whole_answer(a_record):
    found = compare(a_record, {}, {"reply": {"text": "Hi", "finish_reason": "length"}})

    assert (found.before.finish_reason, found.after.finish_reason) == ("stop", "length")
    assert not found.is_same_finish


def test_no_answer_is_another_outcome(a_record):
    failed = {
        "outcome": "failed",
        "code": "upstream_unavailable",
        "reply": {"text": ""},
    }

    found = compare(a_record, {}, failed)

    assert not found.is_same_outcome
    assert found.after.finish_reason is None
    assert found.likeness == 0.0


def test_words_that_are_not_kept_are_not_compared(a_record):
    found = compare(a_record, {}, {"reply": {"hmac_sha256": "00", "bytes": 3}})

    assert found.likeness is None
    assert found.pieces == ()


def test_the_time_does_not_grow_with_what_an_upstream_chooses(a_record):
    """As many words as a record may hold, in an order that is hard to compare."""
    letters = string.ascii_lowercase
    numbers = count()
    was = " ".join(letters[next(numbers) % 7] for _ in range(60_000))
    now = " ".join(letters[next(numbers) % 11] for _ in range(60_000))

    found = compare(a_record, {"reply": {"text": was}}, {"reply": {"text": now}})

    assert len(found.pieces) <= 2 * MOST_WORDS
