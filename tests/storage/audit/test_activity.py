"""The recent past as the console draws it."""

import pytest

from app.gateway.records.activity import GAP
from tests.storage.making import a_closing, an_intent


@pytest.fixture
def activity(backend, trail):
    return backend.activity()


@pytest.fixture
def chat(trail):
    """Put a chat on record that was answered at that time."""

    def put(at, degraded_by=None, **changes):
        facts = {"degraded_by": degraded_by, "closed_at": at + 0.5} | changes
        trail.finish(an_intent(opened_at=at), a_closing(**facts), 10.0)

    return put


def test_an_outage_is_one_window_with_its_causes_in_the_order_they_appeared(
    chat, activity
):
    chat(1000.0)
    chat(1010.0, "read_timeout", provider="madre")
    chat(1015.0, "unhealthy", provider="madre")
    chat(1020.0, "unhealthy", provider="madre", closed_at=1024.0)
    chat(1030.0)

    (window,) = activity.windows(since=0, limit=10)

    assert (window.began, window.ended, window.chats) == (1010.0, 1024.0, 3)
    assert window.causes == (("read_timeout", 1), ("unhealthy", 2))


def test_windows_are_apart_when_the_pause_is_longer_than_the_gap(chat, activity):
    for at in (1000.0, 1000.0 + GAP, 1000.0 + 2 * GAP + 1):
        chat(at, "connect_refused")

    later, earlier = activity.windows(since=0, limit=10)

    assert (earlier.chats, later.chats) == (2, 1)
    assert activity.windows(since=0, limit=1) == (later,)
    assert activity.windows(since=1000.0 + GAP + 1, limit=10) == (later,)


def test_without_degraded_answers_there_is_no_window(chat, activity):
    chat(1000.0)

    assert activity.windows(since=0, limit=10) == ()


def test_minutes_in_which_nobody_answered_or_we_refused_are_windows_too(
    chat, activity, trail
):
    chat(1000.0, "read_timeout", provider="madre")
    chat(1001.0, outcome="failed", status=503, code="upstream_unavailable")
    chat(1002.0, outcome="failed", status=200, code="stream_broken", provider="switch")
    chat(1003.0, outcome="interrupted", status=None, code="worker_died")
    chat(1004.0, outcome="failed", status=400, code="too_long")  # its caller's mistake
    chat(1005.0, outcome="cancelled", status=499)
    chat(1006.0, outcome="refused", status=429, code="rate_limited")
    chat(1007.0, outcome="refused", status=503, code="overloaded")
    sum_of_a_minute = an_intent(opened_at=1090.0, request='{"repeats":41}')
    overloaded = a_closing(
        outcome="refused", status=503, code="overloaded", closed_at=1090.0
    )
    trail.finish(sum_of_a_minute, overloaded, 10.0)

    refused, unanswered, degraded = activity.windows(since=0, limit=10)

    assert (degraded.kind, degraded.chats) == ("degraded", 1)
    assert (unanswered.kind, unanswered.began, unanswered.ended) == (
        "unanswered",
        1001.0,
        1003.5,
    )
    assert unanswered.causes == (
        ("upstream_unavailable", 1),
        ("stream_broken", 1),
        ("worker_died", 1),
    )
    assert (refused.kind, refused.chats) == ("refused", 42)
    assert (refused.began, refused.ended) == (1007.0, 1090.0)
    assert activity.windows(since=0, limit=1) == (refused,)


def test_the_recent_chats_come_newest_first(chat, activity):
    for at in (1000.0, 1001.0, 1002.0):
        chat(at)
    chat(1003.0, "schema", outcome="failed", code="upstream_unavailable")

    newest, *others = activity.recent(since=1001.0, limit=10)

    assert (newest.outcome, newest.code) == ("failed", "upstream_unavailable")
    assert [moment.opened_at for moment in others] == [1002.0, 1001.0]
    assert (others[0].duration, others[0].provider) == (0.25, "switch")
    assert activity.recent(since=0, limit=1) == (newest,)


def test_chats_under_way_are_among_them(trail, activity):
    trail.begin(an_intent(opened_at=1000.0))
    trail.finish(an_intent(opened_at=999.0), a_closing(), 10.0)
    trail.close()  # writes what is queued

    assert len(activity.recent(since=0, limit=10)) == 2


def used(activity, **options):
    asked = {"since": 0, "until": 1e10, "limit": 100, "by_person": False} | options
    return activity.usage(**asked)


def test_usage_counts_the_chats_of_each_caller_by_their_end(trail, activity):
    def put(caller, *, request=None, **closing):
        asked = {"caller": caller} | ({"request": request} if request else {})
        trail.finish(an_intent(opened_at=1000.0, **asked), a_closing(**closing), 10.0)

    put("shop", input_tokens=10, output_tokens=5)
    put("shop", degraded_by="silent", provider="madre", output_tokens=7)
    put("shop", outcome="failed", status=503)
    put("shop", outcome="interrupted", status=None)
    put("shop", outcome="cancelled", status=499)
    put("shop", outcome="refused", status=429)
    put("shop", outcome="refused", status=429, request='{"repeats":41}')
    put("lab")

    shop, lab = used(activity)

    assert (shop.caller, shop.person) == ("shop", None)
    assert (shop.chats, shop.answered, shop.degraded) == (47, 2, 1)
    assert (shop.failed, shop.refused, shop.cancelled) == (2, 42, 1)
    assert (shop.input_tokens, shop.output_tokens) == (10, 12)
    assert (lab.caller, lab.chats, lab.input_tokens) == ("lab", 1, 0)
    assert used(activity, limit=1) == (shop,)


def test_usage_is_of_its_time_and_by_person_if_that_is_asked(trail, activity):
    for at, person in (
        (1000.0, "ann"),
        (1001.0, "ann"),
        (1002.0, "bob"),
        (2000.0, "x"),
    ):
        trail.finish(an_intent(opened_at=at, person=person), a_closing(), 10.0)

    by_person = used(activity, since=1000, until=2000, by_person=True)

    assert [(one.person, one.chats) for one in by_person] == [("ann", 2), ("bob", 1)]
    (together,) = used(activity, since=1000, until=2000)
    assert (together.person, together.chats) == (None, 3)


def test_usage_knows_no_events_and_takes_back_what_was_not_delivered(
    trail, activity, sql
):
    trail.finish(an_intent(opened_at=1000.0), a_closing(output_tokens=3), 10.0)
    for route in ("breaker", "tokens", "knot"):
        event = a_closing(outcome="event", status=0)
        trail.finish(an_intent(opened_at=1001.0, route=route), event, 10.0)
    late = an_intent(opened_at=1002.0, route="correction")
    trail.finish(late, a_closing(outcome="failed", status=503), 10.0)
    sql(
        "DROP TRIGGER records_sealed",
        f"UPDATE records SET corrects = 'x' WHERE id = '{late.id}'",
    )

    (operator,) = used(activity)

    assert (operator.chats, operator.answered, operator.failed) == (1, 0, 1)


def test_a_moment_has_the_attempts_of_its_chat(trail, activity):
    told = '[{"upstream":"switch","fault":null,"duration":0.1}]'
    trail.finish(an_intent(opened_at=1000.0), a_closing(attempts=told), 10.0)

    (moment,) = activity.recent(since=0, limit=10)

    assert moment.attempts == told
