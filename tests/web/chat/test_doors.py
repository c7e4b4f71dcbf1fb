"""What holds at every door of the chat: record, metrics, limits, and what a cut means.

A new door is one more entry of DOORS.
"""

import json
from dataclasses import dataclass, field, replace

import pytest

from app.gateway.abilities import COMPLETIONS, COUNT, EMBEDDINGS
from app.gateway.access.rate_limits import FailedAuth
from app.gateway.access.tokens import Caller, Keyring, Token
from app.gateway.chain.admission import Admission
from app.gateway.chain.audited import Audited
from app.gateway.chain.metered import Metered
from app.gateway.chat import Delta, Priority, ReplyFacts, Usage
from app.gateway.errors import Interrupted, NoAnswer
from app.gateway.records.content import Content, ContentPolicy
from app.gateway.records.redaction import Redactor
from app.gateway.routing.router import ChatRouter
from app.gateway.shared import InProcessState
from app.services import PerProcess
from app.storage.shared.rate_limits import SlidingRateLimits
from app.web import make_app
from tests.support.events import events_of
from tests.support.fakes import a_guard
from tests.web.conftest import TOKEN

VECTORS = json.dumps(
    {"object": "list", "data": [{"embedding": [0.5, -1.0], "index": 0}], "model": "m"}
    | {"usage": {"prompt_tokens": 3, "total_tokens": 3}}
)


@dataclass(frozen=True)
class A:
    """A door: its path, a body that says "Hello", and how its answers are read.

    `is_whole` tells of a finished stream whether its caller takes it for an answer;
    None for a door without streams.
    """

    route: str
    path: str
    body: dict
    text_of: object
    is_whole: object = None
    facts: ReplyFacts = field(default_factory=ReplyFacts)

    def streaming(self):
        return self.body | {"stream": True}


HELLO = {"max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}


def ends_with_done(events):
    return events[-1].data == "[DONE]"


DOORS = [
    A(
        "chat",
        "/operator/api/chat",
        {"message": "Hello"},
        lambda answer: answer["response"],
        lambda events: events[-1].name == "done",
    ),
    A(
        "openai",
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "Hello"}]},
        lambda answer: answer["choices"][0]["message"]["content"],
        ends_with_done,
    ),
    A(
        "responses",
        "/v1/responses",
        {"input": "Hello"},
        lambda answer: answer["output"][0]["content"][0]["text"],
        lambda events: events[-1].name == "response.completed",
    ),
    A(
        "completions",
        "/v1/completions",
        {"prompt": "Hello"},
        lambda answer: answer["choices"][0]["text"],
        ends_with_done,
    ),
    A(
        "embeddings",
        "/v1/embeddings",
        {"input": "Hello"},
        lambda answer: "Hi" if answer == json.loads(VECTORS) else None,
        facts=ReplyFacts(body=VECTORS.encode()),
    ),
    A(
        "anthropic",
        "/v1/messages",
        HELLO,
        lambda answer: answer["content"][0]["text"],
        lambda events: events[-1].name == "message_stop",
    ),
    A(
        "anthropic",
        "/v1/messages/count_tokens",
        HELLO,
        lambda answer: "Hi" if answer == {"input_tokens": 3} else None,
    ),
]
STREAMED = [door for door in DOORS if door.is_whole]
named = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.route)
streamed = pytest.mark.parametrize("door", STREAMED, ids=lambda door: door.route)


class Counting:
    """An observer that keeps what it is told."""

    def __init__(self):
        self.endings, self.refusals = [], []

    def ended(self, ending):
        self.endings.append(ending)

    def refused(self, request, error_type):
        self.refusals.append((request.route, error_type))


@pytest.fixture
def counted():
    return Counting()


@pytest.fixture
def services(services, switch, madre, trail, health, gate, counted):
    """The same, where both upstreams serve everything and all is counted."""
    guards = [a_guard(upstream, health) for upstream in (switch, madre)]
    every = frozenset({"chat", COMPLETIONS, EMBEDDINGS})
    names = ("switch", "madre")
    router = ChatRouter(
        guards,
        tasks=dict.fromkeys(names, every),
        abilities=dict.fromkeys(names, frozenset({COUNT})),
    )
    policy = ContentPolicy(Content.FULL, Redactor([TOKEN]), b"k" * 32)
    chat = Admission(Metered(Audited(router, trail, policy), (counted,)), gate)
    return replace(services, chat=chat, tasks=every)


@pytest.fixture
def ask(client, token, switch, madre):
    """Ask at a door; what its upstreams say fits it."""

    def ask(door, body=None, headers=token, client=client):
        for upstream in (switch, madre):
            tell(upstream, door.facts, Usage(3, 2))
        return client.post(door.path, json=body or door.body, headers=headers)

    return ask


def tell(upstream, facts, usage):
    """Have an upstream tell these facts at the end of what it says."""
    plain = type(upstream)

    class Telling(plain):
        def open(self, request, budget, turn=None):
            stream = plain.open(self, request, budget, turn)
            stream.on_end(lambda s: s.learn(facts))
            stream.on_end(lambda s: s.learn(ReplyFacts(usage=usage)))
            return stream

    upstream.__class__ = Telling


@named
def test_an_answer_is_on_record_and_counted_as_a_chats(door, ask, trail, counted):
    answer = ask(door)

    assert (answer.status_code, door.text_of(answer.json)) == (200, "Hi")
    [(intent, closing)] = trail.closed
    assert answer.headers["X-Gateway-Audit-Id"] == intent.id
    assert (intent.route, intent.caller) == (door.route, "operator")
    assert "Hello" in intent.request
    assert (closing.outcome, closing.provider) == ("completed", "switch")
    [ending] = counted.endings
    assert (ending.outcome, ending.request.route) == ("completed", door.route)
    assert (ending.reply.usage, ending.error_type) == (Usage(3, 2), "")


CHATS = [
    door for door in DOORS if door.facts == ReplyFacts() and "count" not in door.path
]


@pytest.mark.parametrize("door", CHATS, ids=lambda door: door.route)
def test_an_answer_whose_tokens_nobody_counted_says_so(door, client, token, ask):
    uncounted = client.post(door.path, json=door.body, headers=token)

    assert uncounted.headers["X-Gateway-Usage"] == "unknown"
    assert "X-Gateway-Usage" not in ask(door).headers


@named
def test_the_next_upstream_answers_for_one_that_fails(door, ask, switch, madre, trail):
    switch.fail(NoAnswer("read_timeout"))
    madre.deltas = ["Hi"]

    answer = ask(door)

    assert door.text_of(answer.json) == "Hi"
    assert answer.headers["X-Gateway-Provider"] == "madre"
    assert answer.headers["X-Gateway-Fallback-Reason"] == "read_timeout"
    [(_, closing)] = trail.closed
    assert len(json.loads(closing.attempts)) == 2


@named
def test_no_answer_leaves_without_its_record(door, ask, trail):
    trail.is_down = True

    assert ask(door).status_code == 503


@named
def test_no_slot_no_answer_and_that_is_on_record(door, ask, gate, trail, counted):
    taken = [gate.enter(Priority.HIGH) for _ in range(gate.limits.slots)]

    answer = ask(door)

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    [(intent, closing)] = trail.closed
    assert (intent.route, closing.code) == (door.route, "overloaded")
    assert counted.endings[0].outcome == "refused"
    for ticket in taken:
        gate.leave(ticket)
    assert ask(door).status_code == 200  # and the slot of an answer is given back
    assert gate.load().busy == 0


@named
def test_a_deadline_and_a_size_bound_it(door, ask, token, switch):
    ask(door, headers=token | {"X-Gateway-Deadline-Ms": "5000"})
    huge = ask(door, door.body | {"more": "x" * 70_000})

    assert switch.limits[0] <= 5
    assert huge.status_code == 413


@named
def test_a_rate_bounds_it(door, ask, services):
    limits = SlidingRateLimits(InProcessState())
    seldom = replace(
        services,
        rate_limits=limits,
        failed_auth=FailedAuth(limits),
        keyring=Keyring([Token.of(Caller("seldom", rate=1), TOKEN)]),
    )
    client = make_app(PerProcess(lambda: seldom)).test_client()

    assert [ask(door, client=client).status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("said", ["PK\x00\x01", "\x1b[31mError\x1b[0m"])
@named
def test_what_a_program_prints_is_no_mistake_of_the_caller(door, ask, switch, said):
    """Agents send what their tools printed with each turn, so none could go on."""
    if door.route == "chat" and "\x00" in said:
        pytest.skip("NUL is refused there, as ever (docs/faults.md, row 49)")
    as_json = json.dumps(said)[1:-1]
    answer = ask(door, json.loads(json.dumps(door.body).replace("Hello", as_json)))

    assert answer.status_code == 200
    assert switch.asked[-1].messages[-1].content == said


@named
def test_a_bad_body_is_refused_on_record(door, ask, trail, counted):
    answer = ask(door, {"model": 5})

    assert answer.status_code in {400, 422}
    assert "5" not in answer.text.replace(answer.headers["X-Correlation-ID"], "")
    [(intent, closing)] = trail.closed
    assert (intent.route, closing.code) == (door.route, "invalid_request")
    assert counted.refusals[0][0] == door.route


@named
def test_who_shows_no_token_is_told_so_first(door, client):
    assert client.post(door.path, data="{").status_code == 401


@named
def test_whole_answers_that_break_off_are_none(door, ask, switch, madre):
    switch.breaks_with = madre.breaks_with = Interrupted("truncated")

    assert ask(door).status_code >= 500


@streamed
def test_a_whole_stream_is_told_as_one_and_counted_once(door, ask, trail, counted):
    events = events_of(ask(door, door.streaming()))

    assert door.is_whole(events)
    [(intent, closing)] = trail.closed
    assert (intent.route, closing.outcome) == (door.route, "completed")
    [ending] = counted.endings
    assert (ending.request.stream, ending.outcome) == (True, "completed")


@streamed
def test_a_cut_stream_is_never_whole(door, ask, switch, madre, trail, gate):
    switch.breaks_with = Interrupted("truncated")
    madre.deltas = ["Something else"]

    events = events_of(ask(door, door.streaming()))

    assert not any(door.is_whole(events[: n + 1]) for n in range(len(events)))
    assert "reply_interrupted" in json.dumps(events[-1].data)
    [(_, closing)] = trail.closed
    assert closing.outcome == "failed"
    assert gate.load().busy == 0


@streamed
def test_a_stream_that_cannot_be_recorded_is_never_whole(door, ask, trail, switch):
    def break_the_disk():
        trail.is_down = True
        yield Delta("Hi")

    switch._speak = break_the_disk

    events = events_of(ask(door, door.streaming()))

    assert not door.is_whole(events)
    assert "audit_unavailable" in json.dumps(events[-1].data)
