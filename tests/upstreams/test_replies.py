"""The finer points of a reply's shape, where no socket is needed."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.budget import Budget
from app.gateway.errors import BadReply
from app.upstreams import madre, switch
from app.upstreams.http.transport import Answer
from app.upstreams.replies import parse
from tests.support.fakes import a_request

TOKEN = "canary-token-0123456789"


class FakeTransport:
    """Answers every post with the same body."""

    def __init__(self, body):
        self._body = body if isinstance(body, bytes) else json.dumps(body).encode()

    def post(self, url, body, headers, budget):
        return Answer(200, self._body, len(self._body))


def from_switch(body, request, budget):
    return switch.SwitchUpstream(
        name="switch",
        url="http://switch:8002/",
        timeout=30.0,
        token=TOKEN,
        metadata_allowed=frozenset(),
        transport=FakeTransport(body),
    ).open(request, budget)


def from_madre(body, request, budget):
    return madre.MadreUpstream(
        name="madre",
        url="http://madre:8001",
        timeout=5.0,
        transport=FakeTransport(body),
    ).open(request, budget)


@pytest.fixture
def asked():
    return a_request(), Budget(5.0)


@pytest.mark.parametrize(
    ("fields", "text", "model"),
    [
        ({"reply": "a", "content": "b", "engine_used": "e"}, "a", "e"),
        ({"content": "b", "engine_used": None, "provider": "p"}, "b", "p"),
        ({"reply": "a"}, "a", "switch"),
        ({"reply": "a", "content": None, "surprise": [1]}, "a", "switch"),
    ],
)
def test_switch_names_its_text_and_model_in_several_ways(fields, text, model, asked):
    reply = from_switch({"status": "ok", **fields}, *asked).collect()

    assert (reply.text, reply.model) == (text, model)


ODD_NAMES = ["", " ", "m" * 201, "m" * 1_500_000, "m\r\nX: 1", "m\x00", "\u200b", TOKEN]


@pytest.mark.parametrize("odd", ODD_NAMES, ids=range(len(ODD_NAMES)))
def test_a_name_that_is_no_label_of_a_model_is_as_good_as_absent(odd, asked):
    fields = {"status": "ok", "reply": "a", "engine_used": odd}
    assert from_switch(fields, *asked).collect().model == "switch"
    assert from_switch(fields | {"provider": "p"}, *asked).collect().model == "p"

    if odd != TOKEN:  # madre is never shown it
        body = {"status": "DONE", "response": "a", "model": odd}
        assert from_madre(body, *asked).collect().model == "madre-local"


def test_a_label_may_be_in_any_script_and_200_characters_long(asked):
    name = "модель 7b@q4/" + "x" * 187

    fields = {"status": "ok", "reply": "a", "engine_used": name}
    assert from_switch(fields, *asked).collect().model == name


@pytest.mark.parametrize(
    "text", ["\u200b", "\u2060\ufeff", " \u200d\n\u00ad", "\u3164"]
)
def test_text_of_which_nothing_is_seen_is_no_answer(text, asked):
    for ask, body in (
        (from_switch, {"status": "ok", "reply": text}),
        (from_madre, {"status": "DONE", "response": text}),
    ):
        with pytest.raises(BadReply) as caught:
            ask(body, *asked)
        assert caught.value.fault == "schema"


def test_madre_may_leave_its_model_out(asked):
    body = {"status": "DONE", "response": "a", "model": None, "provider": "x"}

    reply = from_madre(body, *asked).collect()

    assert (reply.upstream, reply.model) == ("madre", "madre-local")


REFUSED = [
    ({"status": "ok", "reply": "", "content": "b"}, "schema"),
    ({"status": "ok", "reply": None, "content": "b"}, "schema"),
    ({"status": "OK", "reply": "a"}, "schema"),
    ({"status": None, "reply": "a"}, "schema"),
    ({"reply": "a"}, "schema"),
    ({"status": "error", "reply": None}, "upstream_error"),
    ({"status": "partial", "reply": 7}, "upstream_error"),
    ("text", "bad_json"),
    (7, "bad_json"),
    (None, "bad_json"),
    ([], "bad_json"),
    (b'{"status":"ok","reply":"a"', "bad_json"),
    (b'{"status":"ok","reply":"a"} x', "bad_json"),
    (b'{"status":"ok","reply":"\\ud800"}', "bad_encoding"),
    ('{"status":"ok","reply":"a"}'.encode("utf-16-le"), "bad_encoding"),
    ('{"status":"ok","reply":"a"}'.encode("utf-32"), "bad_encoding"),
    (b'{"status":"ok","reply":"\xed\xa0\x80"}', "bad_encoding"),
    (b"[" * 90_000, "bad_json"),
    (b"[" * 200_000, "too_large"),
    (b'{"a":' * 90_000, "bad_json"),
    (b'{"status":"ok","reply":"a","latency_ms":' + b"9" * 100_000 + b"}", "bad_json"),
]


@pytest.mark.parametrize(("body", "fault"), REFUSED, ids=range(len(REFUSED)))
def test_what_only_looks_like_a_reply_is_refused(body, fault, asked):
    with pytest.raises(BadReply) as caught:
        from_switch(body, *asked)

    assert (caught.value.fault, caught.value.status) == (fault, 200)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_reply_or_a_bad_one(body):
    for shape in (switch.SHAPE, madre.SHAPE):
        with suppress(BadReply):
            parse(Answer(200, body, len(body)), shape)
