"""The beginning of an answer: how a server is asked to go on with it."""

import pytest

from app.gateway.budget import Budget
from app.gateway.chat import ChatRequest, Message
from app.gateway.errors import BadReply, Interrupted
from app.upstreams.openai.request.payload import payload_of
from app.upstreams.openai.upstream import Limits, OpenAIUpstream
from tests.support.fakes import a_request
from tests.support.speaker import Speaker

BEGUN = a_request("Count", stream=True).begun_with("One two")


def test_it_is_the_last_message_and_marked_in_all_ways():
    assert payload_of(BEGUN, "m") == {
        "model": "m",
        "messages": [
            {"role": "user", "content": "Count"},
            {"role": "assistant", "content": "One two", "prefix": True},
        ],
        "continue_final_message": True,
        "add_generation_prompt": False,
    }


def test_the_caller_cannot_have_the_beginning_ended():
    extra = {"continue_final_message": False, "add_generation_prompt": True}
    request = a_request(extra=extra).begun_with("One")

    assert payload_of(request, "")["continue_final_message"] is True
    assert payload_of(request, "")["add_generation_prompt"] is False


def test_an_answer_of_the_callers_own_is_no_beginning():
    conversation = (Message("user", "Count"), Message("assistant", "One"))
    request = ChatRequest(conversation, session_id="s", correlation_id="c")

    assert payload_of(request, "") == {
        "messages": [
            {"role": "user", "content": "Count"},
            {"role": "assistant", "content": "One"},
        ]
    }


@pytest.fixture
def ask(transport):
    def ask(request, *script):
        with Speaker(b"", *script) as speaker:
            upstream = OpenAIUpstream(
                name="s", url=speaker.url, limits=Limits(), transport=transport
            )
            return upstream.open(request, Budget(10)).collect()

    return ask


def test_nothing_may_follow_a_beginning_that_was_all(ask):
    reply = ask(BEGUN)

    assert (reply.text, reply.finish_reason) == ("", "stop")


def test_elsewhere_nothing_is_no_answer(ask):
    with pytest.raises((BadReply, Interrupted), match="empty"):
        ask(a_request("Count", stream=True))
