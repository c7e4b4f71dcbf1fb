"""Answers in the shapes that servers really send, asked as callers ask."""

import gzip
import json
import zlib
from threading import Event

import pytest

from app.gateway.budget import Budget
from app.gateway.chat import THOUGHTS
from app.gateway.errors import BadReply, CallerGone, Unfit
from app.upstreams.openai.request.stream_options import REMEMBERED, StreamOptions
from app.upstreams.openai.upstream import Limits, OpenAIUpstream
from tests.support.fakes import a_request
from tests.upstreams.raw_server import answering

SHORT = Limits(total=5.0, first_token=1.0, idle=1.0)
CHOICE = {"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}
WHOLE = json.dumps({"model": "m", "choices": [CHOICE]}).encode()
FIELDS = {"system_fingerprint": "fp", "citations": ["u"], "x_odd": {"a": [1.5]}}
BOM = b"\xef\xbb\xbf"


def chunk(reason=None, **delta):
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {"model": "m", "choices": [choice]}


def events(*chunks):
    told = [c if isinstance(c, bytes) else json.dumps(c).encode() for c in chunks]
    return b"".join(b"data: " + data + b"\n\n" for data in (*told, b"[DONE]"))


STREAM = events(chunk(content="Hel"), chunk(content="lo"), chunk("stop"))


def answer(body, kind="application/json", status="200 OK"):
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n"
    told = f"Content-Type: {kind}\r\n" if kind else ""
    return f"{head}{told}Connection: close\r\n\r\n".encode() + body


@pytest.fixture
def ask(serve, transport):
    """Ask a server that gives this answer; return the whole reply."""

    def start(given, limits=SHORT, stream=False, **fields):
        url = serve(answering(given)).url
        upstream = OpenAIUpstream(
            name="vllm", url=url, limits=limits, transport=transport
        )
        request = a_request(stream=stream, wants_choices=True, **fields)
        return upstream.open(request, Budget(5.0)).collect()

    return start


def message_of(reply):
    return reply.choices[0]["message"] if reply.choices else {"content": reply.text}


class TestBodies:
    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    @pytest.mark.parametrize("body", [WHOLE, STREAM], ids=["json", "events"])
    @pytest.mark.parametrize(
        "kind",
        ["application/json", "text/event-stream", "", "text/plain", "odd", "a/b;c"],
    )
    def test_the_body_tells_what_it_is(self, ask, body, kind, stream):
        reply = ask(answer(body, kind), stream=stream)

        assert (reply.text, reply.finish_reason) == ("Hello", "stop")

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    @pytest.mark.parametrize("body", [WHOLE, STREAM, b"Hello"])
    def test_a_page_is_never_an_answer(self, ask, body, stream):
        with pytest.raises(BadReply, match="bad_content_type") as caught:
            ask(answer(body, "text/html; charset=utf-8"), stream=stream)

        assert caught.value.status == 200

    @pytest.mark.parametrize("body", [b"Hello", b"", b"<p>", b"hi: there"])
    def test_a_text_is_none_either(self, ask, body):
        with pytest.raises(BadReply, match="bad_content_type"):
            ask(answer(body, "text/plain"))

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    @pytest.mark.parametrize("body", [WHOLE, STREAM], ids=["json", "events"])
    @pytest.mark.parametrize(
        ("coding", "pack"),
        [
            ("gzip", gzip.compress),
            ("deflate", zlib.compress),
            ("utf-8", bytes),
            ("", bytes),
        ],
    )
    def test_what_nobody_asked_to_pack_is_unpacked(
        self, ask, body, coding, pack, stream
    ):
        packed = pack(body)
        status = f"200 OK\r\nContent-Encoding: {coding}"

        assert ask(answer(packed, status=status), stream=stream).text == "Hello"
        if coding == "gzip" and body is WHOLE:
            with pytest.raises(BadReply, match="truncated"):
                ask(answer(packed[:-4], status=status), stream=stream)

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    @pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "gzip"])
    def test_what_cannot_be_unpacked_is_no_answer(self, ask, coding, stream):
        status = f"200 OK\r\nContent-Encoding: {coding}"

        with pytest.raises(BadReply, match="bad_encoding"):
            ask(answer(WHOLE, status=status), stream=stream)

    def test_an_answer_that_is_whole_in_one_event_is_one(self, ask):
        whole = events(WHOLE)

        assert ask(answer(whole, "text/event-stream"), stream=True).text == "Hello"

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    @pytest.mark.parametrize("mark", [BOM, b"\n \r\n", b" " + BOM + BOM])
    def test_marks_and_blanks_before_it_say_nothing(self, ask, mark, stream):
        assert ask(answer(mark + WHOLE), stream=stream).text == "Hello"
        assert ask(answer(BOM + STREAM, "x/y"), stream=stream).text == "Hello"

    @pytest.mark.parametrize("status", ["201 Created", "203 Odd", "202 Accepted"])
    def test_a_success_with_an_answer_in_it_is_one(self, ask, status):
        assert ask(answer(WHOLE, status=status)).text == "Hello"
        assert ask(answer(STREAM, status=status), stream=True).text == "Hello"

    @pytest.mark.parametrize("status", ["204 None", "206 Part", "302 Found"])
    def test_any_other_status_is_none(self, ask, status):
        with pytest.raises(BadReply):
            ask(answer(WHOLE, status=status))

    def test_a_cut_stream_is_no_whole_answer(self, ask):
        cut = b"data: " + json.dumps(chunk(content="Hel")).encode() + b"\n\n"

        with pytest.raises(BadReply, match="truncated"):
            ask(answer(cut, "text/event-stream"))

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    def test_half_a_character_costs_no_answer(self, ask, stream):
        whole = WHOLE.replace(b"Hello", rb"Hello \ud83d")
        halved = STREAM.replace(b"Hel", rb"Hel\ud83d").replace(b'"lo', rb'"\ude00lo')
        alone = STREAM.replace(b'"lo', rb'"lo\ud83d')

        assert ask(answer(whole), stream=stream).text == "Hello \ufffd"
        assert ask(answer(halved, "x/y"), stream=stream).text == "Hel\U0001f600lo"
        assert ask(answer(alone, "x/y"), stream=stream).text == "Hello\ufffd"

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    def test_the_largest_answer_is_a_setting(self, ask, stream):
        large = b"x" * 3_000_000
        whole, streamed = (
            body.replace(b"lo", b"lo" + large) for body in (WHOLE, STREAM)
        )
        small = Limits(total=5.0, size=1_000_000)

        for body in (whole, streamed):
            assert len(ask(answer(body), stream=stream).text) > 3_000_000
            with pytest.raises(BadReply, match="too_large"):
                ask(answer(body), small, stream=stream)


class TestChoices:
    @pytest.mark.parametrize(
        "odd",
        [
            {"choices": None},
            {"choices": []},
            {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1},
            {"object": "chat.completion.chunk", "choices": [], "x": {"y": 1}},
            {"usage": None, "object": "chat.completion.chunk"},
        ],
    )
    def test_a_chunk_without_choices_costs_nothing(self, ask, odd):
        body = events(odd, chunk(content="Hel"), odd, chunk("stop", content="lo"), odd)

        assert ask(answer(body, "text/event-stream"), stream=True).text == "Hello"

    def test_words_outside_of_choices_are_not_just_lost(self, ask):
        odd = {"object": "chat.completion.chunk", "delta": {"content": "lost"}}
        body = events(chunk(content="Hel"), odd, chunk("stop", content="lo"))

        with pytest.raises(BadReply, match="protocol"):
            ask(answer(body, "text/event-stream"))

    @pytest.mark.parametrize("index", [{}, {"index": None}])
    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    def test_each_choice_has_a_number(self, ask, index, stream):
        said = {"content": "Hello", "reasoning": "hm"}
        choices = [{"message": said, "finish_reason": "stop"} | index]

        reply = ask(answer(json.dumps({"choices": choices}).encode()), stream=stream)

        assert reply.choices[0]["index"] == 0
        assert message_of(reply)["reasoning"] == "hm"

    @pytest.mark.parametrize("name", THOUGHTS)
    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    def test_thoughts_arrive_under_the_name_that_they_have(self, ask, name, stream):
        choice = CHOICE | {"message": {"content": "Hello", name: "hm"}}
        whole = json.dumps({"choices": [choice]}).encode()
        body = events(chunk(**{name: "hm"}), chunk("stop", content="Hello"))

        for told in (whole, body):
            message = message_of(ask(answer(told), stream=stream))
            assert (message["content"], message[name]) == ("Hello", "hm")

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    @pytest.mark.parametrize(
        "said",
        [
            {"images": [{"type": "image_url", "image_url": {"url": "data:,x"}}]},
            {"audio": {"id": "a", "data": "QUJD", "transcript": "hi"}},
            {"content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]},
            {"content": [{"type": "text", "text": "Hello"}]},
            {"content": [{"type": "video", "video": "x"}]},
        ],
    )
    def test_whatever_says_something_is_an_answer(self, ask, said, stream):
        whole = json.dumps({"choices": [CHOICE | {"message": said}]}).encode()
        body = events(chunk(**said), chunk("stop"))

        for told in (whole, body):
            text = json.dumps(message_of(ask(answer(told), stream=stream)))
            assert any(sign in text for sign in ("data:,x", "QUJD", "Hello", "video"))


class TestAround:
    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    def test_what_stands_around_the_choices_arrives(self, ask, stream):
        ours = {"id": "theirs", "object": "o", "created": 1, "error": None, "n": None}
        whole = json.dumps({**json.loads(WHOLE), **FIELDS, **ours}).encode()
        chunks = [chunk(content="Hello"), chunk("stop") | {"citations": ["u"]}]
        body = events(chunks[0] | FIELDS | ours, chunks[1])

        for told in (whole, body):
            assert ask(answer(told), stream=stream).extra == FIELDS

    def test_it_arrives_with_the_words_it_came_with_and_once(self, serve, transport):
        first = chunk(content="Hel") | {"system_fingerprint": "fp"}
        second = chunk("stop", content="lo") | {"system_fingerprint": "fp", "x": 1}
        alone = {"choices": [], "y": 2}
        server = serve(answering(answer(events(alone, first, second), "x/y")))
        upstream = OpenAIUpstream(
            name="v", url=server.url, limits=SHORT, transport=transport
        )

        deltas = list(upstream.open(a_request(stream=True), Budget(5.0)))

        assert [(d.text, dict(d.extra)) for d in deltas] == [
            ("Hel", {"y": 2, "system_fingerprint": "fp"}),
            ("lo", {"x": 1}),
        ]

    @pytest.mark.parametrize(
        ("usage", "details"),
        [
            ({"total_tokens": 3}, {}),
            ({"total_tokens": 40}, {"total_tokens": 40}),
            ({"total_tokens": "x"}, {}),
            ({"cost": 0.1, "is_byok": False}, {"cost": 0.1, "is_byok": False}),
            ({"prompt_cache_hit_tokens": 8}, {"prompt_cache_hit_tokens": 8}),
            ({"cost_details": {"a": 0.5}}, {"cost_details": {"a": 0.5}}),
            (
                {"completion_tokens_details": {"reasoning_tokens": 2, "x": None}},
                {"completion_tokens_details": {"reasoning_tokens": 2}},
            ),
        ],
    )
    def test_further_counts_are_kept_as_they_were_told(self, ask, usage, details):
        counts = {"prompt_tokens": 1, "completion_tokens": 2}
        told = {**json.loads(WHOLE), "usage": counts | usage}

        spent = ask(answer(json.dumps(told).encode())).usage

        assert (spent.input_tokens, spent.output_tokens) == (1, 2)
        assert spent.details == details


class TestStreamOptions:
    REFUSED = answer(
        b'{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],'
        b'"msg":"Extra inputs are not permitted"}]}',
        status="422 Unprocessable",
    )

    @pytest.fixture
    def strict(self, serve, transport):
        """A server that refuses stream options, by what it is asked."""
        asked = []

        def script(peer):
            request = peer.read_request()
            if request is None:
                return
            body = json.loads(request.partition(b"\r\n\r\n")[2])
            asked.append("stream_options" in body)
            is_refused = "stream_options" in body
            peer.send(self.REFUSED if is_refused else answer(STREAM, "x/y"))

        url = serve(script).url
        upstream = OpenAIUpstream(name="v", url=url, limits=SHORT, transport=transport)
        return upstream, asked

    def test_their_refusal_costs_one_more_try_once(self, strict):
        upstream, asked = strict

        for _ in range(3):
            reply = upstream.open(a_request(stream=True), Budget(5.0)).collect()
            assert reply.text == "Hello"

        assert asked == [True, False, False, False]

    def test_a_rejection_that_only_names_them_is_not_remembered(self, serve, transport):
        asked = []

        def script(peer):
            if (request := peer.read_request()) is not None:
                asked.append(b"stream_options" in request)
                peer.send(self.REFUSED)

        url = serve(script).url
        upstream = OpenAIUpstream(name="v", url=url, limits=SHORT, transport=transport)
        for _ in range(2):
            with pytest.raises(Unfit):
                upstream.open(a_request(stream=True), Budget(5.0))

        assert asked == [True, False] * 2

    def test_a_refusal_is_forgotten_after_a_while(self, clock):
        options = StreamOptions(clock)
        options.were_refused()

        assert options.options({}) == {}
        clock.advance(REMEMBERED + 1)
        assert options.options({"stream_options": {"own": 1}}) == {
            "stream_options": {"own": 1, "include_usage": True}
        }


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_caller_who_leaves_while_an_error_is_read_frees_its_connection(
    serve, transport, stream
):
    has_begun = Event()

    def script(peer):
        peer.read_request()
        peer.send(b"HTTP/1.1 400 Bad\r\nContent-Length: 9\r\n\r\n{")
        has_begun.set()
        peer.wait_for_close()

    def check():
        if has_begun.is_set():
            raise CallerGone

    server = serve(script)
    upstream = OpenAIUpstream(
        name="v", url=server.url, limits=SHORT, transport=transport
    )
    with pytest.raises(CallerGone):
        upstream.open(a_request(stream=stream), Budget(5.0, check))

    assert server.closed_by_peer.wait(2)
