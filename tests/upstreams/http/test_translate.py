"""What is no answer becomes the right fault (rows 12 to 30)."""

import gzip
from pathlib import Path

import pytest

from app.gateway.budget import Budget
from app.gateway.errors import (
    BadReply,
    CallerFault,
    NoAnswer,
    Refused,
    Rejected,
    may_fail_over,
)
from tests.upstreams.raw_server import JSON_HEAD, OK, Stopwatch, answering, serving

CHUNKED = JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

ANSWERS = {
    "closed_at_once": (b"", NoAnswer, "reset"),
    "closed_in_the_status_line": (b"HTTP/1.1 20", BadReply, "empty_body"),
    "closed_in_its_first_word": (b"HTT", BadReply, "empty_body"),
    "closed_in_mid_header": (JSON_HEAD + b"X-A: b", BadReply, "empty_body"),
    "closed_after_a_header": (JSON_HEAD, BadReply, "empty_body"),
    "shorter_than_announced": (OK[:-5], BadReply, "truncated"),
    "announced_and_nothing": (
        JSON_HEAD + b"Content-Length: 9\r\n\r\n",
        BadReply,
        "truncated",
    ),
    "chunked_and_nothing": (CHUNKED, BadReply, "truncated"),
    "cut_in_a_chunk": (CHUNKED + b'20\r\n{"status', BadReply, "truncated"),
    "cut_after_a_chunk": (CHUNKED + b"2\r\n{}\r\n", BadReply, "truncated"),
    "tls_alert": (b"\x15\x03\x03\x00\x02\x02\x28", BadReply, "protocol"),
    "another_protocol": (b"220 mail ready\r\n", BadReply, "protocol"),
    "http_2": (b"HTTP/2 200\r\n\r\n", BadReply, "protocol"),
    "odd_status": (b"HTTP/1.1 20x OK\r\n\r\n", BadReply, "protocol"),
    "upgrade": (b"HTTP/1.1 101 Switching\r\n\r\n", BadReply, "protocol"),
    "flood_of_interim_answers": (
        b"HTTP/1.1 100 C\r\n\r\n" * 2000,
        BadReply,
        "protocol",
    ),
    "no_colon": (JSON_HEAD + b"nonsense\r\n\r\n", BadReply, "protocol"),
    "space_before_colon": (JSON_HEAD + b"X-A : b\r\n\r\n", BadReply, "protocol"),
    "huge_header": (
        JSON_HEAD + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n",
        BadReply,
        "protocol",
    ),
    "many_headers": (
        JSON_HEAD + b"X-A: b\r\n" * 20_000 + b"\r\n",
        BadReply,
        "protocol",
    ),
    "two_framings": (
        JSON_HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        BadReply,
        "protocol",
    ),
    "two_lengths": (
        JSON_HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        BadReply,
        "protocol",
    ),
    "negative_length": (
        JSON_HEAD + b"Content-Length: -1\r\n\r\n",
        BadReply,
        "protocol",
    ),
    "odd_coding": (
        JSON_HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
        BadReply,
        "protocol",
    ),
    "html": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
        BadReply,
        "bad_content_type",
    ),
    "untyped": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        BadReply,
        "bad_content_type",
    ),
    "gzipped": (
        JSON_HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        BadReply,
        "bad_encoding",
    ),
    "announced_too_large": (
        JSON_HEAD + b"Content-Length: 104857600\r\n\r\n",
        BadReply,
        "too_large",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_is_no_answer_is_a_fault(name, serve, transport):
    answer, kind, fault = ANSWERS[name]
    server = serve(answering(answer))

    with pytest.raises(kind) as caught:
        transport.post(server.url, b"{}", {}, Budget(5.0))

    assert caught.value.fault == fault
    assert may_fail_over(caught.value)
    assert server.connections == 1


def test_a_reset_before_any_byte_is_a_reset(serve, transport):
    def reset_at_once(peer):
        peer.read_request()
        peer.reset()

    with pytest.raises(NoAnswer) as caught:
        transport.post(serve(reset_at_once).url, b"{}", {}, Budget(5.0))

    assert caught.value.fault == "reset"


def test_a_reset_within_the_body_is_truncation(serve, transport):
    def reset_midway(peer):
        peer.read_request()
        peer.send(OK[:-5])
        peer.pause(0.2)
        peer.reset()

    with pytest.raises(BadReply) as caught:
        transport.post(serve(reset_midway).url, b"{}", {}, Budget(5.0))

    error = caught.value
    assert (error.fault, error.status) == ("truncated", 200)
    assert error.received > 0


GOOD = {
    "with_length": OK,
    "chunked": CHUNKED + b"5\r\n{  }\n\r\n1;ext=1\r\n \r\n0\r\nTrailer: x\r\n\r\n",
    "until_closed": JSON_HEAD + b"\r\n{}",
    "http_1_0": OK.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "after_interim_answers": b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" * 3 + OK,
    "bare_newlines": OK.replace(b"\r\n", b"\n"),
    "with_a_charset": OK.replace(b"/json", b"/JSON; charset=utf-8"),
    "identity": OK.replace(
        b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r\nContent-Encoding: identity"
    ),
    "without_a_reason": OK.replace(b"200 OK", b"200"),
    "folded_header": OK.replace(b"\r\nContent-L", b"\r\nX-A: b\r\n\tc\r\nContent-L"),
    "latin_header": OK.replace(b"\r\nContent-L", b"\r\nX-A: caf\xe9\r\nContent-L"),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_lawful_form_of_an_answer_is_read(name, serve, transport):
    answer = transport.post(serve(answering(GOOD[name])).url, b"{}", {}, Budget(5.0))

    assert answer.status == 200
    assert answer.received == len(answer.body) > 0


STATUSES = [
    *[(status, BadReply, "redirect") for status in (301, 302, 303, 304, 307, 308)],
    *[(status, Refused, "http_5xx") for status in (500, 502, 503, 504, 599)],
    *[(status, Refused, "upstream_auth") for status in (401, 403)],
    (400, CallerFault, "upstream_rejected"),
    *[(status, Rejected, "upstream_rejected") for status in (413, 422)],
    *[(status, BadReply, "bad_status") for status in (201, 204, 404, 405, 418)],
    (429, Refused, "rate_limited"),
]


@pytest.mark.parametrize(("status", "kind", "fault"), STATUSES)
def test_a_status_has_one_meaning(status, kind, fault, serve, transport):
    answer = b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % status

    with pytest.raises(kind) as caught:
        transport.post(serve(answering(answer)).url, b"{}", {}, Budget(5.0))

    assert (caught.value.fault, caught.value.status) == (fault, status)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 529])
@pytest.mark.parametrize(
    ("header", "rest"),
    [
        (b"Retry-After: 7\r\n", 7.0),
        (b"Retry-After: 20.5\r\n", 20.5),
        (b"Retry-After: 3600\r\n", 60.0),
        (b"Retry-After: Wed, 21 Oct 2099 07:28:00 GMT\r\n", 60.0),
        (b"Retry-After: soon\r\n", None),
        (b"", None),
    ],
)
def test_a_full_upstream_is_not_waited_for_but_rested(
    status, header, rest, serve, transport
):
    answer = b"HTTP/1.1 %d X\r\n%sContent-Length: 0\r\n\r\n" % (status, header)

    with Stopwatch() as watch, pytest.raises(Refused) as caught:
        transport.post(serve(answering(answer)).url, b"{}", {}, Budget(5.0))

    assert caught.value.retry_after == rest
    assert watch.took < 1.0


def hostile(headers, pieces, times):
    def script(peer):
        peer.read_request()
        peer.send(JSON_HEAD + headers + b"\r\n")
        for _ in range(times):
            peer.send(pieces)

    return script


CHUNK = b"10000\r\n" + b"a" * 65536 + b"\r\n"
TINY = b"1\r\na\r\n" * 10_000
BOMB = gzip.compress(gzip.compress(b"\0" * 20_000_000))

MONSTERS = {
    "announced": (b"Content-Length: 104857600\r\n", b"a" * 65536, 1600, "too_large"),
    "chunked": (b"Transfer-Encoding: chunked\r\n", CHUNK, 1600, "too_large"),
    "until_closed": (b"", b"a" * 65536, 1600, "too_large"),
    "gzip": (b"Content-Encoding: gzip, gzip\r\n", BOMB, 1, "bad_encoding"),
}


@pytest.mark.parametrize("name", MONSTERS)
def test_a_monstrous_answer_costs_no_memory(name, serve, transport):
    headers, pieces, times, fault = MONSTERS[name]
    server = serve(hostile(headers, pieces, times))
    transport.post(serve(serving).url, b"{}", {}, Budget(5.0))
    before = forget_peak_memory()

    with pytest.raises(BadReply) as caught:
        transport.post(server.url, b"{}", {}, Budget(10.0))

    assert caught.value.fault == fault
    assert peak_memory() - before <= 5 * 1024


def test_a_body_in_the_tiniest_chunks_is_bounded_by_the_deadline(serve, transport):
    """Each byte of it costs six on the wire and more of our time than of theirs."""
    server = serve(hostile(b"Transfer-Encoding: chunked\r\n", TINY, 1000))

    with Stopwatch() as watch, pytest.raises((NoAnswer, BadReply)) as caught:
        transport.post(server.url, b"{}", {}, Budget(0.6))

    assert caught.value.fault in {"deadline", "too_large"}
    assert watch.took <= 0.6 + 0.25 + 0.35


def forget_peak_memory():
    """Reset the peak of this process and return what it holds now, in KiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def peak_memory():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])
