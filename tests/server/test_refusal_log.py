"""A few lines a minute for what cannot be parsed, and nothing uncounted."""

import logging

import pytest

from app.server.refusal_log import LINES, MINUTE, RefusalLog

PEER = ("192.0.2.7", 4711)


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


def test_the_first_are_told_and_the_rest_are_counted(told):
    now = [0.0]
    refusals = RefusalLog(lambda: now[0])

    for _ in range(LINES + 5000):
        refusals.note("InvalidRequestLine", PEER)
    refusals.note("InvalidHeader", PEER)
    refusals.tell_sum()
    assert told() == ["Refused a request: InvalidRequestLine, source=192.0.2.7"] * LINES

    now[0] = MINUTE
    refusals.tell_sum()
    refusals.tell_sum()
    assert told()[LINES:] == [
        "Refused 5001 more requests (InvalidRequestLine: 5000, InvalidHeader: 1)"
    ]


def test_the_next_minute_begins_anew(told):
    now = [0.0]
    refusals = RefusalLog(lambda: now[0])
    for _ in range(LINES + 1):
        refusals.note("InvalidHeader", "")

    now[0] = MINUTE
    refusals.note("InvalidHeader", "")

    assert told()[LINES:] == [
        "Refused 1 more requests (InvalidHeader: 1)",
        "Refused a request: InvalidHeader, source=a local socket",
    ]


def test_the_sum_is_told_at_the_end_too(told):
    refusals = RefusalLog(lambda: 0.0)
    for _ in range(LINES + 2):
        refusals.note("InvalidHeader", PEER)

    refusals.tell_sum(now=True)

    assert told()[LINES:] == ["Refused 2 more requests (InvalidHeader: 2)"]
