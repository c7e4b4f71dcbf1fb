"""What is logged of an error; what callers see of it is in the doors' own tests."""

import pytest
from flask import Flask

from app.gateway.errors import (
    AuditUnavailable,
    CallerFault,
    CallerGone,
    ContentFiltered,
    ContextTooLong,
    NobodyAnswered,
    Rejected,
    UnknownModel,
    Unsupported,
)
from app.web.request.errors import gateway_error, register_errors, report


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (NobodyAnswered(), ("ERROR", "Chat error: upstream_unavailable")),
        (ValueError("a bug"), ("ERROR", "Chat error: internal_error")),
        # A closed tab is no reason to wake anybody.
        (CallerGone(), ("INFO", "Chat error: client_gone")),
        # Nor is a request that nobody can answer as it is.
        (CallerFault("x"), ("INFO", "Chat error: upstream_rejected")),
        (ContentFiltered("x"), ("INFO", "Chat error: content_filter")),
        (ContextTooLong("x"), ("INFO", "Chat error: context_length_exceeded")),
        (Rejected("x"), ("INFO", "Chat error: upstream_rejected")),
        (UnknownModel("x"), ("INFO", "Chat error: model_not_found")),
        (Unsupported(), ("INFO", "Chat error: unsupported")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_failures_are_errors_in_the_log(caplog, error, line):
    caplog.set_level("INFO")

    report(error)

    assert [(r.levelname, r.message) for r in caplog.records] == [line]


def test_langchain_and_litellm_know_an_overflow_by_its_words():
    told = report(ContextTooLong("context_length")).openai()["error"]

    assert told["code"] == "context_length_exceeded"
    assert "context_length_exceeded" in told["message"]
    assert "this model's maximum context length is" in told["message"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/operator/api/chat"])
def test_clients_are_told_where_a_retry_is_of_no_use(path):
    late = NobodyAnswered()
    late.may_repeat = False
    app = Flask(__name__)
    register_errors(app)

    def told(error):
        with app.test_request_context(path):
            return gateway_error(error).headers.get("x-should-retry")

    assert told(AuditUnavailable()) == told(late) == "false"
    assert told(NobodyAnswered()) is None
