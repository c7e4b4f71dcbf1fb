import json

import pytest

from app.gateway.budget import Budget
from app.gateway.chain.audited import Audited
from app.gateway.chat import ReplyFacts
from app.gateway.errors import (
    AuditUnavailable,
    CallerFault,
    CallerGone,
    ConnectFailed,
    Interrupted,
    NoAnswer,
    NobodyAnswered,
    Overloaded,
)
from app.gateway.records.audit import new_audit_id
from app.gateway.records.content import Content, ContentPolicy
from app.gateway.records.redaction import Redactor
from app.gateway.routing.router import ChatRouter
from tests.support.fakes import FakeTrail, FakeUpstream, a_request

KEY = b"k" * 32


@pytest.fixture
def trail():
    return FakeTrail()


@pytest.fixture
def switch():
    return FakeUpstream("switch")


@pytest.fixture
def madre():
    return FakeUpstream("madre")


@pytest.fixture
def chat(trail, switch, madre):
    return an_audited(trail, switch, madre)


def an_audited(trail, *upstreams, content=Content.FULL, required=True):
    policy = ContentPolicy(content, Redactor(["the-gateway-token"]), KEY)
    return Audited(ChatRouter(upstreams), trail, policy, required=required)


def ask(chat, text="Hello", **fields):
    return chat.open(a_request(text, **fields), Budget(36)).collect()


def test_an_answer_leaves_a_sealed_record(chat, trail):
    reply = ask(chat)

    ((intent, closing),) = trail.closed
    assert reply.audit_id == intent.id
    assert (intent.caller, intent.session_id, intent.correlation_id) == (
        "operator",
        "s-1",
        "c-1",
    )
    assert (closing.outcome, closing.status, closing.provider) == (
        "completed",
        200,
        "switch",
    )
    assert json.loads(closing.reply) == {"text": "Hi"}
    assert json.loads(closing.attempts)[0]["upstream"] == "switch"


def test_the_intent_is_noted_before_anybody_is_asked(trail):
    class Asked(FakeUpstream):
        def open(self, request, budget, turn=None):
            assert len(trail.begun) == 1
            return super().open(request, budget)

    ask(an_audited(trail, Asked()))


def test_an_unwritable_trail_means_that_nobody_is_asked(chat, trail, switch):
    trail.is_down = True

    with pytest.raises(AuditUnavailable):
        ask(chat)

    assert switch.calls == 0


def test_an_answer_whose_record_cannot_be_committed_is_not_delivered(
    chat, trail, switch
):
    stream = chat.open(a_request(), Budget(36))
    trail.is_down = True

    with pytest.raises(AuditUnavailable):
        stream.collect()


def test_break_glass_answers_without_a_record_and_says_so(trail, switch, caplog):
    trail.is_down = True

    assert ask(an_audited(trail, switch, required=False)).text == "Hi"
    assert "without a record" in caplog.text


@pytest.mark.parametrize(
    ("error", "outcome", "status", "code"),
    [
        (CallerFault("upstream_rejected"), "failed", 502, "upstream_rejected"),
        (CallerGone(), "cancelled", 499, "client_gone"),
        (KeyError("bug"), "failed", 500, "internal_error"),
    ],
    ids=["caller's fault", "caller gone", "bug"],
)
def test_what_was_never_answered_is_recorded_too(
    chat, trail, switch, error, outcome, status, code
):
    switch.fail(error)

    with pytest.raises(type(error)):
        ask(chat)

    ((_, closing),) = trail.closed
    assert (closing.outcome, closing.status, closing.code) == (outcome, status, code)


def test_a_total_failure_is_recorded_with_all_its_attempts(chat, trail, switch, madre):
    switch.fail(ConnectFailed("connect_refused"))
    madre.fail(ConnectFailed("connect_timeout"))

    with pytest.raises(NobodyAnswered):
        ask(chat)

    ((_, closing),) = trail.closed
    assert [a["fault"] for a in json.loads(closing.attempts)] == [
        "connect_refused",
        "connect_timeout",
    ]
    assert closing.status == 503


def test_a_reply_that_broke_off_is_recorded_with_its_text_so_far(chat, trail, switch):
    switch.deltas, switch.breaks_with = ("Hel",), Interrupted("truncated")

    with pytest.raises(Interrupted):
        ask(chat, stream=True)

    ((_, closing),) = trail.closed
    assert (closing.outcome, json.loads(closing.reply)) == ("failed", {"text": "Hel"})


def test_a_refusal_at_the_door_is_noted(chat, trail):
    chat.refuse(a_request(""), "invalid_request", 422)

    ((_, closing),) = trail.closed
    assert (closing.outcome, closing.status) == ("refused", 422)


@pytest.mark.parametrize("content", Content)
def test_no_column_holds_the_gateways_token(trail, content):
    class Telling(FakeUpstream):
        def open(self, request, budget, turn=None):
            stream = super().open(request, budget)
            stream.learn(ReplyFacts(model="m-the-gateway-token"))
            return stream

    chat = an_audited(trail, Telling(), content=content)
    ask(chat, session_id="the-gateway-token", correlation_id="c-the-gateway-token")

    ((intent, closing),) = trail.closed
    assert intent.session_id == "[redacted:token]"
    assert intent.correlation_id == "c-[redacted:token]"
    assert closing.model == "m-[redacted:token]"


class TestContent:
    def stored(self, trail, content, text):
        chat = an_audited(trail, FakeUpstream(deltas=["the answer"]), content=content)
        ask(chat, text, metadata={"password": "hunter2", "n": 1})
        ((intent, closing),) = trail.closed
        return intent.request, closing.reply

    def test_full_keeps_redacted_words(self, trail):
        request, reply = self.stored(trail, Content.FULL, "I am bob@example.com")

        assert json.loads(request) == {
            "messages": [["user", "I am [redacted:email]"]],
            "context": {},
            "metadata": {"password": "[redacted:secret]", "n": 1},
            "redacted": True,  # so that nobody asks it again as it was
        }
        assert json.loads(reply) == {"text": "the answer"}

    def test_a_number_that_is_none_is_null(self, trail):
        ask(an_audited(trail, FakeUpstream()), metadata={"n": float("inf")})

        ((intent, _),) = trail.closed
        assert json.loads(intent.request)["metadata"] == {"n": None}
        assert "Infinity" not in intent.request

    def test_digest_keeps_no_word_but_tells_equal_from_different(self, trail):
        request, reply = self.stored(trail, Content.DIGEST, "my secret plan")

        assert "plan" not in request
        assert "answer" not in reply
        assert set(json.loads(request)) == {"hmac_sha256", "bytes"}

    def test_none_keeps_nothing(self, trail):
        assert self.stored(trail, Content.NONE, "my secret plan") == ("{}", "{}")

    def test_text_that_is_no_unicode_can_still_be_stored(self, trail):
        request, _ = self.stored(trail, Content.FULL, "lone \ud800 surrogate")

        request.encode()


def test_audit_ids_sort_by_time_and_are_uuids_of_version_7():
    ids = [new_audit_id(now) for now in (1.0, 1000.5, 1_800_000_000.25)]

    assert ids == sorted(ids)
    assert len(set(map(len, ids))) == 1
    assert {i[12] for i in ids} == {"7"}
    assert {i[16] for i in ids} <= set("89ab")


def test_who_gets_no_slot_does_not_wait_for_the_disk(chat, trail):
    trail.is_down = True  # whoever waits for it is told so

    chat.turn_away(a_request(), Budget(36), Overloaded("queue_full"))

    ((_, closing),) = trail.closed
    assert (closing.outcome, closing.code) == ("refused", "overloaded")


class TestRefusalsOverAndOver:
    """Being over a rate must be no licence to write."""

    @pytest.fixture
    def minutes(self):
        return []

    @pytest.fixture
    def chat(self, trail, switch, minutes):
        policy = ContentPolicy(Content.FULL, Redactor([]), KEY)
        later = lambda _, tell: minutes.append(tell)  # noqa: E731
        return Audited(ChatRouter([switch]), trail, policy, later=later)

    def told(self, trail):
        return [
            (intent.caller, closing.code, json.loads(intent.request).get("repeats"))
            for intent, closing in trail.closed
        ]

    def test_each_kind_is_on_record_once_a_minute_and_then_as_a_sum(
        self, chat, trail, minutes
    ):
        for _ in range(1000):
            chat.refuse(a_request(caller="loud"), "rate_limited", 429)
            chat.turn_away(a_request(caller="loud"), Budget(36), Overloaded("full"))
        chat.refuse(a_request(caller="other"), "rate_limited", 429)
        first = [("loud", "rate_limited", None), ("loud", "overloaded", None)]
        assert self.told(trail) == [*first, ("other", "rate_limited", None)]

        (tell,) = minutes
        trail.closed.clear()
        tell()

        assert self.told(trail) == [
            ("loud", "rate_limited", 999),
            ("loud", "overloaded", 999),
        ]
        assert {closing.outcome for _, closing in trail.closed} == {"refused"}
        assert [closing.status for _, closing in trail.closed] == [429, 503]

    def test_each_who_leaves_the_queue_is_on_record(self, chat, trail):
        for _ in range(3):
            chat.turn_away(a_request(), Budget(36), CallerGone())

        assert [closing.code for _, closing in trail.closed] == ["client_gone"] * 3

    def test_what_is_not_on_record_yet_is_so_at_the_end(self, chat, trail):
        chat.refuse(a_request(), "forbidden", 403)
        chat.refuse(a_request(), "forbidden", 403)

        chat.close()

        assert self.told(trail)[-1] == ("operator", "forbidden", 1)


def test_row_71_if_redaction_breaks_the_answer_is_right_and_nothing_is_stored(
    trail, switch
):
    class Broken(Redactor):
        def value(self, value):
            raise RecursionError

    policy = ContentPolicy(Content.FULL, Broken([]), KEY)

    reply = ask(Audited(ChatRouter([switch]), trail, policy), "a secret")

    assert reply.text == "Hi"
    ((intent, closing),) = trail.closed
    assert json.loads(intent.request) == {"redaction": "broke"}
    assert json.loads(closing.reply) == {"redaction": "broke"}


def test_the_wait_for_the_commit_asks_the_budgets_checks(switch):
    """A stream's heartbeat is one of them."""
    asked = []

    class Slow(FakeTrail):
        def finish(self, intent, closing, timeout, pulse):
            pulse()
            pulse()
            return super().finish(intent, closing, timeout)

    slow = Slow()
    budget = Budget(36, lambda: asked.append(True))
    an_audited(slow, switch).open(a_request(), budget).collect()

    assert (len(asked), len(slow.closed)) == (2, 1)


def test_a_reply_that_is_closed_early_says_why_on_record(chat, trail, switch):
    switch.deltas = ("Hel", "lo")
    stream = chat.open(a_request(stream=True), Budget(36))
    next(stream)

    stream.close()

    ((_, closing),) = trail.closed
    assert (closing.outcome, closing.code) == ("cancelled", "client_gone")


LONG = "one word @ token, key, pass, secret, cookie and bearer, " * 2000


class SlowRedactor(Redactor):
    """A redactor for which each look at the clock finds a second gone."""

    def __init__(self):
        super().__init__(clock=iter(range(10_000)).__next__)


def slow_audited(trail, *upstreams):
    policy = ContentPolicy(Content.FULL, SlowRedactor(), KEY)
    return Audited(ChatRouter(upstreams), trail, policy)


def test_an_answer_that_cannot_be_redacted_in_time_is_none(trail, switch):
    switch.deltas = [LONG]
    chat = slow_audited(trail, switch)

    with pytest.raises(NoAnswer):
        chat.open(a_request(), Budget(8)).collect()

    ((_, closing),) = trail.closed
    assert (closing.outcome, closing.code) == ("failed", "upstream_unavailable")
    stored = json.loads(closing.reply)
    assert stored["truncated"] is True
    assert LONG.startswith(stored["text"])
    assert len(stored["text"]) > 16000


def test_a_request_that_cannot_be_redacted_in_time_is_asked_of_nobody(trail, switch):
    chat = slow_audited(trail, switch)

    with pytest.raises(NoAnswer):
        chat.open(a_request(LONG), Budget(2))

    ((intent, closing),) = trail.closed
    assert json.loads(intent.request)["truncated"] is True
    assert closing.outcome == "failed"
    assert switch.calls == 0


@pytest.mark.parametrize(("lasting", "limit"), [(600, 5.0), (37.5, 1.7), (36, 0.2)])
def test_the_record_of_a_long_stream_has_its_time_too(clock, switch, lasting, limit):
    limits = []

    class Timed(FakeTrail):
        def finish(self, intent, closing, timeout, pulse):
            limits.append(timeout)
            return super().finish(intent, closing, timeout)

    budget = Budget(36, clock=clock).streaming(lasting)
    stream = an_audited(Timed(), switch).open(a_request(stream=True), budget)
    clock.advance(36)

    stream.collect()

    assert limits == [pytest.approx(limit)]


# ---- what nobody foresaw, in the making of a record


class BrokenPolicy(ContentPolicy):
    """Breaks in one of its methods, by name."""

    def __init__(self, method):
        super().__init__(Content.FULL, Redactor([]), KEY)

        def broken(*arguments):
            raise RecursionError

        setattr(self, method, broken)


class BrokenTrail(FakeTrail):
    """Breaks the first time that one of its methods is called, by name."""

    def __init__(self, method):
        super().__init__()
        whole = getattr(self, method)

        def broken(*arguments):
            setattr(self, method, whole)
            raise KeyError

        setattr(self, method, broken)


def a_broken_one(policy=None, trail=None, required=True):
    switch = FakeUpstream("switch")
    trail = BrokenTrail(trail) if trail else FakeTrail()
    policy = BrokenPolicy(policy) if policy else BrokenPolicy("unused")
    chat = Audited(ChatRouter([switch]), trail, policy, required=required)
    return chat, trail, switch


@pytest.mark.parametrize(
    "broken", [{"policy": "name"}, {"policy": "request"}, {"trail": "begin"}]
)
def test_an_intent_that_breaks_means_that_nobody_is_asked(broken):
    chat, _, switch = a_broken_one(**broken)

    with pytest.raises(AuditUnavailable, match="internal_error"):
        ask(chat)

    assert switch.calls == 0


@pytest.mark.parametrize("broken", [{"policy": "reply"}, {"trail": "finish"}])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_whose_record_breaks_is_not_delivered_and_on_record_so(
    broken, stream, caplog
):
    chat, trail, _ = a_broken_one(**broken)

    with pytest.raises(AuditUnavailable, match="internal_error"):
        ask(chat, stream=stream)

    ((intent, closing),) = trail.closed
    assert intent in trail.begun
    assert (closing.outcome, closing.code, closing.status) == (
        "failed",
        "audit_unavailable",
        503,
    )
    assert "record of a chat broke" in caplog.text


@pytest.mark.parametrize("broken", [{"policy": "reply"}, {"trail": "finish"}])
def test_a_failure_whose_record_breaks_ends_on_record_too(broken):
    chat, trail, switch = a_broken_one(**broken)
    switch.fail(CallerFault("upstream_rejected"))

    with pytest.raises(AuditUnavailable, match="internal_error"):
        ask(chat)

    ((_, closing),) = trail.closed
    assert (closing.outcome, closing.code) == ("failed", "upstream_rejected")


def test_a_veto_is_told_though_the_trail_breaks_twice(switch):
    class Broken(BrokenTrail):
        def note(self, intent, closing):
            raise KeyError

    chat = an_audited(Broken("finish"), switch)

    with pytest.raises(AuditUnavailable):
        ask(chat)


@pytest.mark.parametrize(
    "broken",
    [
        {"policy": "name"},
        {"policy": "request"},
        {"policy": "reply"},
        {"trail": "begin"},
        {"trail": "note"},
    ],
)
def test_break_glass_answers_whatever_breaks(broken, caplog):
    chat, trail, _ = a_broken_one(**broken, required=False)

    assert ask(chat).text == "Hi"

    assert "without a record" in caplog.text
    assert [closing.outcome for _, closing in trail.closed] in ([], ["completed"])


def test_a_refusal_at_the_door_is_told_though_its_record_breaks(caplog):
    chat, trail, _ = a_broken_one(policy="request")

    chat.refuse(a_request(""), "invalid_request", 422)

    assert trail.closed == []
    assert "refusal broke" in caplog.text
