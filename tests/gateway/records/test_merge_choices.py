from app.gateway.records.merge_choices import ChoiceMerger


def assembled(pieces):
    assembly = ChoiceMerger()
    for piece in pieces:
        assembly.add((piece,))
    return assembly.choices()


def test_pieces_of_a_tool_call_become_one():
    call = {"index": 0, "id": "c1", "type": "function"}
    pieces = [
        {"index": 0, "delta": {"role": "assistant", "content": None}},
        {
            "index": 0,
            "delta": {
                "tool_calls": [call | {"function": {"name": "f", "arguments": ""}}]
            },
        },
        {
            "index": 0,
            "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        },
        {
            "index": 0,
            "delta": {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        },
        {"index": 0, "finish_reason": "tool_calls"},
    ]

    assert assembled(pieces) == [
        {
            "index": 0,
            "delta": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    call | {"function": {"name": "f", "arguments": '{"a":1}'}}
                ],
            },
            "finish_reason": "tool_calls",
        }
    ]


def test_several_choices_stay_apart():
    def said(index, text):
        return {"index": index, "delta": {"content": text}}

    choices = assembled([said(0, "a"), said(1, "x"), said(0, "b"), said(1, "y")])

    assert [c["delta"]["content"] for c in choices] == ["ab", "xy"]


def test_nothing_comes_to_nothing():
    assert assembled([]) == []


def test_odd_shapes_are_kept_and_never_break_it():
    odd = [{"index": 0, "delta": [1, "x"]}, {"index": 0, "delta": {"content": 1}}]

    assert assembled([*odd, {"logprobs": None}])[0]["delta"] == {"content": 1}


def test_the_pieces_are_left_as_they_were():
    piece = {"index": 0, "delta": {"content": "a"}}

    assembled([piece, piece])

    assert piece == {"index": 0, "delta": {"content": "a"}}


def test_members_without_a_number_follow_one_another():
    pieces = [
        {"index": 0, "delta": {"parts": [{"text": "a"}]}},
        {"index": 0, "delta": {"parts": [{"text": "b"}, {"index": [], "text": "c"}]}},
    ]

    (choice,) = assembled(pieces)

    assert [part["text"] for part in choice["delta"]["parts"]] == ["a", "b", "c"]


def test_what_was_told_so_far_can_be_asked_for_again():
    assembly = ChoiceMerger()
    assembly.add([{"index": 0, "delta": {"content": "a"}}])
    first = assembly.choices()
    assembly.add([{"index": 0, "delta": {"content": "b"}}])

    assert first[0]["delta"] == {"content": "a"}
    assert assembly.choices()[0]["delta"] == {"content": "ab"}


def test_members_that_nothing_can_be_added_to_are_not_copied():
    first, second = {"text": "a"}, {"text": "b"}

    (choice,) = assembled([{"index": 0, "delta": {"parts": [first, second]}}])

    assert choice["delta"]["parts"] == [first, second]
    assert choice["delta"]["parts"][1] is second
