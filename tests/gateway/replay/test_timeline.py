import json

import pytest

from app.gateway.budget import Budget
from app.gateway.chain.audited import Audited
from app.gateway.records.content import Content, ContentPolicy
from app.gateway.records.redaction import Redactor
from app.gateway.replay.timeline import MOST, Timeline, stored_steps
from app.gateway.routing.router import ChatRouter
from tests.support.fakes import FakeTrail, FakeUpstream, a_request


def a_timeline(clock, pieces):
    timeline = Timeline(clock(), clock)
    for wait, _ in pieces:
        clock.advance(wait)
        timeline.mark()
    timeline.over(text for _, text in pieces)
    return timeline


def test_each_piece_has_the_wait_before_it_and_its_length(clock):
    timeline = a_timeline(clock, [(0.25, "Hel"), (0.012, "lo"), (1.0, "")])

    assert timeline.steps() == ([250, 12, 1000], [3, 2, 0])


def test_rounding_adds_up_to_nothing(clock):
    """A thousand waits of 0.4 ms are 400 ms, not none."""
    waits, _ = a_timeline(clock, [(0.0004, "x")] * 1000).steps()

    assert sum(waits) == 400


@pytest.mark.parametrize("pieces", [MOST + 1, 2 * MOST, 2 * MOST + 1, 5 * MOST + 3])
def test_of_a_long_reply_neighbours_are_one_and_nothing_is_lost(clock, pieces):
    waits, lengths = a_timeline(clock, [(0.002, "ab")] * pieces).steps()

    assert len(waits) == len(lengths) <= MOST
    assert sum(lengths) == 2 * pieces
    assert sum(waits) == 2 * pieces


@pytest.mark.parametrize(
    "value", [None, [], [[1]], [[1], [1, 2]], [[1], ["1"]], [[-1], [1]], {"a": 1}]
)
def test_another_value_is_no_timeline(value):
    assert stored_steps(value) is None


def stored_reply(clock, deltas, *, content=Content.FULL, **fields):
    trail, upstream = FakeTrail(), FakeUpstream("switch", deltas=deltas)
    policy = ContentPolicy(content, Redactor(), b"k" * 32)
    chat = Audited(ChatRouter([upstream], clock), trail, policy, clock=clock)
    for _ in chat.open(a_request(**fields), Budget(36, clock=clock)):
        clock.advance(0.1)
    ((_, closing),) = trail.closed
    return json.loads(closing.reply)


def test_a_streamed_reply_is_stored_with_its_timeline(clock):
    stored = stored_reply(clock, ["Hel", "lo ", "you"], stream=True)

    assert stored == {"timeline": [[0, 100, 100], [3, 3, 3]], "text": "Hello you"}
    assert next(iter(stored)) == "timeline"  # where a search skips it


def test_a_whole_reply_has_none(clock):
    assert stored_reply(clock, ["Hel", "lo"]) == {"text": "Hello"}


@pytest.mark.parametrize("content", [Content.DIGEST, Content.NONE])
def test_where_no_words_are_kept_their_lengths_are_not_either(clock, content):
    """The lengths of the pieces tell much of the words."""
    stored = stored_reply(clock, ["Hel", "lo"], content=content, stream=True)

    assert "timeline" not in stored


def test_what_was_redacted_is_said_to_be(clock):
    stored = stored_reply(clock, ["Ask ann@example.org"])

    assert stored == {"redacted": True, "text": "Ask [redacted:email]"}
