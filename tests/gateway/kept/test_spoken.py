"""An answer goes into bytes and comes out as it was."""

import pytest

from app.gateway.chat import Attempt, ChatReply, Delta, Seam, Usage
from app.gateway.kept.reuse import Said
from app.gateway.kept.spoken import Spoken
from app.gateway.replies import as_whole

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
REPLY = ChatReply(
    "Hi \ud800 日本",
    "switch",
    "m",
    Usage(3, 4, {"total_tokens": 7}),
    "tool_calls",
    "read_timeout",
    extra={"fingerprint": [1.0, None, float("inf")]},
    left_out=("tools",),
    body=b"\x00\xff",
    choices=({"index": 0, "finish_reason": "tool_calls"},),
    said=Said("a" * 32, "c", "s", 1.5, 2.5, 0.1, 0.2, 1.0, (Attempt("m", None, 1.0),)),
)
PIECES = (
    Delta("Hi "),
    Delta("\ud800 ", ({"index": 0, "delta": {"tool_calls": [CALL]}},), {"x": 1}),
    Delta("日本", seam=Seam("madre", 5)),
)


def back(spoken):
    return Spoken.of_bytes(spoken.to_bytes())


def test_nothing_is_lost():
    spoken = Spoken(REPLY, PIECES, is_streamed=True, model="", usage=Usage(3))

    assert back(spoken) == spoken


def test_a_text_that_is_not_what_its_pieces_say_is_kept_apart():
    spoken = Spoken(
        ChatReply("", "e", "m", body=b"[1]"), (Delta("x"),), False, "", Usage()
    )

    assert back(spoken).reply.text == ""


@pytest.fixture
def streamed():
    ends = ({"index": 0, "finish_reason": "stop"},)
    reply = ChatReply("Hi there", "s", "m", Usage(1, 2), choices=ends)
    pieces = tuple(
        Delta(text, ({"index": 0, "delta": {"content": text}},))
        for text in ("Hi", " there")
    )
    return Spoken(reply, pieces, is_streamed=True, model="", usage=Usage())


def test_a_stream_comes_again_piece_by_piece(streamed):
    stream = streamed.again(streamed.reply, is_streamed=True)

    assert (stream.reply.model, stream.reply.usage) == ("", Usage())
    with stream:
        assert tuple(stream) == streamed.pieces
    assert stream.reply == streamed.reply
    assert stream.is_repeated


def test_a_stream_is_whole_for_whom_wants_that(streamed):
    reply = streamed.again(streamed.reply, is_streamed=False).collect()

    assert reply == as_whole(streamed.reply, streamed.pieces)
    assert reply.choices[0]["message"]["content"] == "Hi there"


def test_a_whole_answer_is_a_stream_for_whom_wants_that():
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    choices = ({"index": 0, "message": message, "finish_reason": "tool_calls"},)
    reply = ChatReply("", "s", "m", Usage(1, 2), "tool_calls", choices=choices)
    spoken = Spoken(reply, (Delta(""),), is_streamed=False, model="m", usage=Usage(1))

    with spoken.again(reply, is_streamed=True) as stream:
        (delta,) = stream

    assert delta.choices[0]["delta"]["tool_calls"] == [CALL | {"index": 0}]
    assert stream.reply.choices == ({"index": 0, "finish_reason": "tool_calls"},)
