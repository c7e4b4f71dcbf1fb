"""Call figures: what the records of chats say of each upstream."""

import json

import pytest

from app.gateway.records.activity import Moment
from app.gateway.records.call_figures import call_figures


def a_moment(*attempts, at=1000.0, record="r"):
    told = [
        {"upstream": name, "fault": fault, "duration": took}
        for name, fault, took in attempts
    ]
    return Moment(
        at, 1.0, "completed", 200, "madre", None, None, record, json.dumps(told)
    )


def test_calls_are_counted_for_each_upstream():
    newest = a_moment(("switch", "http_5xx", 0.2), ("madre", None, 0.5), record="new")
    older = a_moment(("switch", "silent", 5.0), ("madre", None, 0.7), record="old")

    figures = call_figures([newest, older])

    switch, madre = figures["switch"], figures["madre"]
    assert (switch.calls, switch.failures, switch.error_rate) == (2, 2, 1.0)
    assert (switch.last_failure.fault, switch.last_failure.record) == (
        "http_5xx",
        "new",
    )
    assert switch.quantile(0.5) is None
    assert (madre.calls, madre.failures, madre.error_rate) == (2, 0, 0.0)
    assert madre.last_failure is None


def test_quantiles_are_of_the_answers_alone():
    took = [("switch", None, float(n)) for n in range(1, 101)]
    figures = call_figures([a_moment(*took, ("switch", "silent", 900.0))])

    assert figures["switch"].quantile(0.5) == 51.0
    assert figures["switch"].quantile(0.95) == 96.0
    assert figures["switch"].error_rate == pytest.approx(1 / 101)


@pytest.mark.parametrize("fault", ["unhealthy", "circuit_open", "context_length"])
def test_what_says_nothing_of_an_upstream_is_no_call(fault):
    figures = call_figures([a_moment(("switch", fault, 0.0))])

    assert figures["switch"].calls == 0
    assert figures["switch"].error_rate is None


@pytest.mark.parametrize(
    "text", [None, "", "no JSON", "{}", "[1]", '[{"upstream": 1, "duration": 1}]']
)
def test_a_record_that_says_something_else_is_passed_over(text):
    moment = Moment(1000.0, None, None, None, None, None, None, "r", text)

    assert call_figures([moment]) == {}
