from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.upstreams.http.statuses import LONGEST_REST, parse_retry_after

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
        ("+5", None),
        ("5, 10", None),
        ("1.5", 1.5),
        ("1.", 1.0),
        ("." + "5" * 5000, None),
        ("0." + "9" * 5000, 1.0),
        ("1.5.1", None),
        ("1e3", None),
        ("1_000", None),
        ("inf", None),
        ("nan", None),
        ("5 seconds", None),
        ("Mon, 01 Jan 2030 00:00:00 +9999999999999999", None),
        (f"Mon, 01 Jan {'2' * 22} 00:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", None),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
        (f"Mon, {'1' * 5000} Jan 2030 00:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_REST),
        ("Mon, 01 Jan 0001 00:00:00 GMT", 0.0),
        ("\u0663", None),
        ("soon", None),
    ],
)
def test_a_rest_is_read_in_either_form_and_capped(value, seconds):
    assert parse_retry_after(value, NOW) == seconds


# Texts that are nearly dates: each part may be absurd.
NUMBERS = st.integers().map(str) | st.text("0123456789", min_size=1, max_size=30)
NEARLY_DATES = st.builds(
    "{}{} {} {} {}:{}:{} {}".format,
    st.sampled_from(["", "Mon, ", "Sunday, ", ", "]),
    NUMBERS,
    st.sampled_from(["Jan", "Feb", "Nope", "12"]),
    NUMBERS,
    NUMBERS,
    NUMBERS,
    NUMBERS | st.floats().map(str),
    st.sampled_from(["", "GMT", "EST", "-0000"]) | NUMBERS.map("+{}".format),
)


@given(st.text() | NEARLY_DATES)
def test_any_text_is_a_rest_or_none(value):
    rest = parse_retry_after(value, NOW)

    assert rest is None or 0.0 <= rest <= LONGEST_REST
