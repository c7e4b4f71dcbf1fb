"""What is stored of a request is the request again, or it is said why it is not."""

import json

import pytest

from app.gateway.abilities import COMPLETIONS, IMAGES, TOOLS
from app.gateway.chat import Message, Priority
from app.gateway.records.content import Content, ContentPolicy
from app.gateway.records.redaction import Redactor
from app.gateway.replay.origin import Replay
from app.gateway.replay.stored import Change, NotReplayable, request_of
from tests.support.fakes import a_request

RAW = {"role": "user", "content": [{"type": "text", "text": "Look"}]}


def stored(request, content=Content.FULL):
    policy = ContentPolicy(content, Redactor(["the-gateway-token"]), b"k" * 32)
    return json.loads(policy.request(request).text)


def again(record, **changes):
    return request_of(
        record, Change(**changes), upstream="madre", caller="ann", correlation_id="c-2"
    )


def test_a_request_is_asked_again_as_it_was(a_record):
    first = a_request(
        context={"page": 1},
        metadata={"team": "blue"},
        model="fast",
        extra={"temperature": 0.2, "tools": [{"type": "function"}]},
        anthropic={"betas": "x"},
        needs=frozenset({IMAGES}),
        wants=frozenset({TOOLS}),
        wants_choices=True,
        stream=True,
        task=COMPLETIONS,
        priority=Priority.HIGH,
        person="ann",
    )

    record = a_record(request=stored(first))
    request = again(record)

    kept = (
        "messages context metadata model extra anthropic needs wants wants_choices"
        " stream task"
    )
    for name in kept.split():
        assert getattr(request, name) == getattr(first, name), name
    assert request.priority is Priority.LOW
    assert request.route == "replay"
    assert request.replay == Replay(record.id, "madre")
    assert request.person is None


def test_it_is_a_session_of_its_own(a_record):
    """An upstream that remembers must not take it for the next word of the old one."""
    assert again(a_record()).session_id != a_record().session_id


@pytest.mark.parametrize(
    "message",
    [
        Message("user", "Look", RAW),
        Message("user", "Look", RAW, {"cache_control": {"type": "ephemeral"}}),
        Message("user", "Look", None, {"thinking": "x"}),
    ],
)
def test_messages_of_every_kind_come_back(a_record, message):
    first = a_request()._replace(messages=(message,))

    assert again(a_record(request=stored(first))).messages == (message,)


def test_a_change_is_made_and_nothing_else(a_record):
    record = a_record(request=stored(a_request(model="fast", extra={"top_p": 0.5})))

    request = again(record, model="slow", temperature=0.0)

    assert request.model == "slow"
    assert request.extra == {"top_p": 0.5, "temperature": 0.0}


def refused(record, **changes):
    with pytest.raises(NotReplayable) as refusal:
        again(record, **changes)
    return refusal.value


def test_redacted_words_are_another_question(a_record):
    asked = a_request("Mail ann@example.org and bob@example.org, the-gateway-token")

    record = a_record(request=stored(asked))
    refusal = refused(record)

    assert (refusal.reason, refusal.places) == ("redacted", 3)
    assert "3 places" in str(refusal)
    assert (
        "[redacted:email]" in again(record, with_placeholders=True).messages[0].content
    )


@pytest.mark.parametrize(
    ("content", "reason"), [(Content.DIGEST, "digest"), (Content.NONE, "not_kept")]
)
def test_words_that_were_not_kept_are_not_asked(a_record, content, reason):
    assert refused(a_record(request=stored(a_request(), content))).reason == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"request": None, "reply": None}, "erased"),
        ({"request": {"text": "", "truncated": True}}, "cut"),
        ({"request": {"redaction": "broke"}}, "not_kept"),
        ({"request": {"repeats": 7}, "outcome": "refused"}, "not_kept"),
        ({"request": {"messages": []}, "outcome": "refused"}, "not_kept"),
        ({"outcome": None, "reply": None}, "open"),
        ({"outcome": "event", "route": "breaker", "request": {}}, "no_chat"),
        ({"corrects": "0" * 32}, "no_chat"),
    ],
)
def test_what_cannot_be_asked_again_says_why(a_record, changes, reason):
    assert refused(a_record(**changes)).reason == reason
