import io
from http.client import IncompleteRead

import pytest

from app.upstreams.http.bodies import StreamedResponse

CHUNKED = b"Transfer-Encoding: chunked"


def wire(data):
    """What a response reads."""
    return io.BufferedReader(io.BytesIO(data))


def body(field, data, status=b"200 OK"):
    response = StreamedResponse(
        wire(b"HTTP/1.1 %s\r\n%s\r\n\r\n" % (status, field) + data)
    )
    response.begin()
    pieces = []
    while not response.is_over:
        pieces.append(response.read_piece())
    return b"".join(pieces)


@pytest.mark.parametrize(
    ("field", "data"),
    [
        (b"Content-Length: 5", b"hello, and what nobody asked for"),
        (b"Connection: close", b"hello"),
        (CHUNKED, b"2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\n\r\n"),
        (CHUNKED, b"0005 \r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n"),
        (CHUNKED, b"5\r\nhello\r\n0\r\n"),
    ],
)
def test_a_body_ends_where_its_head_says(field, data):
    assert body(field, data) == b"hello"


@pytest.mark.parametrize("field", [b"Content-Length: 0", CHUNKED])
def test_an_answer_without_a_body_is_over_at_once(field):
    assert body(field, b"0\r\n\r\n", status=b"204 No Content") == b""


@pytest.mark.parametrize(
    ("field", "data"),
    [
        (b"Content-Length: 6", b"hello"),
        (CHUNKED, b"5\r\nhel"),
        (CHUNKED, b"5\r\nhello"),
        (CHUNKED, b"5\r\nhello\r\n"),
        (CHUNKED, b"5\r\nhello__0\r\n\r\n"),
        (CHUNKED, b"0x5\r\nhello\r\n0\r\n\r\n"),
        (CHUNKED, b"-5\r\nhello\r\n0\r\n\r\n"),
        (CHUNKED, b"0\r\nX-Trailer"),
    ],
)
def test_a_body_that_was_cut_off_is_no_body(field, data):
    with pytest.raises(IncompleteRead):
        body(field, data)
