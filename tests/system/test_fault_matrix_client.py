"""docs/faults.md, B: every way in which a caller can misbehave, byte by byte.

Against real gunicorn directly, and through the front door.
"""

import http.client
import json
import socket
import time

import pytest
import requests

from tests.support.stack import (
    TOKEN,
    FrontDoor,
    Gateway,
    parse_response,
    raw_exchange,
    read_all,
    sandbox,
)

AT_ONCE = 2.0  # seconds; generous, because the box is shared


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edge")
    with (
        sandbox() as (switch, madre),
        Gateway(folder, switch_url=switch.url, madre_url=madre.url) as gateway,
    ):
        yield gateway


@pytest.fixture(scope="module")
def front_door(gateway):
    with FrontDoor(gateway.folder, gateway) as door:
        yield door


@pytest.fixture(params=["direct", "front door"])
def port(request, gateway):
    if request.param == "direct":
        return gateway.port
    return request.getfixturevalue("front_door").port


def head(*lines, method="POST", target="/operator/api/chat", token=TOKEN):
    first = [f"{method} {target} HTTP/1.1", "Host: gateway"]
    guard = [f"X-VX11-Token: {token}"] if token else []
    return "\r\n".join([*first, *guard, *lines, "", ""]).encode("latin-1")


JSON = "Content-Type: application/json"
BODY = json.dumps({"message": "Hello"}).encode()
CHUNKED = "Transfer-Encoding: chunked"


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def status_of(port, data, *, half_close=False):
    """The status of the first answer, which must be ours and come at once."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(connection)
        response.begin()
        body = response.read()
    assert time.monotonic() - started < AT_ONCE
    assert isinstance(json.loads(body), dict), body
    assert response.headers["X-Correlation-ID"]
    return response.status


def test_a_chunked_body_is_as_good_as_any(port):
    data = head(JSON, CHUNKED, "Connection: close") + chunk(BODY[:5]) + chunk(BODY[5:])

    assert status_of(port, data + chunk(b"")) == 200


class TestRow44Heads:
    def test_a_header_over_8_kb(self, port):
        assert status_of(port, head(JSON, "X-Big: " + "x" * 9000)) in {400, 431}

    def test_more_headers_than_anybody_needs(self, port):
        many = [f"X-{n}: {n}" for n in range(101)]

        assert status_of(port, head(JSON, "Content-Length: 0", *many)) in {400, 431}

    def test_a_line_over_4_kb(self, port):
        long = head(method="GET", target="/" + "x" * 4200)

        assert status_of(port, long + b"") in {400, 414}


class TestRow45LargeBodies:
    def test_announced(self, port, gateway):
        assert status_of(port, head(JSON, "Content-Length: 30000000")) == 413

    def test_chunked(self, port):
        data = head(JSON, CHUNKED) + chunk(b'{"message": "' + b"x" * 1_100_000)

        assert status_of(port, data + chunk(b'"}') + chunk(b"")) == 413

    def test_valid_json_padded_beyond_the_limit(self, port):
        """Flask's own limit cuts it there and takes the rest for whole."""
        padded = BODY + b" " * 1_100_000

        assert status_of(port, head(JSON, CHUNKED) + chunk(padded) + chunk(b"")) == 413

    def test_it_is_on_record(self, gateway):
        raw_exchange(gateway.port, head(JSON, "Content-Length: 2000000"))

        assert gateway.records("outcome = 'refused' AND status = 413")


def test_row_46_a_body_shorter_than_announced(gateway):
    data = head(JSON, "Content-Length: 1000") + b"abc"

    assert status_of(gateway.port, data, half_close=True) == 400


class TestRow47Framing:
    @pytest.mark.parametrize(
        "lines",
        [
            (CHUNKED, "Content-Length: 5"),
            ("Transfer-Encoding: identity",),
            ("Content-Length: 5", "Content-Length: 6"),
            ("Content-Length: 5, 6",),
            ("Content-Length: -5",),
            ("Content-Length : 5",),
            ("Transfer-Encoding: xchunked",),
        ],
        ids=" + ".join,
    )
    def test_ambiguous_framing_is_refused_and_nothing_more_is_parsed(self, port, lines):
        second = head(method="GET", target="/health", token=None)

        answer = raw_exchange(port, head(JSON, *lines) + b"0\r\n\r\n" + second)

        assert parse_response(answer)[0] in {400, 501, 503}
        assert answer.count(b"HTTP/1.1") == 1

    def test_a_bare_line_feed_ends_no_header(self, gateway):
        data = head(JSON, "Content-Length: 0").replace(b"\r\n", b"\n")

        assert parse_response(raw_exchange(gateway.port, data))[0] == 400


@pytest.mark.parametrize("size", [b"zz", b"-1", b"5;ext=\xff"])
def test_row_48_a_bad_chunk_size_is_no_500(port, size):
    data = head(JSON, CHUNKED) + size + b"\r\nhello\r\n0\r\n\r\n"

    # nginx takes the extension, and so the body, which is no JSON then.
    assert status_of(port, data) in {400, 413, 422}


def test_row_48_an_absurd_chunk_is_not_waited_for(gateway):
    data = head(JSON, CHUNKED) + b"f" * 18 + b"\r\nhello\r\n0\r\n\r\n"

    with socket.create_connection(("127.0.0.1", gateway.port), 20) as connection:
        connection.sendall(data)
        started = time.monotonic()
        answer = read_all(connection)

    assert parse_response(answer)[0] in {400, 408, 413}
    assert time.monotonic() - started < 5 + 2 + AT_ONCE  # and two for a goodbye


def test_row_50_deep_or_wide_json_costs_little(gateway):
    for body in (
        b"[" * 100_000,
        b'{"message":"x","context":%s}'
        % json.dumps({f"k{n}": n for n in range(70_000)}).encode(),
    ):
        started = time.monotonic()
        answer = requests.post(
            f"{gateway.url}/operator/api/chat",
            data=body,
            headers={"X-VX11-Token": TOKEN, "Content-Type": "application/json"},
            timeout=20,
        )
        assert answer.status_code in {200, 413, 422}
        assert time.monotonic() - started < AT_ONCE


@pytest.mark.parametrize(
    ("token", "status"),
    [(None, 401), ("wrong-token", 403), ("t\xf6ken", 403), ("x" * 8000, 403)],
)
def test_row_53_tokens(port, token, status):
    data = head(JSON, "Content-Length: 0", "Connection: close", token=token)

    assert status_of(port, data) == status


def test_row_53_the_guard_does_not_wait_for_the_body(gateway):
    data = head(JSON, "Content-Length: 1000", token=None)

    assert status_of(gateway.port, data) == 401


@pytest.mark.parametrize("bad", ["a\tb", "caf\xe9", "x" * 200, "a,b", "a b"])
def test_row_56_a_malformed_correlation_id_is_never_reflected(port, bad):
    lines = (JSON, f"X-Correlation-ID: {bad}", f"Content-Length: {len(BODY)}")

    answer = raw_exchange(port, head(*lines, "Connection: close") + BODY)

    status, headers, body = parse_response(answer)
    assert status == 200
    assert bad.encode("latin-1") not in answer
    assert headers["X-Correlation-ID"] == json.loads(body)["correlation_id"]


def test_row_57_a_forged_address_is_replaced_at_the_front_door(front_door, gateway):
    answer = requests.post(
        f"{front_door.url}/operator/api/chat",
        json={"message": "Hello"},
        headers={"X-VX11-Token": TOKEN, "X-Forwarded-For": "6.6.6.6"},
        timeout=20,
    )

    assert answer.ok
    assert "6.6.6.6" not in gateway.output()


def test_row_59_a_pipelined_request_is_answered_in_order(port):
    first = head(JSON, f"Content-Length: {len(BODY)}", "X-Correlation-ID: one") + BODY
    second = head(
        JSON,
        f"Content-Length: {len(BODY)}",
        "X-Correlation-ID: two",
        "Connection: close",
    )

    answer = raw_exchange(port, first + second + BODY)

    assert answer.index(b'"correlation_id":"one"') < answer.index(
        b'"correlation_id":"two"'
    )


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/operator/api/chat", 405),
        ("OPTIONS", "/operator/api/chat", 405),
        ("TRACE", "/operator/api/chat", 405),
        ("GET", "/operator/../../etc/passwd", 404),
        ("GET", "/%00", 404),
    ],
)
def test_row_60_other_ways_in(port, method, target, status):
    data = head("Connection: close", method=method, target=target)

    assert status_of(port, data) in {status, 400}


def test_a_caller_who_pauses_inside_the_body_is_given_up(gateway):
    with socket.create_connection(("127.0.0.1", gateway.port), 20) as connection:
        connection.sendall(head(JSON, "Content-Length: 100") + b'{"mess')
        started = time.monotonic()
        answer = read_all(connection)

    assert parse_response(answer)[0] == 408
    assert time.monotonic() - started < 5 + 2 + AT_ONCE
