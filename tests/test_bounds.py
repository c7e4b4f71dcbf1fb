"""Work whose size a stranger chooses: twice the bytes are twice the work, no more.

Each hostile input, of a caller or of an upstream, is doubled. The time is that of the
processor in this thread, the best of a few runs. The two sizes take turns, so that a
processor that others slow down is as slow for either.
"""

import gc
import json
import tracemalloc
from contextlib import suppress
from itertools import chain
from math import inf
from time import thread_time

import pytest

from app.gateway.chain.counted import estimate
from app.gateway.chat import ChatReply, Priority, StreamMode
from app.gateway.errors import BadReply, Unfit
from app.gateway.records.content import Content, ContentPolicy
from app.gateway.records.merge_choices import ChoiceMerger
from app.gateway.records.redaction import Redactor
from app.upstreams.anthropic.blocks import Blocks
from app.upstreams.anthropic.request import payload
from app.upstreams.http.transport import Answer
from app.upstreams.openai import chunks
from app.upstreams.openai.errors.meanings import refusal
from app.upstreams.openai.sse import EventParser
from app.upstreams.openai.tool_calls import ToolCalls
from app.upstreams.openai.upstream import OBJECT
from app.upstreams.replies import parse
from app.web.request.errors import InvalidBody
from app.web.request.values import MOST_VALUES, parsed
from app.web.schemas import chat as schemas
from app.web.schemas import openai as openai_schemas
from app.web.schemas.anthropic import request as anthropic_schemas
from app.web.schemas.facts import Facts

DOUBLE = 2.3
TRIES = 8
MEGABYTE = 1_000_000
POLICY = ContentPolicy(Content.FULL, Redactor(["a-token-for-tests"]), b"k" * 32)


@pytest.fixture(scope="module", autouse=True)
def _little_to_look_through():
    """What other tests have left in memory is not looked through for each of these."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def costs(*jobs, times=3):
    """Seconds of the processor for each job; the best of several times, in turns."""
    best = [inf] * len(jobs)
    gc.collect()
    gc.disable()
    try:
        for turn in [*range(len(jobs))] * times:
            work, given = jobs[turn]
            began = thread_time()
            work(given)
            best[turn] = min(best[turn], thread_time() - began)
    finally:
        gc.enable()
    return best


def times_as_much(work, large, base, small, bound):
    """How many times the cost of `small` to `base` the work on `large` costs.

    What is above the bound is measured again: noise goes away, and growth stays.
    """
    ours = its = inf
    for _ in range(TRIES):
        first, second = costs((base, small), (work, large))
        its, ours = min(its, first), min(ours, second)
        if (ratio := min(second / first, ours / its)) <= bound:
            break
    return ratio


def growth(work, make, size):
    """By how much the work grows where its input doubles."""
    return times_as_much(work, make(2 * size), work, make(size), DOUBLE)


def filled(unit, size, between=","):
    return between.join([unit] * (size // (len(unit) + len(between))))


def numbered(template, size):
    """A list of members that differ in the number that stands in them."""
    return ",".join(template % n for n in range(size // (len(template) + 4)))


def listed(unit, size):
    return "[" + filled(unit, size) + "]"


def named(template, size):
    return "{" + numbered(template, size) + "}"


def said(text):
    return b'{"message":"%s"}' % text.encode()


def context(value):
    return b'{"message":"x","context":{"a":%s}}' % value.encode()


def completion(messages='{"role":"user","content":"x"}', more=""):
    return b'{"messages":[%s]%s}' % (messages.encode(), more.encode())


def message(content):
    return completion('{"role":"user","content":' + content + "}")


NATIVE = {
    "text": lambda n: said(filled("plain words", n, " ")),
    "escapes": lambda n: said("x" + filled("\\n", n, "")),
    "escaped quotes": lambda n: said("x" + filled('\\"', n, "")),
    "no end": lambda n: b'{"message":"' + b'\\"' * (n // 2),
    "commas": lambda n: said(filled("a,", n, "")),
    "controls": lambda n: said("x" + filled("\\\\u0000", n, "")),
    "numbers": lambda n: context(listed("1", n)),
    "exponents": lambda n: context(listed("1e10", n)),
    "long numbers": lambda n: context(f"[{filled('9' * 4000, n)}]"),
    "lists": lambda n: context(listed("[]", n)),
    "deep": lambda n: context('{"":' * 60 + listed("[]", n) + "}" * 60),
    "too deep": lambda n: context("[" * 190 + filled('""', n) + "]" * 190),
    "brackets": lambda n: context(listed("[" * 50 + "]" * 50, n)),
    "objects": lambda n: context(listed('{"": 0}', n)),
    "keys": lambda n: context(named('"key%05d":0', n)),
    "long keys": lambda n: context('{"%s":0}' % ("k" * n)),
    "sensitive keys": lambda n: context(named('"password%05d":"abc"', n)),
}
OPENAI = {
    "numbers for messages": lambda n: completion(filled("1", n)),
    "messages": lambda n: completion(filled('{"role":"user","content":"x"}', n)),
    "parts": lambda n: message(listed('{"type": "text", "text": "x"}', n)),
    "bad parts": lambda n: message(listed("1", n)),
    "odd parts": lambda n: message(listed('{"type": []}', n)),
    "tools": lambda n: completion(
        more=',"tools":' + listed('{"type":"function","function":{}}', n)
    ),
    "bad tools": lambda n: completion(more=',"tools":' + listed("1", n)),
    "unknown fields": lambda n: completion(more="," + numbered('"x%05d":0', n)),
}
ANTHROPIC = {
    "blocks": lambda n: message(listed('{"type": "text", "text": "x"}', n)),
    "bad blocks": lambda n: message(listed("1", n)),
    "odd blocks": lambda n: message(listed('{"type": []}', n)),
    "results": lambda n: message(
        listed('{"type":"tool_result","tool_use_id":"x","content":"y"}', n)
    ),
    "pictures": lambda n: message(
        listed('{"type":"image","source":{"type":"url","url":"x"}}', n)
    ),
    "documents": lambda n: message(
        '[{"type":"document","source":{"type":"content","content":'
        + listed('{"type":"text","text":"x"}', n)
        + "}}]"
    ),
    "tools of Anthropic": lambda n: completion(
        more=',"tools":' + listed('{"name":"f","input_schema":{}}', n)
    ),
    "bad tools of Anthropic": lambda n: completion(more=',"tools":' + listed("{}", n)),
}


def read_native(body):
    asked = schemas.ChatRequest.parse(parsed(body, schemas.NUL)).to_request(
        facts_of(body), stream=False
    )
    POLICY.request(asked)


def facts_of(body):
    return Facts(
        session_id="s",
        names_session=True,
        correlation_id="c",
        caller="c",
        mode=StreamMode.LIVE,
        priority=Priority.LOW,
        size=len(body),
    )


def read_openai(body):
    value = parsed(body)
    asked = openai_schemas.CompletionRequest.parse(value).to_request(
        value, facts_of(body)
    )
    POLICY.request(asked)


def read_anthropic(body):
    value = parsed(body)
    asked = anthropic_schemas.MessagesRequest.parse(value).to_request(
        value, facts_of(body)
    )
    POLICY.request(asked)
    with suppress(Unfit):
        payload(asked, "m", 100)
    estimate(asked)


told = []  # characters of each refusal


def or_refused(read):
    def tried(body):
        try:
            read(body)
        except InvalidBody as error:
            told.append(len(repr(error.fields)))

    return tried


REQUESTS = [
    *((name, or_refused(read_native), make) for name, make in NATIVE.items()),
    *((name, or_refused(read_openai), make) for name, make in OPENAI.items()),
    *((name, or_refused(read_anthropic), make) for name, make in ANTHROPIC.items()),
]


@pytest.mark.parametrize(
    ("work", "make"),
    [(work, make) for _, work, make in REQUESTS],
    ids=[name for name, *_ in REQUESTS],
)
class TestRequests:
    # Of the smaller size the double is still read, and too small to be counted; of the
    # larger one, most of what has many values is not read.
    @pytest.mark.parametrize("size", [14_000, 500_000])
    def test_twice_the_body_is_twice_the_work(self, work, make, size):
        assert growth(work, make, size) <= DOUBLE

    def test_a_megabyte_costs_about_what_plain_text_does(self, work, make):
        plain = said(filled("a @ key", MEGABYTE, " "))

        ratio = times_as_much(work, make(MEGABYTE), or_refused(read_native), plain, 4)

        assert ratio <= 4

    def test_whatever_is_wrong_is_told_in_few_words(self, work, make):
        told.clear()

        work(make(MEGABYTE))

        assert max(told, default=0) < 1000

    def test_a_megabyte_makes_few_megabytes(self, work, make):
        body = make(MEGABYTE)

        tracemalloc.start()
        try:
            work(body)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert peak < 16 * MEGABYTE


# Beginnings, without their ends, of what redaction looks for: each could be looked
# at again from the next one on.
NAMES = (
    "-----BEGIN A", "-----BEGIN A-----", "eyJ-", "eyJaaaaaaaa.", "bearer ", "Bearer\t ",
    "authorization:", "authorization=basic ", "Authorization: a", "cookie:",
    "cookie: a=", "Cookie: a.", "sk-", "sk_a", "github_pat_", "://a:", "://a:b", "@",
    "a@b.", "a.", "a@b.c", "%+", "password=", "password='", "password=\\'", "password ",
    "password is ", "password_", "password-a_b", 'secret=\\\\\\"', "secret=null ",
    "api_key", "access_key=`a\\", 'token"', "token = ", "xtoken='", "xtoken=",
    "xtoken=a1", "token: a1b2c3d4", "token is ", "1 ", "1-2", "1234.", "12", "1234 ",
    "vx11_", "a-token-for-test", "a-token-for-tests", "pwd: ", "pass: a ", "Pwd=",
    "secret is a ", "<password a", "<password>x</", '"name":"password",',
    '"a_pin":', '"a-', '"key":"',
    '"name":"password","value":"', "://:", "://a:b@", "a@1.", "sk-a-", "SG.a1.", "4 ",
    "4111 1111 1111 1112\n", "4444 ", "1 1 1 1 1 1 1 1 1 1 1 1 x", "4111,", "\u0664 ",
    "4\u200b",
)  # fmt: skip


@pytest.mark.parametrize("tail", ["", "("])
@pytest.mark.parametrize("name", NAMES)
def test_twice_the_text_takes_twice_as_long_to_redact(name, tail):
    def make(size):
        return filled(name, size, "") + tail

    assert growth(Redactor(["a-token-for-tests"]).text, make, 20_000) <= DOUBLE


def choice(index=0, **delta):
    return {"index": index, "delta": delta}


def assemble(pieces):
    assembly = ChoiceMerger()
    for piece in pieces:
        assembly.add((piece,))
    POLICY.reply(ChatReply("", "u", "m"), assembly)


PIECES = {
    "choices": lambda n: [choice(i, content="a") for i in range(n)],
    "tool calls": lambda n: [choice(tool_calls=[{"index": i}]) for i in range(n)],
    "arguments": lambda n: [
        choice(tool_calls=[{"index": 0, "function": {"arguments": "a"}}])
        for _ in range(n)
    ],
    "unnumbered": lambda n: [choice(parts=[{"text": "a"}]) for _ in range(n)],
    "behind a long text": lambda n: [
        choice(reasoning="a" * 500_000),
        *(choice(reasoning="b") for _ in range(n)),
    ],
    "names": lambda n: [choice(**{f"name{i}": "a"}) for i in range(n)],
}


@pytest.mark.parametrize("make", PIECES.values(), ids=PIECES)
def test_twice_the_deltas_are_twice_the_work(make):
    assert growth(assemble, make, 4000) <= DOUBLE


def glue(names):
    calls = ToolCalls()
    with suppress(BadReply):
        for name in names:
            calls.of_delta({"tool_calls": [{"index": 0, "function": {"name": name}}]})


def test_a_name_in_twice_the_pieces_is_twice_the_work():
    def make(size):
        return ["name" * 250 + str(piece) for piece in range(size)]

    assert growth(glue, make, 1000) <= DOUBLE


def sign(pieces):
    blocks = Blocks()
    blocks.start(0, {"type": "thinking"})
    told = [blocks.more(0, piece) for piece in pieces]
    return [*told, blocks.stop(0)]


def test_a_thought_that_is_signed_twice_as_often_is_twice_the_work():
    def make(size):
        thoughts = [{"thinking": "thought " * size}] * 2
        return thoughts + [{"signature": "s"}] * size

    assert growth(sign, make, 2000) <= DOUBLE


def test_a_thought_is_told_once_however_often_it_is_signed():
    deltas = sign([{"thinking": "Hm"}, {"signature": "s"}, {"signature": "t"}])

    told = [delta.choices[0]["delta"] for delta in deltas if delta.choices]
    thought = {"type": "thinking", "thinking": "Hm", "signature": "st"}
    assert told == [{"reasoning_content": "Hm"}, {"thinking_blocks": [thought]}]


def feed(stream):
    parser = EventParser()
    pieces = (stream[at : at + 65536] for at in range(0, len(stream), 65536))
    try:
        for _ in chain.from_iterable(map(parser.feed, pieces)):
            parser.strays.clear()
    except BadReply:
        pass


LINES = (b"\n", b":\n", b"x\n", b"data\n", b"data:{}\n\n", b"\r", b"id\n", b"event:x\n")
STREAMS = {
    **{repr(line): lambda n, line=line: line * (n // len(line)) for line in LINES},
    "marks": lambda n: b"\xef\xbb\xbf" * (n // 3) + b"\n",
    "marked data": lambda n: b"\xef\xbb\xbf" * (n // 3) + b"data: x\n\n",
}


@pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)
def test_twice_the_event_stream_is_twice_the_work(make):
    assert growth(feed, make, 300_000) <= DOUBLE


def read_whole(body):
    answer = Answer(200, body, len(body))
    try:
        value = parse(answer, OBJECT)
        reply = chunks.whole_reply(value, "u", "m", chunks.ANYTHING)
    except BadReply:
        return
    POLICY.reply(reply, None, len(body))


def answer_with(value):
    return (
        b'{"choices":[{"index":0,"finish_reason":"stop","message":'
        b'{"content":"Hi","x":%s}}]}' % value.encode()
    )


ANSWERS = {
    "lists": lambda n: answer_with(listed("[]", n)),
    "objects": lambda n: answer_with(listed('{"": 0}', n)),
    "texts": lambda n: answer_with(listed('"abcdef"', n)),
    "sensitive": lambda n: answer_with(named('"password%05d":"a"', n)),
    "deep": lambda n: answer_with("[" * 150 + filled("[]", n) + "]" * 150),
    "choices": lambda n: (
        b'{"choices":[%s]}' % filled('{"message":{"content":"a"}}', n).encode()
    ),
}


@pytest.mark.parametrize("make", ANSWERS.values(), ids=ANSWERS)
def test_twice_the_answer_is_twice_the_work(make):
    assert growth(read_whole, make, 200_000) <= DOUBLE


ERRORS = {
    "lists": lambda n: b"[%s]" % filled("[]", n).encode(),
    "message": lambda n: b'{"error":{"message":[%s]}}' % filled('""', n).encode(),
    "words": lambda n: said(filled("content management context rate", n, " ")),
    "tokens": lambda n: said(filled("model tokens exceed quota not", n, " ")),
    "quotes": lambda n: said(filled("`'a 'b'c “ «", n, " ")),
    "braces": lambda n: said(filled("{'code': '", n)),
    "tags": lambda n: filled("<", n).encode(),
    "members": lambda n: b"[%s]" % filled('{"error":"{"}', n).encode(),
}


@pytest.mark.parametrize("make", ERRORS.values(), ids=ERRORS)
def test_twice_the_error_is_twice_the_work(make):
    assert growth(lambda body: refusal(400, {}, body), make, 100_000) <= DOUBLE


@pytest.mark.parametrize(
    "one",
    [
        {"choices": [choice(128)]},
        {"choices": [choice(-1)]},
        {"choices": [choice() for _ in range(129)]},
        {"choices": [choice(tool_calls=[{"index": 1024}])]},
        {"choices": [choice(tool_calls=[{}] * 1025)]},
    ],
    ids=["index", "below none", "number", "index of a call", "number of calls"],
)
def test_more_than_can_be_asked_for_is_no_answer(one):
    with pytest.raises(BadReply, match="too_large"):
        chunks.choices_of(one, "delta")


def test_as_many_as_can_be_asked_for_are_one():
    assert (
        len(chunks.choices_of({"choices": [choice(i) for i in range(128)]}, "delta"))
        == 128
    )


def test_where_many_numbers_may_be_are_no_more_lists_than_elsewhere():
    numbers = b'{"input":%s}' % listed("1", 2 * MOST_VALUES * 4).encode()
    lists = b'{"input":%s}' % listed("{}", 2 * MOST_VALUES * 3).encode()

    assert parsed(numbers, most=10 * MOST_VALUES)
    with pytest.raises(InvalidBody):
        parsed(lists, most=10 * MOST_VALUES)


class TestOrdinaryBodies:
    """What large conversations need is far within the bounds."""

    def test_a_long_conversation_with_parts_and_many_tools(self):
        schema = {f"field{i}": {"type": "string", "enum": ["a"]} for i in range(20)}
        tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
        parts = [{"type": "text", "text": "Hello, world"}]
        body = {
            "messages": [{"role": "user", "content": parts}] * 1000,
            "tools": [tool] * 60,
        }

        read_openai(json.dumps(body).encode())

    def test_an_agents_conversation(self):
        call = {"id": "c", "type": "function", "function": {"name": "f"}}
        turn = [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "[1, 2, 3]"},
        ]

        read_openai(json.dumps({"messages": turn * 1000}).encode())

    def test_a_message_that_is_full_of_json(self):
        read_native(said("[1,2,{}," * (2 * MOST_VALUES)))

    @pytest.mark.parametrize("depth", [62, 63])
    def test_nesting_within_the_bounds_is_read(self, depth):
        body = b'{"message":"x","context":{"a":%s}}'

        read_native(body % (b"[" * (depth - 1) + b"]" * (depth - 1)))


class TestABound:
    def refused(self, read, body):
        with pytest.raises(InvalidBody) as refused:
            read(body)
        return refused.value.fields

    def test_on_values(self):
        body = context(listed("1", 2 * MOST_VALUES - 10))
        assert parsed(body)

        fields = self.refused(read_native, context(listed("1", 70_000)))

        assert fields == {"body": "must not hold more than 30000 values"}

    def test_on_depth_names_the_field(self):
        fields = self.refused(read_native, context("[" * 80 + "]" * 80))

        assert fields == {"context": "must not be nested more than 64 deep"}

    def test_on_messages(self):
        one = '{"role":"user","content":"x"}'
        read_openai(completion(",".join([one] * 2000)))

        fields = self.refused(read_openai, completion(",".join([one] * 2001)))

        assert list(fields) == ["messages"]

    def test_on_what_one_answer_tells(self):
        body = completion(filled("{}", 3000))

        assert len(self.refused(read_openai, body)) <= 10
