import io
from http.client import HTTPException

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.upstreams.http.heads import HeadedResponse, write_head


def wire(data):
    """What a response reads."""
    return io.BufferedReader(io.BytesIO(data))


def read(data):
    response = HeadedResponse(wire(data))
    response.begin()
    return response


def test_a_head_is_written_line_by_line():
    head = write_head("POST", "/chat", {"Host": "a", "X-B": "c"}, 7)

    assert head == (
        b"POST /chat HTTP/1.1\r\nHost: a\r\nX-B: c\r\nContent-Length: 7\r\n\r\n"
    )


def test_a_head_without_a_body_announces_none():
    assert b"Content-Length" not in write_head("GET", "/", {"Host": "a"}, None)


@given(st.text())
def test_a_header_either_stays_on_its_line_or_is_not_sent(value):
    try:
        head = write_head("GET", "/", {"X": value}, None)
    except ValueError:
        return
    assert head.count(b"\n") == 3


def test_header_names_are_lower_case_and_repeated_ones_joined():
    response = read(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a:2 \r\n\r\n")

    assert response.fields == {"x-a": "1, 2"}


@pytest.mark.parametrize(
    ("head", "will_close"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", False),
        (b"HTTP/1.1 204 No\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Close\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", True),
        (
            b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n",
            False,
        ),
    ],
)
def test_a_connection_outlives_an_answer_only_where_both_can_tell_its_end(
    head, will_close
):
    assert read(head).will_close is will_close


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_a_known_refusal(noise):
    for data in (noise, b"HTTP/1.1 200 OK\r\n" + noise, b"HTTP/1.1 200 " + noise):
        try:
            status = read(data).status
        except (HTTPException, ConnectionError):
            continue
        assert 200 <= status <= 999
