"""Text completions and embeddings: what a server is asked, and what is an answer."""

import json
from base64 import b64encode
from hashlib import sha256

import pytest

from app.gateway.abilities import COMPLETIONS, EMBEDDINGS
from app.gateway.budget import Budget
from app.gateway.chat import ChatRequest, Message, Usage
from app.gateway.errors import BadReply, UpstreamError
from app.upstreams.openai.upstream import Limits, OpenAIUpstream
from tests.upstreams.raw_server import JSON_HEAD

LIMITS = Limits(total=5.0, first_token=2.0, idle=2.0)
EVENTS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
)
FLOATS = b64encode(b"\0" * 8).decode()


@pytest.fixture
def ask(serve, transport):
    """Ask a server that answers this; return its reply and what it was asked."""

    def ask(answer, *texts, **fields):
        heard = []

        def script(peer):
            request = peer.read_request()
            heard.extend(request.split(b"\r\n\r\n", 1))
            peer.send(answer)

        upstream = OpenAIUpstream(
            name="e",
            url=f"http://127.0.0.1:{serve(script).port}/v1",
            limits=LIMITS,
            transport=transport,
        )
        request = ChatRequest(
            messages=tuple(Message("user", text) for text in texts),
            session_id="s",
            correlation_id="c",
            wants_choices=True,
            **fields,
        )
        return upstream.open(request, Budget(10)).collect(), heard

    return ask


def in_json(value):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return JSON_HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def vectors(*vectors, **more):
    data = [{"index": i, "embedding": v} for i, v in enumerate(vectors)]
    return {"object": "list", "model": "e5", "data": data} | more


class TestEmbeddings:
    def test_they_are_handed_on_as_they_came(self, ask):
        usage = {"prompt_tokens": 7, "total_tokens": 7}
        body = json.dumps(vectors([0.5, -1], [1, 2.25], usage=usage)).encode()

        reply, _ = ask(in_json(body), "a", "b", task=EMBEDDINGS)

        assert (reply.body, reply.model, reply.usage) == (body, "e5", Usage(7))
        assert reply.text == (
            f"2 embeddings of 2 numbers, SHA-256 {sha256(body).hexdigest()}"
        )

    def test_base64_is_told_by_its_numbers(self, ask):
        reply, _ = ask(in_json(vectors(FLOATS)), "a", task=EMBEDDINGS)

        assert reply.text.startswith("1 embeddings of 2 numbers")

    @pytest.mark.parametrize(
        ("tokens", "count"), [([1, 2, 3], 1), ([[1, 2], [3]], 2)], ids=["one", "list"]
    )
    def test_tokens_are_asked_for_as_they_are(self, ask, tokens, count):
        answer = in_json(vectors(*[FLOATS] * count))

        reply, _ = ask(answer, task=EMBEDDINGS, extra={"input": tokens})

        assert reply.text.startswith(f"{count} embeddings")

    @pytest.mark.parametrize(
        ("answer", "fault"),
        [
            (vectors([0.5]), "truncated"),
            (vectors(), "empty"),
            (vectors([0.5, 1], [0.5]), "truncated"),
            (vectors(FLOATS, FLOATS[:4]), "truncated"),
            (vectors([], []), "schema"),
            (vectors(None, None), "schema"),
            (vectors(["1"], ["1"]), "schema"),
            (vectors([True], [True]), "schema"),
            (vectors([10**400], [1]), "schema"),
            (vectors("%%%%", "%%%%"), "schema"),
            ({"data": {"a": 1}}, "schema"),
            ({"data": [1, 2]}, "schema"),
            (b'{"data": [{"embedding": [NaN]}, {"embedding": [1]}]}', "bad_json"),
            (
                b'{"x": NaN, "data": [{"embedding": [2]}, {"embedding": [1]}]}',
                "bad_json",
            ),
            (b'{"data": [{"embedding": [1e999]}, {"embedding": [1]}]}', "schema"),
            ({"error": {"message": "it broke"}}, "upstream_error"),
        ],
    )
    def test_less_than_was_asked_for_is_no_answer(self, ask, answer, fault):
        with pytest.raises(BadReply) as caught:
            ask(in_json(answer), "a", "b", task=EMBEDDINGS)

        assert caught.value.fault == fault

    def test_more_numbers_than_a_chat_may_have_are_fine(self, ask):
        body = vectors(*[[0.5] * 1000] * 500)

        reply, _ = ask(in_json(body), *["a"] * 500, task=EMBEDDINGS)

        assert reply.text.startswith("500 embeddings of 1000 numbers")


FULL = {"index": 0, "text": "b", "finish_reason": "stop"}


def chunk(text, reason=None):
    choice = {"index": 0, "text": text, "finish_reason": reason, "logprobs": None}
    return b"data: " + json.dumps({"model": "m1", "choices": [choice]}).encode()


class TestTextCompletions:
    def test_a_whole_one(self, ask):
        choice = {"index": 0, "text": " a + b", "finish_reason": "length"}
        usage = {"prompt_tokens": 3, "completion_tokens": 4}

        reply, _ = ask(
            in_json({"model": "m1", "choices": [choice], "usage": usage}),
            "add:",
            task=COMPLETIONS,
        )

        assert (reply.text, reply.model) == (" a + b", "m1")
        assert (reply.finish_reason, reply.usage) == ("length", Usage(3, 4))

    def test_a_streamed_one(self, ask):
        lines = [chunk(" a"), chunk(" + b"), chunk("", "stop"), b"data: [DONE]"]

        reply, _ = ask(
            EVENTS + b"\n\n".join([*lines, b""]), "add:", task=COMPLETIONS, stream=True
        )

        assert (reply.text, reply.finish_reason) == (" a + b", "stop")

    def test_what_it_says_of_each_choice_comes_along(self, ask):
        probable = {"tokens": [" a"], "token_logprobs": [-0.5]}
        choices = [
            {"index": i, "text": text, "finish_reason": "stop", "logprobs": probable}
            for i, text in enumerate((" a", " b"))
        ]

        reply, _ = ask(
            in_json({"choices": choices}), "x", task=COMPLETIONS, extra={"n": 2}
        )

        assert [c["message"]["content"] for c in reply.choices] == [" a", " b"]
        assert reply.choices[1]["logprobs"] == probable

    @pytest.mark.parametrize("stream", [False, True])
    def test_one_that_is_cut_is_no_answer(self, ask, stream):
        cut = [{"index": 0, "text": " a", "finish_reason": None}] * 2
        whole = in_json({"choices": [cut[0], cut[1] | {"index": 1}]})
        streamed = EVENTS + chunk(" a") + b"\n\n"

        with pytest.raises(UpstreamError) as caught:
            ask(streamed if stream else whole, "x", task=COMPLETIONS, stream=stream)

        assert caught.value.fault == "truncated"


@pytest.mark.parametrize(
    ("task", "path", "said", "answer"),
    [
        (COMPLETIONS, b"/completions", {"prompt": "a"}, {"choices": [FULL]}),
        (EMBEDDINGS, b"/embeddings", {"input": ["a"]}, vectors([0.5])),
    ],
)
def test_it_is_asked_at_the_path_of_its_task(ask, task, path, said, answer):
    _, [head, body] = ask(in_json(answer), "a", task=task, extra={"dimensions": 2})

    assert head.startswith(b"POST /v1" + path + b" HTTP/1.1")
    assert json.loads(body) == said | {"dimensions": 2}
