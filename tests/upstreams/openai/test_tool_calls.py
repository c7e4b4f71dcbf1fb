"""The pieces of tool calls in all the ways in which servers tell them."""

import json
from time import thread_time

import pytest

from app.gateway.errors import BadReply
from app.gateway.records.merge_choices import ChoiceMerger
from app.upstreams.openai.tool_calls import MOST_CALLS, ToolCalls


def piece(arguments=None, name=None, **labels):
    function = {"name": name, "arguments": arguments}
    said = {key: value for key, value in function.items() if value is not None}
    return labels | ({"function": said} if said else {})


def told(*deltas):
    """What a client puts together of deltas, each a list of pieces; and the verdict."""
    calls, merger = ToolCalls(), ChoiceMerger()
    for delta in deltas:
        part = calls.of_delta({"tool_calls": delta})
        merger.add([{"index": 0, "delta": part}])
    (choice,) = merger.choices()
    return choice["delta"]["tool_calls"], calls.are_whole("tool_calls")


def names_and_arguments(calls):
    return [
        (c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls
    ]


TEA, MILK = '{"q": "tea"}', '{"q": "milk"}'
ONE, TWO = [("f", {"q": "tea"})], [("f", {"q": "tea"}), ("f", {"q": "milk"})]
OTHERS = [("f", {"q": "tea"}), ("g", {"q": "milk"})]


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        # In pieces, without any index; labels once, or in each piece.
        ([[piece('{"q":', "f", id="a")], [piece(' "tea"}')]], ONE),
        ([[piece('{"q":', "f", id="a")], [piece(' "tea"}', "f", id="a")]], ONE),
        ([[piece('{"q":', "f")], [piece(' "tea"}', "f")]], ONE),
        ([[piece("", "f", id="a")], [piece(TEA)]], ONE),
        # The same with an index, and an id of its own for each piece.
        ([[piece('{"q":', "f", index=0)], [piece(' "tea"}', "f", index=0)]], ONE),
        ([[piece('{"q":', "f", index=0, id="a")], [piece(' "tea"}', index=0)]], ONE),
        (
            [
                [piece('{"q":', "f", index=0, id="a")],
                [piece(' "tea"}', index=0, id="b")],
            ],
            ONE,
        ),
        (
            [
                [piece('{"q":', "f", index=0, id="a")],
                [piece(' "tea"}', "f", index=0, id="b")],
            ],
            ONE,
        ),
        ([[piece(TEA, "f", index=0)], [piece("", "f", index=0)]], ONE),
        # An empty object first, or the whole once more at the end.
        ([[piece("{}", "f", index=0, id="a")], [piece(TEA, index=0)]], ONE),
        (
            [
                [piece('{"q":', "f", index=0)],
                [piece(' "tea"}', index=0)],
                [piece(TEA, index=0)],
            ],
            ONE,
        ),
        ([[piece("{}", "f", id="a")], [piece(TEA, id="a")]], ONE),
        # A name in pieces.
        ([[piece("", "look_", index=0)], [piece(TEA, "up", index=0)]], None),
        # Two calls, told apart by ids, by names, or by whole arguments.
        ([[piece(TEA, "f", id="a")], [piece(MILK, "f", id="b")]], TWO),
        ([[piece(TEA, "f", id="a"), piece(MILK, "f", id="b")]], TWO),
        ([[piece(TEA, "f", index=0, id="a"), piece(MILK, "f", index=0, id="b")]], TWO),
        ([[piece(TEA, "f", index=0)], [piece(MILK, "g", index=0)]], OTHERS),
        ([[piece(TEA, "f", index=0)], [piece(MILK, "f", index=0)]], TWO),
        ([[piece(TEA, "f")], [piece(MILK, "f")]], TWO),
        ([[piece(TEA, "f", id="x")], [piece(MILK, "g", id="x")]], OTHERS),
        ([[piece(TEA, "f", index=1)], [piece(MILK, "f", index=7)]], TWO),
        # Two that alternate, by index or by id.
        (
            [
                [piece('{"q":', "f", index=0), piece('{"q":', "f", index=1)],
                [piece(' "milk"}', index=1)],
                [piece(' "tea"}', index=0)],
            ],
            TWO,
        ),
        (
            [
                [piece('{"q":', "f", id="a")],
                [piece(' "tea"}', id="a")],
                [piece('{"q":', "f", id="b")],
                [piece(' "milk"}', id="b")],
            ],
            TWO,
        ),
        # A text in which signs of JSON stand, cut behind a sign of escape.
        ([[piece('{"q": "\\', "f", index=0)], [piece('"}"}', "f", index=0)]], None),
        # Arguments as an object, and said beside the function's name.
        ([[piece({"q": "tea"}, "f", id="a")]], ONE),
        ([[piece({}, "f", index=0)], [piece(TEA, index=0)]], ONE),
        ([[{"id": "a", "name": "f", "arguments": {"q": "tea"}}]], ONE),
    ],
)
def test_pieces_are_numbered_and_labelled_as_clients_read_them(deltas, expected):
    calls, are_whole = told(*deltas)

    assert are_whole
    assert [call["index"] for call in calls] == list(range(len(calls)))
    assert all(call["type"] == "function" and call["id"] for call in calls)
    assert len({call["id"] for call in calls}) == len(calls) or "x" in calls[0]["id"]
    if expected is None:
        assert len(calls) == 1
        assert json.loads(calls[0]["function"]["arguments"])
    else:
        assert names_and_arguments(calls) == expected


def test_id_type_and_name_are_told_once():
    calls = ToolCalls()
    repeated = piece("x", "f", index=0, id="a", type="function")

    first, second = (calls.of_delta({"tool_calls": [repeated]}) for _ in range(2))

    assert first["tool_calls"] == [repeated]
    assert second["tool_calls"] == [{"index": 0, "function": {"arguments": "x"}}]


def test_a_name_in_pieces_is_put_together():
    calls, _ = told([piece("", "look_", index=0)], [piece(TEA, "up", index=0)])

    assert names_and_arguments(calls) == [("look_up", {"q": "tea"})]


def test_what_else_is_said_of_a_call_is_handed_on():
    more = {"extra_content": {"google": {"thought_signature": "s"}}}

    calls, _ = told([piece(TEA, "f", index=3, **more)])

    assert calls[0]["extra_content"] == more["extra_content"]


@pytest.mark.parametrize("shell", [{}, {"index": 0, "type": "function"}, piece("", "")])
def test_a_shell_that_says_nothing_is_no_call(shell):
    assert ToolCalls().of_delta({"role": "x", "tool_calls": [shell]}) == {"role": "x"}


class TestOfMessages:
    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({"q": "té"}, '{"q": "té"}'),
            ({}, "{}"),
            (None, "{}"),
            ("", "{}"),
            (TEA, TEA),
            ({"n": float("nan")}, '{"n": null}'),
        ],
    )
    def test_arguments_are_a_text(self, arguments, text):
        calls = ToolCalls()

        part = calls.of_message({"tool_calls": [piece(arguments, "f", id="a")]})

        function = {"name": "f", "arguments": text}
        assert part["tool_calls"] == [
            {"id": "a", "type": "function", "function": function}
        ]
        assert calls.are_whole("tool_calls")

    def test_each_member_is_a_call_of_its_own(self):
        calls = ToolCalls()

        part = calls.of_message({"tool_calls": [piece(TEA, "f"), piece(TEA, "f")]})

        first, second = part["tool_calls"]
        assert first["id"] != second["id"]
        assert first["function"] == second["function"]

    def test_a_single_call_may_stand_without_a_list(self):
        part = ToolCalls().of_message({"tool_calls": piece(TEA, "f", id="a")})

        assert part["tool_calls"][0]["function"]["arguments"] == TEA

    def test_a_call_of_the_old_kind_gets_a_text_too(self):
        part = ToolCalls().of_message({"function_call": {"name": "f", "arguments": {}}})

        assert part["function_call"] == {"name": "f", "arguments": "{}"}

    def test_a_custom_call_is_handed_on_as_it_is(self):
        call = {"id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}

        assert ToolCalls().of_message({"tool_calls": [call]})["tool_calls"] == [call]


def test_more_calls_than_anybody_makes_are_no_answer():
    calls = ToolCalls()
    many = [piece(TEA, "f", id=str(i)) for i in range(MOST_CALLS + 1)]

    with pytest.raises(BadReply, match="too_large"):
        calls.of_delta({"tool_calls": many})


def test_a_name_in_each_of_many_pieces_costs_no_more_than_its_arguments():
    def seconds(pieces):
        calls, began = ToolCalls(), thread_time()
        calls.of_delta({"tool_calls": [piece('{"q": "', "f", index=0)]})
        for _ in range(pieces):
            calls.of_delta({"tool_calls": [piece('\\"{}', "f", index=0)]})
        return thread_time() - began

    seconds(100)
    assert seconds(16_000) < 40 * max(seconds(1000), 0.001)


@pytest.mark.parametrize("said", ["", "{}", " ", None])
def test_a_call_without_arguments_ends_with_some_that_are_json(said):
    calls = ToolCalls()
    calls.of_delta({"tool_calls": [piece(said, "f", index=0, id="a")]})
    calls.of_delta({"tool_calls": [piece(TEA, "g", index=1, id="b")]})

    (end,) = calls.rest("tool_calls")["tool_calls"]

    assert end == {"index": 0, "function": {"arguments": "{}"}}
    assert not calls.rest("length")
    assert not calls.rest(None)


@pytest.mark.parametrize("reason", ["stop", "function_call", "tool_calls"])
def test_calls_end_with_the_word_of_their_own_kind(reason):
    calls, legacy = ToolCalls(), ToolCalls()
    calls.of_delta({"tool_calls": [piece(TEA, "f", index=0)]})
    legacy.of_delta({"function_call": {"name": "f", "arguments": TEA}})

    assert calls.ending(reason) == "tool_calls"
    assert legacy.ending(reason) == "function_call"
