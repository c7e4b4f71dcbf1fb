"""Bodies of servers of Anthropic's wire in odd wrappings, and how large they may be."""

import json
from itertools import repeat

import pytest

from app.gateway.budget import Budget
from app.gateway.errors import BadReply, Interrupted
from app.upstreams.anthropic.upstream import AnthropicUpstream
from app.upstreams.openai.upstream import Limits
from sandbox.anthropic import event
from tests.support.fakes import a_request
from tests.upstreams.raw_server import answering

SHORT = Limits(total=5.0, first_token=1.0, idle=1.0)
BOM = b"\xef\xbb\xbf"
USAGE = {"input_tokens": 7, "output_tokens": 5}
SAYS = {"type": "text", "text": "Hello"}
MESSAGE = {"type": "message", "model": "m", "content": [SAYS]}
WHOLE = json.dumps(MESSAGE | {"stop_reason": "end_turn", "usage": USAGE}).encode()
DONE = event("message_stop")


def events(*deltas, **block):
    block = {"type": "text", "text": ""} | block
    return b"".join(
        [
            event("message_start", message={"model": "m", "usage": USAGE}),
            event("content_block_start", index=0, content_block=block),
            *deltas,
            event("content_block_stop", index=0),
            event("message_delta", delta={"stop_reason": "end_turn"}, usage={}),
            DONE,
        ]
    )


def more(text, kind="text_delta", name="text"):
    delta = {"type": kind, name: text}
    return event("content_block_delta", index=0, delta=delta)


def thought(text):
    return more(text, "thinking_delta", "thinking")


STREAM = events(more("Hel"), more("lo"))


def answer(body, kind="application/json", status="200 OK"):
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n"
    told = f"Content-Type: {kind}\r\n" if kind else ""
    return f"{head}{told}Connection: close\r\n\r\n".encode() + body


@pytest.fixture
def ask(serve, transport):
    """Ask a server that gives this answer; return the whole reply."""

    def start(given, limits=SHORT, stream=False):
        upstream = AnthropicUpstream(
            name="claude",
            url=serve(answering(given)).url,
            limits=limits,
            transport=transport,
        )
        request = a_request(stream=stream, wants_choices=True)
        return upstream.open(request, Budget(5.0)).collect()

    return start


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


class TestBodies:
    @both
    @pytest.mark.parametrize("body", [WHOLE, STREAM], ids=["json", "events"])
    @pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "", "x"])
    def test_the_body_tells_what_it_is(self, ask, body, kind, stream):
        reply = ask(answer(body, kind), stream=stream)

        assert (reply.text, reply.finish_reason) == ("Hello", "stop")

    @both
    @pytest.mark.parametrize("body", [WHOLE, STREAM])
    def test_a_page_is_never_an_answer(self, ask, body, stream):
        with pytest.raises(BadReply, match="bad_content_type") as caught:
            ask(answer(body, "text/html"), stream=stream)

        assert caught.value.status == 200

    @both
    @pytest.mark.parametrize("body", [WHOLE, STREAM])
    def test_marks_and_blanks_before_it_say_nothing(self, ask, body, stream):
        assert ask(answer(BOM + b"\n" + body), stream=stream).text == "Hello"

    def test_a_stream_that_nobody_asked_for_is_whole_or_none(self, ask):
        with pytest.raises(BadReply, match="truncated") as caught:
            ask(answer(STREAM.removesuffix(DONE)))

        assert caught.value.status == 200

    @pytest.mark.parametrize("status", ["201 Created", "203 Odd"])
    def test_a_success_with_an_answer_in_it_is_one(self, ask, status):
        assert ask(answer(WHOLE, status=status)).text == "Hello"

    def test_a_character_in_two_halves_is_one(self, ask):
        first = more("aHALF").replace(b"HALF", rb"\ud83d")
        second = more("HALFb").replace(b"HALF", rb"\ude00")

        assert ask(answer(events(first, second)), stream=True).text == "a\U0001f600b"

    def test_half_a_character_loses_no_answer(self, ask):
        whole = WHOLE.replace(b"Hello", rb"Hello\ud83d")

        assert ask(answer(whole)).text == "Hello\ufffd"


class TestSize:
    @both
    @pytest.mark.parametrize("body", [WHOLE, STREAM])
    def test_no_more_is_read_than_may_be(self, ask, body, stream):
        small = Limits(total=5.0, first_token=1.0, idle=1.0, size=len(body) - 1)

        with pytest.raises(BadReply, match="too_large"):
            ask(answer(body), small, stream=stream)

    @pytest.mark.parametrize(
        "stream",
        [
            events(*repeat(more("x" * 1000), 30)),
            events(*repeat(thought("x" * 1000), 60), type="thinking", thinking=""),
        ],
        ids=["text", "thoughts"],
    )
    def test_what_is_kept_of_a_stream_is_bounded(self, ask, stream):
        limits = Limits(total=5.0, first_token=1.0, idle=1.0, size=100_000)

        with pytest.raises(Interrupted, match="too_large"):
            ask(answer(stream), limits, stream=True)
