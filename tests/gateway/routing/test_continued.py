"""How another upstream goes on with a broken answer in its own words."""

import pytest

from app.gateway.abilities import IMAGES, JSON, MULTIPLE, PREFILL
from app.gateway.budget import Budget
from app.gateway.chat import Delta, Message, Seam, StreamMode
from app.gateway.errors import ContentFiltered, Interrupted, Refused, Rejected
from app.gateway.handler import Outcome
from app.gateway.routing.router import ChatRouter
from tests.support.fakes import FakeUpstream, a_request

CUT = Interrupted("truncated", status=200, received=9)
ALL = frozenset({PREFILL, JSON, MULTIPLE, IMAGES})


@pytest.fixture
def first(clock):
    upstream = FakeUpstream("first", deltas=("One ", "two "), clock=clock)
    upstream.breaks_with = CUT
    return upstream


@pytest.fixture
def second(clock):
    return FakeUpstream("second", deltas=("drei", " vier"), clock=clock)


@pytest.fixture
def third(clock):
    return FakeUpstream("third", deltas=("trois",), clock=clock)


@pytest.fixture
def open_stream(clock):
    def open_stream(*upstreams, able=("first", "second", "third"), **fields):
        router = ChatRouter(upstreams, clock, abilities=dict.fromkeys(able, ALL))
        asked = {"stream": True, "stream_mode": StreamMode.CONTINUE} | fields
        return router.open(a_request(**asked), Budget(36, clock=clock))

    return open_stream


def told(attempts):
    return [(one.upstream, one.fault, one.from_character) for one in attempts]


def cut_short(stream):
    with pytest.raises(Interrupted, match="truncated"):
        stream.collect()
    return stream.reply


def tool_call(text=""):
    call = {"index": 0, "id": "c", "function": {"name": "look", "arguments": "{}"}}
    return Delta(text, ({"index": 0, "delta": {"tool_calls": [call]}},))


def test_the_next_one_is_given_what_was_said_and_goes_on(open_stream, first, second):
    stream = open_stream(first, second)

    deltas = list(stream)

    assert [delta.text for delta in deltas] == ["One ", "two ", "drei", " vier"]
    assert [d.seam for d in deltas] == [None, None, Seam("second", 8), None]
    asked = second.asked[0]
    assert asked.is_begun
    assert asked.messages == (Message("user", "Hello"), Message("assistant", "One two"))
    assert not first.asked[0].is_begun
    reply = stream.reply
    assert (reply.text, reply.upstream) == ("One two drei vier", "second")
    assert reply.degraded_by == "truncated"
    assert told(reply.attempts) == [("first", "truncated", 0), ("second", None, 8)]
    assert stream.outcome is Outcome.COMPLETED


def test_who_cannot_go_on_is_not_asked(open_stream, first, second, third):
    stream = open_stream(first, second, third, able=("third",))

    assert stream.collect().text == "One two trois"
    assert second.calls == 0


def test_where_nobody_can_it_is_a_live_stream(open_stream, first, second):
    second.deltas = ("One two three",)
    stream = open_stream(first, second, able=())

    deltas = list(stream)

    assert "".join(d.text for d in deltas) == "One two three"
    assert not any(d.seam for d in deltas)
    assert not second.asked[0].is_begun
    assert told(stream.reply.attempts)[1] == ("second", None, None)


@pytest.mark.parametrize(
    "error",
    [
        Rejected("upstream_rejected", status=400),
        ContentFiltered("content_filter", status=400),
        Refused("http_5xx", status=500),
    ],
    ids=lambda error: error.fault,
)
def test_who_rejects_the_beginning_is_passed_over(
    open_stream, first, second, third, error
):
    second.fail(error)
    stream = open_stream(first, second, third)

    assert stream.collect().text == "One two trois"
    assert told(stream.reply.attempts) == [
        ("first", "truncated", 0),
        ("second", error.fault, None),
        ("third", None, 8),
    ]


def test_when_all_reject_it_the_error_is_that_of_the_break(open_stream, first, second):
    second.fail(Rejected("upstream_rejected", status=400))

    reply = cut_short(open_stream(first, second))

    assert reply.text == "One two "


def test_who_breaks_too_is_gone_on_with(open_stream, first, second, third):
    second.breaks_with = CUT
    stream = open_stream(first, second, third)

    deltas = list(stream)

    assert third.asked[0].messages[-1].content == "One two drei vier"
    assert len(third.asked[0].messages) == 2
    assert deltas[-1].seam == Seam("third", 17)
    assert told(stream.reply.attempts) == [
        ("first", "truncated", 0),
        ("second", "truncated", 8),
        ("third", None, 17),
    ]


def test_what_was_held_back_of_one_who_breaks_was_never_said(
    open_stream, first, second, third
):
    second.deltas, second.breaks_with = ("One t",), CUT

    assert open_stream(first, second, third).collect().text == "One two trois"
    assert third.asked[0].messages[-1].content == "One two"


@pytest.mark.parametrize(
    ("says", "whole"),
    [
        (("One", " two", " three"), "One two three"),
        (("One two",), "One two "),
        (("One", " day"), "One two One day"),
        (("On",), "One two On"),
        (("",), "One two "),
    ],
)
def test_a_repeated_beginning_is_cut_off(open_stream, first, second, says, whole):
    second.deltas = says

    assert open_stream(first, second).collect().text == whole


def test_a_tool_call_behind_what_was_held_back_comes_through(
    open_stream, first, second
):
    second.deltas = ("One",)
    second._speak = lambda: iter((Delta("One"), tool_call()))

    deltas = list(open_stream(first, second))

    assert [d.text for d in deltas] == ["One ", "two ", "One", ""]
    assert deltas[-1].choices == tool_call().choices


@pytest.mark.parametrize(
    "fields",
    [
        {"needs": frozenset({JSON})},
        {"needs": frozenset({MULTIPLE})},
        {"stream_mode": StreamMode.LIVE},
    ],
    ids=repr,
)
def test_what_is_more_than_one_free_text_is_not_gone_on_with(
    open_stream, first, second, fields
):
    cut_short(open_stream(first, second, **fields))

    assert not second.asked[0].is_begun


def test_nothing_goes_on_in_the_midst_of_a_tool_call(open_stream, first, second):
    def speak():
        yield tool_call()
        raise CUT

    first._speak = speak

    cut_short(open_stream(first, second))

    assert second.calls == 0


def test_an_answer_that_the_caller_began_is_not_begun_again(first, second, clock):
    router = ChatRouter([first, second], clock, abilities={"second": ALL})
    request = a_request(stream=True, stream_mode=StreamMode.CONTINUE)
    request = request.begun_with("Well, ")

    with pytest.raises(Interrupted):
        router.open(request, Budget(36, clock=clock)).collect()

    assert len(second.asked[0].messages) == 2


def test_one_who_broke_before_a_word_is_followed_as_ever(open_stream, first, second):
    first.deltas = ()
    first.fail(Refused("http_5xx", status=503))
    stream = open_stream(first, second)

    assert stream.collect().text == "drei vier"
    assert not second.asked[0].is_begun
    assert told(stream.reply.attempts)[1] == ("second", None, None)
