"""Reading a body: how much of a hostile one is read at all."""

import json
from io import BytesIO

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from app.web.request.body import read_plain
from app.web.request.errors import InvalidBody

MEGABYTE = 1_048_576
TWENTY = 20 * MEGABYTE


class Input(BytesIO):
    """What a caller sends, all of which is there."""

    @property
    def taken(self):
        """Bytes that were read."""
        return self.tell()


def request_of(body, *, is_chunked=False):
    builder = EnvironBuilder(method="POST", content_type="application/json")
    environ = builder.get_environ() | {"wsgi.input": (sent := Input(body))}
    if is_chunked:
        environ |= {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}
    else:
        environ["CONTENT_LENGTH"] = str(len(body))
    return Request(environ), sent


def nested(inner):
    return b'{"context":' + b'{"":' * 190 + inner + b"}" * 190 + b',"message":"x"}'


HOSTILE = {
    "numbers as messages": b'{"messages":[' + b"1," * 520_000 + b"1]}",
    "deep texts": nested(b"[" + b'"",' * 349_000 + b'""]'),
    "lists": b"[" + b"[]," * 349_000 + b"0]",
    "brackets": b"[" * MEGABYTE,
    "objects": b"[" + b'{"":0},' * 149_000 + b"0]",
    "keys": b"{" + b'"":0,' * 209_000 + b'"":0}',
    "escaped texts": b"[" + rb'"\"",' * 209_000 + b"0]",
}


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_too_many_values_are_refused_before_most_of_them_are_read(body, is_chunked):
    request, sent = request_of(body, is_chunked=is_chunked)

    with pytest.raises(InvalidBody) as refused:
        read_plain(request, TWENTY)

    assert refused.value.fields == {"body": "must not hold more than 30000 values"}
    assert sent.taken <= MEGABYTE / 4


LARGE = {
    "a picture": {
        "messages": [{"content": "data:image/png;base64," + "A" * 19_000_000}]
    },
    "a conversation": {"messages": [{"role": "user", "content": "[1,2],"}] * 2000},
    "JSON in a text": {"message": json.dumps({"a": ["b\n", {"c": 1}]}) * 20_000},
}


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_a_large_body_of_few_values_is_read_whole(value):
    body = json.dumps(value).encode()
    request, _ = request_of(body)

    assert read_plain(request, TWENTY) == body
