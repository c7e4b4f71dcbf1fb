"""A repeated question has the answer of before, where that is as good as a new one."""

import threading

import pytest

from app.gateway.budget import Budget
from app.gateway.chain.cached import Cached
from app.gateway.chat import ChatReply, Delta, ReplyFacts, Seam, Usage
from app.gateway.errors import (
    AuditUnavailable,
    CallerGone,
    Interrupted,
    NotCached,
    Refused,
)
from app.gateway.handler import ReplyStream
from app.gateway.kept.reuse import CACHE, CacheControl, Caching, Reuse
from tests.gateway.chain.kept_parts import Parts, kept_in
from tests.support.fakes import FakeUpstream, a_request
from tests.support.stack import wait_until


class Speaker(FakeUpstream):
    """An upstream that says what it is told to, with these facts."""

    def __init__(self, **facts):
        super().__init__()
        self.facts = facts
        self.hold = None

    def open(self, request, budget, turn=None):
        if self.hold is not None:
            self.calls += 1
            self.hold.wait(30)
            self.calls -= 1
        stream = super().open(request, budget, turn)
        stream._reply = stream._reply._replace(**self.facts)
        return stream


@pytest.fixture
def parts():
    return Parts()


@pytest.fixture
def upstream():
    return Speaker(usage=Usage(3, 4))


@pytest.fixture
def chat(parts, upstream):
    return a_worker(parts, upstream)


def a_worker(parts, upstream, **lifetimes):
    return Cached(
        upstream,
        parts.keeping("cache"),
        parts.claims(),
        parts.lifetimes(**lifetimes),
        clock=parts.clock,
    )


def budget(parts, seconds=36):
    return Budget(seconds, clock=parts.clock)


def ask(chat, parts, text="Hello", *, seconds=36, **fields):
    stream = chat.open(a_request(text, **fields), budget(parts, seconds))
    stream.learn(ReplyFacts(audit_id="r-1"))
    return stream.collect()


def result_of(reply):
    return reply.caching.result


def test_the_same_question_is_asked_once(chat, parts, upstream):
    first, second = (ask(chat, parts) for _ in range(2))

    assert upstream.calls == 1
    assert (first.text, second.text) == ("Hi", "Hi")
    assert (result_of(first), result_of(second)) == ("miss", "hit")
    assert first.caching.is_stored
    assert second.reuse == Reuse(CACHE, "r-1")
    assert (second.usage, second.attempts) == (Usage(3, 4), ())


def test_its_age_is_told_and_it_is_forgotten_after_its_time(chat, parts, upstream):
    ask(chat, parts)
    parts.wall.advance(59)

    assert ask(chat, parts).caching == Caching("hit", age=59, ttl=1)
    parts.wall.advance(1.5)

    assert result_of(ask(chat, parts)) == "miss"
    assert upstream.calls == 2


def test_stream_and_whole_have_one_entry(chat, parts, upstream):
    upstream.deltas = ("Hi", " there")
    with chat.open(a_request(stream=True), budget(parts)) as stream:
        assert [delta.text for delta in stream] == ["Hi", " there"]

    assert ask(chat, parts).text == "Hi there"
    with chat.open(a_request(stream=True), budget(parts)) as stream:
        assert [delta.text for delta in stream] == ["Hi", " there"]
        assert stream.is_repeated
    assert upstream.calls == 1


def test_a_whole_answer_is_a_stream_for_the_next(chat, parts, upstream):
    ask(chat, parts)

    with chat.open(a_request(stream=True), budget(parts)) as stream:
        assert "".join(delta.text for delta in stream) == "Hi"
    assert upstream.calls == 1


@pytest.mark.parametrize(
    "other",
    [
        {"caller": "somebody"},
        {"person": "ada"},
        {"session_id": "s-2", "names_session": True},
        {"model": "switch"},
        {"extra": {"max_tokens": 5}},
        {"route": "openai"},
    ],
)
def test_nobody_is_given_the_answer_of_another_question(chat, parts, upstream, other):
    ask(chat, parts)

    assert result_of(ask(chat, parts, **other)) == "miss"
    assert upstream.calls == 2


def test_two_sessions_that_callers_name_share_nothing(chat, parts, upstream):
    for session in ("s-1", "s-2"):
        ask(chat, parts, session_id=session, names_session=True)

    assert upstream.calls == 2


@pytest.mark.parametrize(
    "facts",
    [
        {"degraded_by": "read_timeout"},
        {"finish_reason": "length"},
        {"finish_reason": "content_filter"},
        {"left_out": ("tools",)},
        {
            "choices": (
                {"index": 0, "finish_reason": "stop"},
                {"finish_reason": "length"},
            )
        },
        {"choices": ({"index": 0},)},
    ],
)
def test_what_is_less_than_the_best_is_not_kept(chat, parts, upstream, facts):
    upstream.facts = facts

    first, second = (ask(chat, parts) for _ in range(2))

    assert upstream.calls == 2
    assert not first.caching.is_stored
    assert result_of(second) == "miss"
    assert kept_in(parts.answers) == []


def test_an_answer_of_two_upstreams_is_not_kept(chat, parts, upstream):
    upstream._speak = lambda: iter([Delta("Hi"), Delta("!", seam=Seam("madre", 2))])

    ask(chat, parts)

    assert kept_in(parts.answers) == []


@pytest.mark.parametrize("error", [Refused("http_5xx"), AuditUnavailable("locked")])
def test_an_error_is_not_kept(chat, parts, upstream, error):
    upstream.fail(error)
    with pytest.raises(type(error)):
        ask(chat, parts)

    assert result_of(ask(chat, parts)) == "miss"
    assert upstream.calls == 2


@pytest.mark.parametrize("error", [Interrupted("reset"), CallerGone()])
def test_one_that_broke_off_is_not_kept(chat, parts, upstream, error):
    upstream.breaks_with = error
    with pytest.raises(type(error)):
        ask(chat, parts)
    upstream.breaks_with = None

    assert result_of(ask(chat, parts)) == "miss"


def test_one_that_was_given_up_is_not_kept(chat, parts):
    with chat.open(a_request(stream=True), budget(parts)):
        pass

    assert kept_in(parts.answers) == []
    assert result_of(ask(chat, parts)) == "miss"


def test_one_that_was_vetoed_is_not_kept_and_its_claim_ends(chat, parts):
    def veto(_):
        raise AuditUnavailable("locked")

    stream = chat.open(a_request(), budget(parts))
    stream.on_end(veto, may_veto=True)
    with pytest.raises(AuditUnavailable):
        stream.collect()

    assert kept_in(parts.answers) == []
    assert result_of(ask(chat, parts)) == "miss"


def test_one_that_is_too_large_is_not_kept(chat, parts, upstream):
    upstream.deltas = ("x" * 1_100_000,)

    assert not ask(chat, parts).caching.is_stored
    assert kept_in(parts.answers) == []


class TestChance:
    """Who leaves an answer to chance gets a new one, unless it says otherwise."""

    def test_it_is_neither_answered_from_memory_nor_kept(self, chat, parts, upstream):
        first, second = (ask(chat, parts, extra={"temperature": 1}) for _ in range(2))

        assert (result_of(first), result_of(second)) == ("bypass", "bypass")
        assert upstream.calls == 2
        assert kept_in(parts.answers) == []

    def test_a_caller_may_ask_for_it(self, chat, parts, upstream):
        wanted = {"extra": {"temperature": 1}, "cache_control": CacheControl(max_age=9)}

        assert result_of(ask(chat, parts, **wanted)) == "miss"
        assert result_of(ask(chat, parts, **wanted)) == "hit"


class TestDirectives:
    """What a caller says of it, in the words of HTTP."""

    def test_no_store(self, chat, parts, upstream):
        said = CacheControl(no_store=True)
        ask(chat, parts)

        assert result_of(ask(chat, parts, cache_control=said)) == "bypass"
        assert result_of(ask(chat, parts, "Other", cache_control=said)) == "bypass"
        assert len(kept_in(parts.answers)) == 1

    def test_no_cache_asks_anew_and_keeps_that(self, chat, parts, upstream):
        ask(chat, parts)
        upstream.deltas = ("Newer",)

        fresh = ask(chat, parts, cache_control=CacheControl(no_cache=True))

        assert (fresh.text, result_of(fresh)) == ("Newer", "miss")
        assert ask(chat, parts).text == "Newer"

    def test_max_age(self, chat, parts, upstream):
        ask(chat, parts)
        parts.wall.advance(10)

        for age, result in ((10, "hit"), (9, "miss")):
            said = CacheControl(max_age=age)
            assert result_of(ask(chat, parts, cache_control=said)) == result

    def test_only_if_cached(self, chat, parts, upstream):
        said = CacheControl(only_if_cached=True)
        with pytest.raises(NotCached):
            ask(chat, parts, cache_control=said)
        assert upstream.calls == 0
        ask(chat, parts)

        assert result_of(ask(chat, parts, cache_control=said)) == "hit"

    def test_only_if_cached_where_nothing_can_be(self, chat, parts, upstream):
        said = CacheControl(only_if_cached=True)
        with pytest.raises(NotCached):
            ask(chat, parts, extra={"n": 2}, cache_control=said)
        assert upstream.calls == 0


class TestRoutes:
    """A route may be cached for another time, or not at all."""

    def test_a_route_that_is_not_cached_is_passed_by(self, parts, upstream):
        chat = a_worker(parts, upstream, routes=[("news", 0.0)])

        replies = [ask(chat, parts, model="news") for _ in range(2)]

        assert [result_of(reply) for reply in replies] == ["bypass"] * 2
        assert upstream.calls == 2

    def test_a_route_alone_may_be(self, parts, upstream):
        chat = a_worker(parts, upstream, seconds=0.0, routes=[("old", 600.0)])
        ask(chat, parts, model="old")
        parts.wall.advance(599)

        assert result_of(ask(chat, parts, model="old")) == "hit"
        assert result_of(ask(chat, parts)) == "bypass"


class TestTwins:
    """Of several who ask the same at once, one asks."""

    def several(self, workers, parts, number, **fields):
        replies, threads = [], []

        def run(chat):
            try:
                replies.append(ask(chat, parts, **fields))
            except Exception as error:
                replies.append(error)

        for place in range(number):
            chat = workers[place % len(workers)]
            threads.append(threading.Thread(target=run, args=(chat,)))
            threads[-1].start()
        return replies, threads

    @pytest.fixture
    def workers(self, parts, upstream):
        parts.clock.advance = lambda _: threading.Event().wait(0.002)
        return [a_worker(parts, upstream) for _ in range(2)]

    def test_the_others_wait_for_it(self, workers, parts, upstream):
        upstream.hold = threading.Event()
        replies, threads = self.several(workers, parts, 16)
        wait_until(lambda: upstream.calls)
        upstream.hold.set()
        for thread in threads:
            thread.join(30)

        results = sorted(map(result_of, replies))
        assert upstream.calls == 1
        assert {reply.text for reply in replies} == {"Hi"}
        assert results.count("miss") == 1
        assert set(results) <= {"miss", "joined", "hit"}

    def test_if_it_fails_each_asks_for_itself(self, workers, parts, upstream):
        upstream.hold = threading.Event()
        upstream.fail(Refused("http_5xx"))
        replies, threads = self.several(workers, parts, 8)
        wait_until(lambda: upstream.calls)
        upstream.hold.set()
        for thread in threads:
            thread.join(30)

        failed = [one for one in replies if isinstance(one, Refused)]
        assert len(failed) == 1
        assert len(replies) == 8
        assert {one.text for one in replies if one not in failed} == {"Hi"}

    def test_nobody_waits_for_long_for_one_that_says_a_long_stream(
        self, parts, upstream
    ):
        leader, twin = (a_worker(parts, upstream) for _ in range(2))
        stream = leader.open(a_request(stream=True), budget(parts))
        next(stream)

        reply = ask(twin, parts, seconds=20)

        assert result_of(reply) == "miss"
        assert parts.clock.now == pytest.approx(1010, abs=0.1)
        stream.close()


def test_where_nobody_can_tell_it_asks(chat, parts, upstream):
    class Broken:
        has_records = False

        def find(self, key, now):
            raise AuditUnavailable("unreadable")

        def put(self, kept):
            pass

    parts.answers = Broken()
    chat = a_worker(parts, upstream)

    assert result_of(ask(chat, parts)) == "miss"


def test_without_a_secret_nothing_is_kept(parts, upstream):
    parts.key = b""
    chat = a_worker(parts, upstream)

    assert result_of(ask(chat, parts)) == "bypass"
    assert kept_in(parts.answers) == []


def test_what_is_kept_is_read_by_nobody_who_has_not_asked(chat, parts, upstream):
    upstream.deltas = ("canary-of-the-answer",)
    ask(chat, parts, "canary-of-the-question")
    (kept,) = kept_in(parts.answers)

    assert b"canary" not in kept.body + kept.key
    changed = kept._replace(until=kept.until + 1000)
    parts.answers.put(changed)

    assert result_of(ask(chat, parts, "canary-of-the-question")) == "miss"


def test_a_reply_of_several_shapes_comes_back_as_it_was(chat, parts, upstream):
    message = {"role": "assistant", "content": "Hi", "reasoning": "…"}
    choices = ({"index": 0, "message": message, "finish_reason": "stop"},)
    reply = ChatReply("Hi", "s", "m", choices=choices, extra={"x": [1.0]}, body=b"{}")
    upstream.open = lambda *_: ReplyStream.whole(reply)

    first = ask(chat, parts)
    del upstream.open

    again = ask(chat, parts)
    assert (again.choices, again.extra, again.body) == (choices, {"x": [1.0]}, b"{}")
    assert again.upstream == first.upstream
