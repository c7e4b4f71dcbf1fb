from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.upstreams.statuses import LONGEST_REST, parse_retry_after

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("7", 7.0),
        ("60", 60.0),
        ("3600", LONGEST_REST),
        ("9" * 5000, LONGEST_REST),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 12:00:30 -0000", 30.0),
        ("Sun, 22 Nov 2026 13:00:00 GMT", LONGEST_REST),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("-1", None),
        ("1.5", None),
        ("\u0663", None),
        ("soon", None),
    ],
)
def test_a_rest_is_read_in_either_form_and_capped(value, seconds):
    assert parse_retry_after(value, NOW) == seconds


@given(st.text())
def test_any_text_is_a_rest_or_none(value):
    rest = parse_retry_after(value, NOW)

    assert rest is None or 0.0 <= rest <= LONGEST_REST
