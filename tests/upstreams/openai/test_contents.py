"""The content of a message as parts: each kind goes where clients look for it."""

import pytest

from app.upstreams.openai.contents import PARTS, with_text

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
SOUND = {"type": "audio", "audio": {"id": "a", "data": "QUJD", "transcript": "hi"}}
REFERENCE = {"type": "reference", "reference_ids": [1]}


@pytest.mark.parametrize(
    ("content", "members"),
    [
        (
            [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            {"content": "ab"},
        ),
        ([{"type": "output_text", "text": "a"}], {"content": "a"}),
        (["a", {"text": "b"}], {"content": "ab"}),
        ({"type": "text", "text": "a"}, {"content": "a"}),
        ([], {"content": None}),
        (
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "a"},
            ],
            {"content": "a", "reasoning_content": "hm"},
        ),
        ([{"type": "thinking", "thinking": "hm"}], {"reasoning_content": "hm"}),
        ([{"type": "reasoning", "text": "hm"}], {"reasoning_content": "hm"}),
        ([{"type": "refusal", "refusal": "no"}], {"refusal": "no", "content": None}),
        ([PICTURE], {"images": [PICTURE], "content": None}),
        ([SOUND], {"audio": SOUND["audio"]}),
        (["a", REFERENCE], {"content": "a", PARTS: [REFERENCE]}),
        ([{"type": "text", "text": 5}], {PARTS: [{"type": "text", "text": 5}]}),
    ],
)
def test_each_part_goes_where_clients_look_for_its_kind(content, members):
    part = with_text({"role": "assistant", "content": content})

    assert part == {"role": "assistant", "content": None} | members


@pytest.mark.parametrize("content", ["text", "", None, 5, [5], [{"type": 5}], [[]]])
def test_all_else_stays_as_it_is(content):
    part = {"content": content}

    assert with_text(part) is part


def test_what_the_message_has_already_is_not_told_twice():
    content = [{"type": "thinking", "thinking": "hm"}, PICTURE, "a"]
    told = {"reasoning": "hm", "images": [PICTURE]}

    assert with_text({"content": content, **told}) == {"content": "a", **told}


def test_parts_within_parts_are_not_followed_for_ever():
    deep = "hm"
    for _ in range(2000):
        deep = [{"thinking": deep}]

    with_text({"content": [{"type": "thinking", "thinking": deep}]})
