"""A count is an upstream's, or an estimate that says so."""

import pytest

from app.gateway.budget import Budget
from app.gateway.chain.counted import ESTIMATE, OF_A_FILE, Counted, estimate
from app.gateway.chat import Attempt, ChatRequest, Message, Usage
from app.gateway.errors import (
    AuditUnavailable,
    CallerFault,
    CallerGone,
    NobodyAnswered,
    Unfit,
    UnknownModel,
    Unsupported,
)
from tests.support.fakes import FakeUpstream, a_request


def count(inner, **fields):
    asked = a_request(**fields).to_count()
    return Counted(inner).open(asked, Budget(5)).collect()


def test_a_chat_is_handed_on_as_it_is():
    inner = FakeUpstream()
    inner.fail(Unsupported("tools"))

    with pytest.raises(Unsupported):
        Counted(inner).open(a_request(), Budget(5))


def test_a_count_of_an_upstream_is_handed_on():
    assert count(FakeUpstream()).upstream == "switch"


@pytest.mark.parametrize("error", [Unsupported("count"), NobodyAnswered(), Unfit("x")])
def test_where_nobody_counts_it_is_an_estimate(error):
    inner = FakeUpstream()
    inner.fail(error)

    reply = count(inner, model="m")

    assert (reply.upstream, reply.model, reply.text) == (ESTIMATE, "m", "")
    assert reply.usage == Usage(6)
    assert not reply.is_degraded


def test_an_estimate_in_place_of_a_count_is_degraded():
    inner, error = FakeUpstream(), NobodyAnswered()
    error.attempts = (Attempt("switch", "http_5xx", 0.1),)
    inner.fail(error)

    reply = count(inner)

    assert reply.degraded_by == "upstream_unavailable"
    assert reply.attempts == (*error.attempts, Attempt(ESTIMATE, None, 0.0))


@pytest.mark.parametrize(
    "error",
    [UnknownModel("x"), CallerFault("x"), CallerGone(), AuditUnavailable()],
    ids=lambda error: type(error).__name__,
)
def test_other_failures_are_no_reason_to_guess(error):
    inner = FakeUpstream()
    inner.fail(error)

    with pytest.raises(type(error)):
        count(inner)


def test_an_estimate_counts_all_that_is_said():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    said = [{"type": "text", "text": "x" * 400}, picture]
    raw = {"role": "user", "content": said}
    tools = [{"type": "function", "function": {"name": "f" * 400}}]

    plain = estimate(a_request("x" * 400))
    full = estimate(
        ChatRequest(
            messages=(Message("user", "", raw),),
            session_id="s",
            correlation_id="c",
            extra={"tools": tools},
        )
    )

    assert 100 <= plain <= 110
    assert 200 + OF_A_FILE <= full <= 240 + OF_A_FILE


def test_other_scripts_need_more_tokens_for_a_character():
    assert estimate(a_request("漢" * 400)) == pytest.approx(300, abs=10)
    assert estimate(a_request("\ud800" * 400)) > 0
