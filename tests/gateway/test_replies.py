"""A whole reply and its deltas are the same reply."""

from hypothesis import given
from hypothesis import strategies as st

from app.gateway.chat import ChatReply, Delta, Usage
from app.gateway.handler import ReplyStream
from app.gateway.replies import as_deltas, as_whole

TEXTS = st.text(max_size=5)
CALLS = st.fixed_dictionaries(
    {
        "id": TEXTS,
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": TEXTS, "arguments": TEXTS}),
    }
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | TEXTS},
    optional={
        "refusal": st.none() | TEXTS,
        "reasoning_content": TEXTS,
        "tool_calls": st.none() | st.lists(CALLS, max_size=3),
        "audio": st.fixed_dictionaries({"id": TEXTS, "data": TEXTS}),
    },
)
TOKENS = st.lists(st.fixed_dictionaries({"token": TEXTS, "logprob": st.just(-0.5)}))
CHOICES = st.fixed_dictionaries(
    {"message": MESSAGES, "finish_reason": st.sampled_from(["stop", "length", None])},
    optional={"logprobs": st.none() | st.fixed_dictionaries({"content": TOKENS})},
)


@st.composite
def whole_replies(draw):
    choices = draw(st.lists(CHOICES, max_size=3))
    return ChatReply(
        draw(TEXTS),
        "vllm",
        "m",
        usage=Usage(draw(st.integers(0, 9)), 2),
        finish_reason="stop",
        choices=tuple({"index": i, **choice} for i, choice in enumerate(choices)),
    )


@given(whole_replies())
def test_a_whole_reply_as_deltas_and_back_is_the_same_reply(reply):
    assert as_whole(*as_deltas(reply)) == reply


@given(whole_replies())
def test_a_stream_of_a_whole_reply_collects_to_the_same_reply(reply):
    assert ReplyStream.whole(reply, is_streamed=True).collect() == reply


@given(whole_replies())
def test_it_does_not_matter_how_the_choices_are_divided_among_the_deltas(reply):
    streamed, (delta,) = as_deltas(reply)
    apart = [Delta("", (choice,)) for choice in delta.choices]

    assert as_whole(streamed, apart) == reply


def test_words_before_a_tool_call_are_the_content_of_its_message():
    function = {"name": "look_up", "arguments": "{}"}
    call = {"id": "c1", "type": "function", "function": function}
    deltas = [
        Delta("Let me "),
        Delta("see."),
        Delta("", ({"index": 0, "delta": {"tool_calls": [{"index": 0} | call]}},)),
        Delta(""),
    ]
    ends = ({"index": 0, "finish_reason": "tool_calls"},)
    reply = ChatReply("", "vllm", "m", choices=ends)

    whole = ReplyStream(iter(deltas), reply).collect()

    message = {"role": "assistant", "content": "Let me see.", "tool_calls": [call]}
    assert whole == reply._replace(
        text="Let me see.", choices=({**ends[0], "message": message},)
    )


def test_calls_that_a_server_numbered_alike_stay_apart():
    calls = [{"index": 0, "id": "a"}, {"index": 0, "id": "b"}]
    choice = {"index": 0, "message": {"tool_calls": calls}, "finish_reason": "stop"}

    (back,) = as_whole(*as_deltas(ChatReply("", "v", "m", choices=(choice,)))).choices

    assert back["message"]["tool_calls"] == [{"id": "a"}, {"id": "b"}]
