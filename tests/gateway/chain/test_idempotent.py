"""A request that is sent again with its key is answered once."""

import threading

import pytest

from app.gateway.budget import Budget
from app.gateway.chain.audited import Audited
from app.gateway.chain.idempotent import Idempotent
from app.gateway.chat import ReplyFacts
from app.gateway.errors import (
    AnswerNotKept,
    AuditUnavailable,
    CallerGone,
    KeyInFlight,
    KeyReused,
    Refused,
    ShuttingDown,
)
from app.gateway.kept.reuse import IDEMPOTENCY, Reuse
from app.gateway.records.content import Content, ContentPolicy
from app.gateway.records.redaction import Redactor
from tests.gateway.chain.kept_parts import KEY, Parts, kept_in
from tests.support.fakes import FakeTrail, FakeUpstream, a_request
from tests.support.stack import wait_until

DAY = 86_400.0


@pytest.fixture
def parts():
    return Parts()


@pytest.fixture
def upstream():
    return FakeUpstream()


@pytest.fixture
def chat(parts, upstream):
    return a_worker(parts, upstream)


def a_worker(parts, upstream, **options):
    return Idempotent(
        upstream,
        parts.keeping("idempotency"),
        parts.claims(),
        DAY,
        clock=parts.clock,
        **options,
    )


def ask(chat, parts, text="Hello", *checks, seconds=36, record="r-1", **fields):
    asked = a_request(text, **{"idempotency_key": "k-1"} | fields)
    stream = chat.open(asked, Budget(seconds, *checks, clock=parts.clock))
    stream.learn(ReplyFacts(audit_id=record))
    return stream.collect()


def test_it_is_asked_once_and_answered_alike(chat, parts, upstream):
    first = ask(chat, parts)
    parts.wall.advance(100)
    again = ask(chat, parts, record="r-2", correlation_id="c-2", session_id="s-2")

    assert upstream.calls == 1
    assert (again.text, again.model) == (first.text, first.model)
    assert again.said == first.said
    assert (again.audit_id, again.first_id) == ("r-2", "r-1")
    assert (again.said.correlation_id, again.said.session_id) == ("c-1", "s-1")
    assert again.reuse == Reuse(IDEMPOTENCY, "r-1")
    assert again.attempts == ()


def test_without_a_key_nothing_is_kept(chat, parts, upstream):
    for _ in range(2):
        assert ask(chat, parts, idempotency_key="").said is None

    assert upstream.calls == 2
    assert kept_in(parts.answers) == []


@pytest.mark.parametrize(
    "other",
    [
        {"caller": "somebody"},
        {"person": "ada"},
        {"route": "openai"},
        {"idempotency_key": "k-2"},
    ],
)
def test_a_key_is_its_callers_own(chat, parts, upstream, other):
    ask(chat, parts)

    assert ask(chat, parts, **other).reuse is None
    assert upstream.calls == 2


def test_another_request_with_the_key_is_refused(chat, parts, upstream):
    ask(chat, parts)

    for other in ({"text": "Other"}, {"extra": {"n": 2}}, {"model": "m"}):
        with pytest.raises(KeyReused):
            ask(chat, parts, **other)
    assert upstream.calls == 1


def test_also_while_the_first_is_under_way(parts, upstream):
    leader, twin = (a_worker(parts, upstream) for _ in range(2))
    asked = a_request(idempotency_key="k-1", stream=True)
    stream = leader.open(asked, Budget(36, clock=parts.clock))

    with pytest.raises(KeyReused):
        ask(twin, parts, "Other")
    with pytest.raises(KeyInFlight) as late:
        ask(twin, parts, seconds=5)

    assert late.value.retry_after
    assert parts.clock.now == pytest.approx(1005, abs=0.1)
    assert upstream.calls == 1
    stream.close()


def test_how_it_is_to_be_answered_may_differ(chat, parts, upstream):
    upstream.deltas = ("Hi", " there")
    ask(chat, parts)

    asked = a_request(idempotency_key="k-1", stream=True)
    with chat.open(asked, Budget(36, clock=parts.clock)) as stream:
        assert "".join(delta.text for delta in stream) == "Hi there"
    assert upstream.calls == 1


def test_it_is_as_new_after_its_time(chat, parts, upstream):
    ask(chat, parts)
    parts.wall.advance(DAY + 1)

    assert ask(chat, parts, "Other").reuse is None
    assert upstream.calls == 2


@pytest.mark.parametrize("error", [Refused("http_5xx"), ShuttingDown()])
def test_a_failure_is_asked_anew(chat, parts, upstream, error):
    upstream.fail(error)
    with pytest.raises(type(error)):
        ask(chat, parts)

    assert ask(chat, parts, "Other").reuse is None
    assert upstream.calls == 2


def test_one_that_broke_off_is_asked_anew(chat, parts, upstream):
    upstream.breaks_with = Refused("reset")
    with pytest.raises(Refused):
        ask(chat, parts)
    upstream.breaks_with = None

    assert ask(chat, parts).reuse is None


def test_a_degraded_answer_is_an_answer(chat, parts, upstream):
    inner = upstream.open

    def degraded(*asked):
        stream = inner(*asked)
        stream.learn(ReplyFacts(degraded_by="read_timeout", finish_reason="length"))
        return stream

    upstream.open = degraded
    ask(chat, parts)

    again = ask(chat, parts)
    assert (again.degraded_by, again.finish_reason) == ("read_timeout", "length")
    assert upstream.calls == 1


@pytest.mark.parametrize("deltas", [("Hi",), ("x" * 1_100_000,)])
def test_where_its_words_are_not_kept_it_is_not_asked_again(parts, upstream, deltas):
    upstream.deltas = deltas
    chat = a_worker(parts, upstream, with_words=len(deltas[0]) > 2)
    ask(chat, parts)

    with pytest.raises(AnswerNotKept) as told:
        ask(chat, parts)
    with pytest.raises(KeyReused):
        ask(chat, parts, "Other")

    assert told.value.record == "r-1"
    assert upstream.calls == 1


class Gone:
    """The check of a budget whose caller leaves."""

    has_left = False

    def __call__(self):
        if self.has_left:
            raise CallerGone


def test_the_work_outlives_its_caller(chat, parts, upstream):
    gone = Gone()
    inner = upstream.open

    def slowly(request, budget, *turn):
        gone.has_left = True
        budget.check()
        budget.within(5).check()
        budget.streaming(60).flowing(50).check()
        return inner(request, budget, *turn)

    upstream.open = slowly
    stream = chat.open(
        a_request(idempotency_key="k-1"), Budget(36, gone, clock=parts.clock)
    )
    assert stream.outlives_caller
    stream.collect()

    assert stream.was_left
    assert ask(chat, parts).reuse
    assert upstream.calls == 1


def test_a_stop_ends_it_all_the_same(chat, parts, upstream):
    def stop():
        raise ShuttingDown

    upstream.open = lambda request, budget, *_: budget.check()
    with pytest.raises(ShuttingDown):
        ask(chat, parts, "Hello", stop)


def test_a_twin_that_leaves_waits_no_longer(parts, upstream):
    leader, twin = (a_worker(parts, upstream) for _ in range(2))
    asked = a_request(idempotency_key="k-1", stream=True)
    stream = leader.open(asked, Budget(36, clock=parts.clock))
    gone = Gone()
    gone.has_left = True

    with pytest.raises(CallerGone):
        ask(twin, parts, "Hello", gone)
    stream.close()


class Held(FakeUpstream):
    """Answers when told to."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()

    def open(self, request, budget, turn=None):
        stream = super().open(request, budget, turn)
        self.go.wait(30)
        return stream


def twins(workers, parts, number):
    replies = []

    def run(chat):
        try:
            replies.append(ask(chat, parts))
        except Exception as error:
            replies.append(error)

    threads = [
        threading.Thread(target=run, args=(workers[place % len(workers)],))
        for place in range(number)
    ]
    for thread in threads:
        thread.start()
    return replies, threads


@pytest.mark.parametrize("failures", [0, 1])
def test_of_twins_one_asks_at_a_time(parts, failures):
    parts.clock.advance = lambda _: threading.Event().wait(0.002)
    upstream = Held()
    workers = [a_worker(parts, upstream) for _ in range(2)]
    if failures:
        upstream.fail(Refused("http_5xx"), failures)
    replies, threads = twins(workers, parts, 12)
    wait_until(lambda: upstream.calls)
    upstream.go.set()
    for thread in threads:
        thread.join(30)

    answered = [one for one in replies if not isinstance(one, Exception)]
    assert upstream.calls == 1 + failures
    assert len(answered) == 12 - failures
    assert {one.text for one in answered} == {"Hi"}
    assert len([one for one in answered if one.reuse is None]) == 1


class TestOnRecord:
    """What becomes of it with its record."""

    @pytest.fixture
    def trail(self):
        return FakeTrail()

    @pytest.fixture
    def audited(self, chat, trail, parts):
        parts.answers.has_records = True
        policy = ContentPolicy(Content.FULL, Redactor([]), KEY)
        return Audited(chat, trail, policy)

    def ask(self, chat, parts, *checks):
        asked = a_request(idempotency_key="k-1")
        return chat.open(asked, Budget(36, *checks, clock=parts.clock)).collect()

    def test_it_is_kept_in_the_commit_of_its_record(self, audited, trail, parts):
        self.ask(audited, parts)

        ((intent, closing),) = trail.closed
        (kept,) = closing.kept
        assert kept.record == intent.id
        assert (closing.reuse, closing.source) == (None, None)
        assert kept_in(parts.answers) == []

    def test_one_that_repeats_it_spent_nothing(self, audited, trail, parts, upstream):
        self.ask(audited, parts)
        ((first, closing),) = trail.closed
        parts.answers.put(closing.kept[0])

        self.ask(audited, parts)

        intent, again = trail.closed[-1]
        assert (again.reuse, again.source) == (IDEMPOTENCY, first.id)
        assert intent.id != first.id
        assert (again.input_tokens, again.attempts, again.kept) == (None, "[]", ())
        assert again.reply == closing.reply

    def test_one_whose_caller_has_left_says_both(self, audited, trail, parts, upstream):
        gone, inner = Gone(), upstream.open

        def slowly(request, budget, *turn):
            gone.has_left = True
            budget.check()
            return inner(request, budget, *turn)

        upstream.open = slowly
        self.ask(audited, parts, gone)

        ((_, closing),) = trail.closed
        assert (closing.outcome, closing.code) == ("completed", "client_gone")

    def test_a_record_that_fails_ends_the_claim(self, audited, trail, parts, upstream):
        finish, trail.finish = trail.finish, self.fails
        with pytest.raises(AuditUnavailable):
            self.ask(audited, parts)
        trail.finish = finish

        assert self.ask(audited, parts).reuse is None
        assert upstream.calls == 2

    def fails(self, *_):
        raise AuditUnavailable("locked")
