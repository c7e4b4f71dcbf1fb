import contextvars
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway import tracing
from app.gateway.tracing import continued

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture
def current():
    """Make a trace current, as the doors do."""
    token = tracing.current.set(continued(VALID, "vendor=1"))
    yield tracing.current.get()
    tracing.current.reset(token)


def test_a_callers_trace_goes_on_under_a_span_of_our_own():
    trace = continued(VALID)

    assert (trace.trace_id, trace.parent_id) == (TRACE, SPAN)
    assert trace.is_sampled
    assert trace.header() == f"00-{TRACE}-{trace.span_id}-01"
    assert trace.span_id != SPAN


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        VALID.upper(),
        VALID + "\n",
        VALID + "-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"{VALID},{VALID}",
        f"00-{TRACE}-{SPAN}-0g",
    ],
)
def test_a_header_that_is_not_well_formed_begins_a_new_trace(header):
    trace = continued(header, "vendor=1")

    assert trace.trace_id != TRACE
    assert (trace.parent_id, trace.state) == ("", "")
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", trace.header())


def test_a_later_version_may_say_more_and_is_answered_in_ours():
    trace = continued(f"cc-{TRACE}-{SPAN}-03-what-the-future-brings")

    assert trace.header().startswith(f"00-{TRACE}-")
    assert trace.header().endswith("-01")


def test_a_new_trace_is_kept_only_where_somebody_keeps_it():
    assert not continued("").is_sampled
    assert continued("", sample=True).is_sampled
    assert not continued(f"00-{TRACE}-{SPAN}-00", sample=True).is_sampled


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("rojo=00f067aa0ba902b7", "rojo=00f067aa0ba902b7"),
        ("a=1, b=2 ,,c@d=3", "a=1,b=2,c@d=3"),
        ("a=1,a=2", ""),
        ("A=1", ""),
        ("a", ""),
        ("a=\x01", ""),
        ("a=é", ""),
        (",".join(f"k{n}=1" for n in range(33)), ""),
        ("a=" + "x" * 257, ""),
        (",".join(f"k{n}=" + "x" * 100 for n in range(6)), ""),
    ],
)
def test_a_tracestate_is_handed_on_whole_or_not_at_all(state, kept):
    assert continued(VALID, state).state == kept


def test_each_attempt_has_a_span_of_its_own_that_is_told_once(current):
    first, second = tracing.outgoing(), tracing.outgoing()

    assert first["tracestate"] == "vendor=1"
    assert first["traceparent"] != second["traceparent"]
    assert {h["traceparent"].split("-")[2] for h in (first, second)} == set(
        current.attempts
    )
    assert tracing.ended_attempt() == second["traceparent"].split("-")[2]
    assert tracing.ended_attempt() == ""


def test_outside_of_a_request_nothing_is_sent():
    nothing = contextvars.Context()  # not what an answer that nobody closed has left

    assert nothing.run(tracing.outgoing) == {}
    assert nothing.run(tracing.ended_attempt) == ""


@given(st.text(), st.text())
def test_no_header_breaks_it(traceparent, tracestate):
    trace = continued(traceparent, tracestate)

    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", trace.header())
    assert trace.state.isascii()
