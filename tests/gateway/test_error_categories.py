import ast
from pathlib import Path

import pytest

from app.gateway import error_categories as error_types
from app.gateway import errors
from app.gateway.errors import (
    AuditUnavailable,
    CallerGone,
    ContentFiltered,
    ContextTooLong,
    Interrupted,
    NoAnswer,
    NobodyAnswered,
    Overloaded,
    Rejected,
    UpstreamError,
)

APP = Path(__file__).parents[2] / "app"
UPSTREAM_ERRORS = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, UpstreamError)
}


def faults_in_the_code():
    """The words that the code gives to upstream errors, where they are literal."""
    for path in APP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                first = node.args[0]
                if name in UPSTREAM_ERRORS and isinstance(first, ast.Constant):
                    yield first.value


def test_every_fault_of_the_code_is_on_the_list():
    found = set(faults_in_the_code())

    assert "http_5xx" in found, "nothing was found, so nothing was shown"
    assert found - set(error_types.FAULTS) == set()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NoAnswer("read_timeout"), "upstream_timeout"),
        (Interrupted("truncated"), "upstream_bad_reply"),
        (ContextTooLong("context_length_exceeded"), "caller_unsupported"),
        (Rejected("upstream_rejected"), "upstream_rejected"),
        (ContentFiltered("content_filter"), "policy_content_filter"),
        (NobodyAnswered(), "upstream_nobody_answered"),
        (CallerGone(), "caller_gone"),
        (Overloaded("queue_full"), "policy_overloaded"),
        (AuditUnavailable(), "gateway_audit_unavailable"),
        (ZeroDivisionError(), "gateway_internal"),
    ],
)
def test_an_error_is_called_by_whose_fault_it_was(error, expected):
    assert error_types.of_error(error) == expected


def test_a_fault_that_nobody_has_thought_of_is_an_alarm():
    assert error_types.of_error(NoAnswer("gremlins")) == error_types.OTHER
    assert error_types.of_fault("gremlins") == error_types.OTHER


def test_an_attempt_may_also_have_ended_for_a_reason_of_its_caller():
    assert error_types.of_fault("client_gone") == "caller_gone"
    assert error_types.of_fault("shutting_down") == "gateway_shutting_down"


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("forbidden", 403, "caller_forbidden"),
        ("rate_limited", 429, "policy_rate_limited"),
        ("unsupported_media_type", 415, "caller_invalid"),
        ("whatever", 500, "gateway_internal"),
    ],
)
def test_a_refusal_at_a_door_goes_by_its_code_and_else_by_its_status(
    code, status, expected
):
    assert error_types.of_refusal(code, status) == expected


def test_all_types_tell_a_domain():
    domains = {word.partition("_")[0] for word in error_types.ERROR_TYPES}

    assert domains == {"caller", "policy", "upstream", "gateway", ""}
