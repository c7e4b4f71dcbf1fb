"""What is logged of an error; what callers see of it is in the doors' own tests."""

import pytest

from app.gateway.errors import CallerGone, NobodyAnswered
from app.web.errors import report


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (NobodyAnswered(), ("ERROR", "Chat error: upstream_unavailable")),
        (ValueError("a bug"), ("ERROR", "Chat error: internal_error")),
        # A closed tab is no reason to wake anybody.
        (CallerGone(), ("INFO", "Chat error: client_gone")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_failures_are_errors_in_the_log(caplog, error, line):
    caplog.set_level("INFO")

    report(error)

    assert [(r.levelname, r.message) for r in caplog.records] == [line]
