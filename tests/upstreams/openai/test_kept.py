"""How much of an answer is kept, and that what models really say fits into it."""

import json
import tracemalloc
from contextlib import suppress

import pytest

from app.gateway.chat import ChatReply
from app.gateway.errors import BadReply
from app.gateway.records.content import Content, ContentPolicy
from app.gateway.records.merge_choices import ChoiceMerger
from app.gateway.records.redaction import Redactor
from app.upstreams.http.transport import MAX_BODY, Answer
from app.upstreams.openai import chunks
from app.upstreams.openai.kept import KeptSize
from app.upstreams.openai.sse import MAX_EVENT as MAX_STREAM
from app.upstreams.openai.upstream import OBJECT
from app.upstreams.replies import parse

MOST_MEMORY = 50_000_000
POLICY = ContentPolicy(Content.FULL, Redactor(["a-token-for-tests"]), b"k" * 32)


def told(number, others=20):
    """A token with its probability, and the others that it might have been."""
    text = f" t{number % 1000}"
    one = {"token": text, "logprob": -1 / (number + 3), "bytes": [*text.encode()]}
    more = [one | {"logprob": -number - 0.1 * n} for n in range(others)]
    return one | {"top_logprobs": more}


def event(delta=None, **more):
    choice = {"index": 0, "delta": delta or {}, "finish_reason": None} | more
    frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1}
    said = frame | {"model": "m", "system_fingerprint": None, "choices": [choice]}
    return json.dumps(said, separators=(",", ":")).encode()


def keep(events):
    """Take in a stream's events and make their record, as far as they are let in."""
    size, merger = KeptSize(), ChoiceMerger()
    try:
        for data in events:
            size.add(data)
            merger.add(chunks.choices_of(chunks.parsed(data, bytes), "delta"))
    finally:
        stored = POLICY.reply(ChatReply("", "u", "m"), merger, within=60.0)
    return json.loads(stored.text)["choices"]


def answer(message):
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return json.dumps({"choices": [choice]}, separators=(",", ":")).encode()


def read(body):
    value = parse(Answer(200, body, len(body)), OBJECT)
    reply = chunks.whole_reply(value, "u", "m", chunks.ANYTHING)
    return POLICY.reply(reply, None, len(body), within=60.0)


def peak_of(work):
    tracemalloc.start()
    try:
        with suppress(BadReply):
            work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_stream_of_4000_tokens_with_20_others_each_is_kept_whole():
    tokens = [told(number) for number in range(4000)]

    (choice,) = keep(event({"content": "t"}, logprobs={"content": [t]}) for t in tokens)

    # `token` is a word for secrets, too.
    assert [t["bytes"] for t in choice["logprobs"]["content"]] == [
        token["bytes"] for token in tokens
    ]


def test_a_stream_of_80000_thoughts_is_kept_whole():
    size = KeptSize()

    for _ in range(80_000):
        size.add(event({"reasoning_content": "hm, "}, logprobs=None))


def test_text_has_an_end():
    size = KeptSize()
    for _ in range(1_048_576):
        size.add_text("word")

    with pytest.raises(BadReply, match="too_large"):
        size.add_text(".")


def test_thoughts_have_an_end():
    size = KeptSize()
    thought = event({"reasoning_content": "m" * 1_000_000})
    for _ in range(8):
        size.add(thought)

    with pytest.raises(BadReply, match="too_large"):
        size.add(thought)


def dense(inner):
    """As many events as fit into a stream, each with as much as one may hold."""
    delta = b'{"choices":[{"delta":{"x":[%s]}}]}'
    data = delta % b",".join([inner] * min(14_000, 900_000 // len(inner)))
    return [data] * (MAX_STREAM // len(data))


STREAMS = {
    "lists": lambda: dense(b"[]"),
    "objects": lambda: dense(b'{"":0}'),
    "small events": lambda: [b'{"choices":[{"delta":{"x":[[],[]]}}]}'] * 100_000,
}


@pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)
def test_a_stream_grows_no_worker_by_more_than_it_may(make):
    events = make()

    assert peak_of(lambda: keep(events)) < MOST_MEMORY


WHOLE = {
    "tokens with others": lambda: {"content": "t", "x": [told(n) for n in range(1150)]},
    "numbers": lambda: {"content": "t", "x": [-0.017 * n for n in range(1536)]},
    "a picture": lambda: {"content": "data:image/png;base64," + "A" * 2_000_000},
}


@pytest.mark.parametrize("make", WHOLE.values(), ids=WHOLE)
def test_what_models_say_is_read(make):
    body = answer(make())
    assert len(body) <= MAX_BODY

    assert not read(body).is_cut


HOSTILE = {
    "objects": answer({"content": "Hi", "x": [{"": 0}] * 200_000}),
    "as many objects as may be": answer({"content": "Hi", "x": [{"": 0}] * 99_000}),
    "names": answer({"content": "Hi", "x": {f"{n:06}": 0 for n in range(180_000)}}),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_an_answer_grows_no_worker_by_more_than_it_may(body):
    assert peak_of(lambda: read(body)) < MOST_MEMORY
