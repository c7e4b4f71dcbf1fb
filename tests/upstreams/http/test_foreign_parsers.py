"""Whatever an upstream writes where we parse: an answer, or a failure that is known."""

import json

import pytest

from app.gateway.budget import Budget
from app.gateway.errors import UpstreamError
from app.upstreams.madre import MadreUpstream
from app.upstreams.openai.upstream import Limits, OpenAIUpstream
from app.upstreams.switch import SwitchUpstream
from tests.support.fakes import a_request
from tests.upstreams.raw_server import answering

LONG = b"9" * 5000  # more digits than `int` takes
NUMBERS = [b"-5", b"+5", b"0x5", b"5_0", b"", b"\xb2", b"1e3", b"nan", b"5, 6", LONG]
TYPES = [b"", b";", b"\xff\xfe", b"application/json;charset=nope", b"a" * 60_000]
DATES = [b"Mon, 01 Jan 2030 00:00:00 +9999999999999999", b"Mon, 1 Jan %s 1:1:1" % LONG]
ODD = [None, True, -1, 1e308, 10**400, "", "x" * 300, "\ud800", [], {}, [[None]]]
SHAPES = [
    '{"status": "ok", "reply": "x", "engine_used": %s}',
    '{"status": "DONE", "response": "x", "model": %s}',
    '{"status": %s}',
    '{"choices": %s}',
    '{"choices": [{"index": %s, "message": {"content": "x"}}]}',
    '{"choices": [{"message": {"content": %s, "tool_calls": %s}}]}',
    '{"choices": [{"message": {"content": "x"}, "finish_reason": %s}]}',
    '{"choices": [], "model": %s, "usage": {"prompt_tokens": %s}}',
    '{"choices": [], "usage": {"prompt_tokens_details": %s}}',
    '{"error": {"code": %s, "type": %s, "message": %s}}',
    '{"error": %s, "detail": %s}',
]


def head(status=b"200", of=b"Content-Type: application/json\r\n", length=2):
    ends = b"" if length is None else b"Content-Length: %d\r\n" % length
    return b"HTTP/1.1 %s X\r\nConnection: close\r\n%s%s\r\n" % (status, of, ends)


def heads():
    for number in NUMBERS:
        json_type = b"Content-Type: application/json\r\n"
        chunked = head(of=json_type + b"Transfer-Encoding: chunked\r\n", length=None)
        yield chunked + number + b"\r\nhello\r\n0\r\n\r\n"
        yield head(of=b"Content-Length: " + number + b"\r\n", length=None) + b"{}"
        yield head(number) + b"{}"
    for content_type in TYPES:
        yield head(of=b"Content-Type: " + content_type + b"\r\n") + b"{}"
    for rest in (*NUMBERS, *DATES):
        for status in (b"429", b"503"):
            yield head(status, b"Retry-After: " + rest + b"\r\n") + b"{}"


def bodies():
    for shape in SHAPES:
        for odd in ODD:
            text = shape.replace("%s", json.dumps(odd)).encode()
            for status in (b"200", b"400", b"404", b"500"):
                yield head(status, length=None) + text
            events = head(of=b"Content-Type: text/event-stream\r\n", length=None)
            delta = text.replace(b'"message": {', b'"delta": {')
            yield events + b"data: " + delta + b"\n\ndata: [DONE]\n\n"


@pytest.fixture(params=["switch", "madre", "openai"])
def adapt(request, transport):
    def make(url):
        facts = {"name": "it", "url": url, "transport": transport}
        if request.param == "openai":
            return OpenAIUpstream(limits=Limits(5.0, 5.0, 5.0), **facts)
        if request.param == "madre":
            return MadreUpstream(timeout=5.0, **facts)
        return SwitchUpstream(timeout=5.0, token="", metadata_allowed=(), **facts)

    return make


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("answers", [heads, bodies])
def test_no_text_of_an_upstream_breaks_what_reads_it(answers, stream, adapt, serve):
    texts = list(answers())
    server = serve(lambda peer: answering(texts[peer.turn])(peer))
    upstream = adapt(server.url)

    for text in texts:
        try:
            upstream.open(a_request(stream=stream), Budget(5.0)).collect()
        except UpstreamError:
            continue
        except Exception as error:
            raise AssertionError(text[:300]) from error

    assert server.connections == len(texts)
