"""Traces leave the process only where somebody asked for it, and then whole."""

import subprocess
import sys

import pytest

from app.gateway import tracing
from app.gateway.chain.metered import Ending
from app.gateway.chat import Attempt, ChatReply
from app.telemetry.traces.export import open_exporter
from tests.support.collector import a_collector, attributes
from tests.support.fakes import a_request

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def a_degraded_ending(trace, **facts):
    """A chat whose first upstream was asked in vain, the second passed over."""
    token = tracing.current.set(trace)
    tracing.outgoing()
    failed = Attempt("switch", "http_5xx", 0.2, 12, 500, tracing.ended_attempt())
    passed_over = Attempt("spare", "circuit_open", 0.0)
    tracing.outgoing()
    answered = Attempt("madre", None, 0.4, 120, 200, tracing.ended_attempt())
    tracing.current.reset(token)
    reply = ChatReply(
        "the words of a caller",
        "madre",
        "m-1",
        degraded_by="http_5xx",
        attempts=(failed, passed_over, answered),
        audit_id="0123",
    )
    defaults = {"outcome": "completed", "error_type": "", "overhead": 0.0}
    return Ending(
        a_request("the words of a caller"),
        reply,
        duration=0.7,
        queued=0.0,
        overshoot=-1.0,
        trace=trace,
        **(defaults | facts),
    )


def test_a_chat_and_its_attempts_are_spans_of_the_callers_trace():
    trace = tracing.continued(f"00-{TRACE}-{PARENT}-01")
    with a_collector() as collector:
        exporter = open_exporter(collector.url, "1.2.3")
        exporter.observers[0].ended(a_degraded_ending(trace))
        exporter.close()

    chat, switch, madre = (
        collector.spans[name] for name in ("chat", "chat switch", "chat madre")
    )
    assert set(collector.spans) == {"chat", "chat switch", "chat madre"}
    assert {s.trace_id.hex() for s in (chat, switch, madre)} == {TRACE}
    assert chat.parent_span_id.hex() == PARENT
    assert chat.span_id.hex() == trace.span_id
    assert switch.parent_span_id == madre.parent_span_id == chat.span_id
    assert [switch.span_id.hex(), madre.span_id.hex()] == list(trace.attempts)
    assert attributes(switch) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "switch",
        "http.response.status_code": 500,
        "error.type": "upstream_refused",
        "gateway.fault": "http_5xx",
    }
    assert attributes(chat)["gen_ai.response.model"] == "m-1"
    assert attributes(chat)["gateway.fallback_reason"] == "http_5xx"
    took = switch.end_time_unix_nano - switch.start_time_unix_nano
    assert took == pytest.approx(0.2e9, rel=1e-6)
    assert switch.status.code != chat.status.code


def test_no_word_that_was_said_leaves_with_a_span():
    trace = tracing.continued("", sample=True)
    with a_collector() as collector:
        exporter = open_exporter(collector.url, "1.2.3")
        exporter.observers[0].ended(a_degraded_ending(trace))
        exporter.close()

    assert collector.requests
    assert b"words" not in collector.requests[0].SerializeToString()


def test_a_trace_that_its_caller_does_not_keep_is_not_sent():
    trace = tracing.continued(f"00-{TRACE}-{PARENT}-00")
    with a_collector() as collector:
        exporter = open_exporter(collector.url, "1.2.3")
        exporter.observers[0].ended(a_degraded_ending(trace))
        exporter.close()

    assert collector.requests == []


def test_nobody_is_told_by_default():
    assert open_exporter(None, "1.2.3").observers == ()


def test_without_the_packages_it_is_said_and_nothing_is_sent(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    monkeypatch.delitem(sys.modules, "app.telemetry.traces.otel", raising=False)

    assert open_exporter("http://127.0.0.1:4318", "1.2.3").observers == ()
    assert "VX11_OTLP_ENDPOINT" in caplog.text


def test_none_of_it_is_imported_where_nobody_asked_for_it():
    program = (
        "import sys, app.wiring, app.web, app.telemetry.metrics.measuring;"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
