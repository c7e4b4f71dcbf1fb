"""nginx in front of gunicorn: what it adds, and what it must never do."""

import json
import socket
import threading
import time
import uuid

import pytest
import requests

from tests.support.stack import (
    TOKEN,
    FrontDoor,
    Gateway,
    parse_response,
    raw_exchange,
    sandbox,
    wait_until,
)


@pytest.fixture(scope="module")
def upstreams():
    with sandbox() as pair:
        yield pair


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstreams):
    switch, madre = upstreams
    folder = tmp_path_factory.mktemp("door")
    with Gateway(folder, switch_url=switch.url, madre_url=madre.url) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def door(gateway):
    with FrontDoor(gateway.folder, gateway) as door:
        yield door


@pytest.fixture
def switch(upstreams):
    yield upstreams[0]
    upstreams[0].heal()


def chat(door, **headers):
    return requests.post(
        f"{door.url}/operator/api/chat",
        json={"message": "Hello"},
        headers={"X-VX11-Token": TOKEN} | headers,
        timeout=60,
    )


def test_a_chat_goes_through_over_tls(door):
    answer = requests.post(
        f"{door.tls_url}/operator/api/chat",
        json={"message": "Hello"},
        headers={"X-VX11-Token": TOKEN},
        verify=door.authority,
        timeout=60,
    )

    assert answer.json()["provider"] == "switch"


def test_plain_http_at_the_door_for_tls_is_told_so_in_json(door):
    answer = requests.get(f"http://127.0.0.1:{door.tls_port}/health", timeout=10)

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_a_chat_goes_through(door):
    answer = chat(door, **{"X-Correlation-ID": "through"})

    assert answer.json()["provider"] == "switch"
    assert answer.headers["X-Correlation-ID"] == "through"
    assert "nginx/" not in answer.headers["Server"]


def test_a_correlation_id_is_made_at_the_door_and_is_the_one_on_record(door, gateway):
    made = chat(door).headers["X-Correlation-ID"]

    assert gateway.records("correlation_id = ?", made)
    assert uuid.UUID(made).version == 4
    assert uuid.UUID(made).variant == uuid.RFC_4122


def test_the_wait_at_the_door_is_told(door):
    timing = chat(door).headers["Server-Timing"]

    assert float(timing.split("queue;dur=")[1].split(",")[0]) >= 0


def test_a_post_is_never_sent_twice(door, gateway, switch):
    """A chat may have been acted upon: a worker's death is not its repetition."""
    before = switch.chats
    switch.break_with("hang", times=1)
    answers = []
    caller = threading.Thread(target=lambda: answers.append(chat(door)))
    caller.start()
    assert switch.wait_for_chats(before + 1, 20)

    for worker in gateway.workers():
        worker.kill()
    caller.join(60)

    assert answers[0].status_code in {502, 503}
    assert set(answers[0].json()) >= {"detail", "code", "correlation_id"}
    assert switch.chats == before + 1
    wait_until(lambda: requests.get(f"{door.url}/readyz", timeout=10).ok, 60)


@pytest.mark.parametrize(
    ("request_line", "header", "status"),
    [
        (f"GET /?{'x' * 9000} HTTP/1.1", "A: b", 414),
        (f"GET /v1/{'x' * 9000} HTTP/1.1", "A: b", 414),
        ("GET / HTTP/2.0", "A: b", 505),
        ("POST / HTTP/1.1", "Transfer-Encoding: gzip", 501),
        ("GET / HTTP/1.1", f"A: {'x' * 9000}", 431),
        ("GET / HTTP/1.1", "Content-Length: x", 400),
    ],
)
def test_what_the_door_refuses_is_json(door, request_line, header, status):
    answer = raw_exchange(
        door.port,
        f"{request_line}\r\nHost: x\r\n{header}\r\nConnection: close\r\n\r\n".encode(),
    )

    found, headers, body = parse_response(answer)
    assert found == status
    assert json.loads(body)["code"]
    assert json.loads(body)["correlation_id"] == headers["X-Correlation-ID"]
    assert "Retry-After" not in headers


def test_an_answer_of_the_gateway_keeps_its_own_headers_once(door):
    answer = requests.get(f"{door.url}/v1/messages", timeout=10)

    assert answer.status_code >= 400
    for name in ("X-Correlation-ID", "request-id", "Cache-Control"):
        assert ", " not in answer.headers[name]


def test_slow_heads_at_the_door_reach_no_thread(door):
    slow = []
    try:
        for _ in range(150):
            connection = socket.create_connection(("127.0.0.1", door.port), 10)
            connection.sendall(b"POST /operator/api/chat HTTP/1.1\r\nHost: x\r\n")
            slow.append(connection)

        started = time.monotonic()
        assert chat(door).ok
        assert time.monotonic() - started < 3
    finally:
        for connection in slow:
            connection.close()


def told_by(path, status, body):
    """(code, type, id) of an error, which must have the shape of that path."""
    told = json.loads(body)
    if path.startswith("/v1/messages"):
        assert told["type"] == "error"
        return told["error"]["code"], told["error"]["type"], told["request_id"]
    if path.startswith("/v1"):
        assert set(told["error"]) == {"message", "type", "param", "code"}
        return told["error"]["code"], told["error"]["type"], None
    assert set(told) == {"detail", "code", "correlation_id"}
    return told["code"], None, told["correlation_id"]


def assert_shaped(answer, path, status, code, kind):
    found, headers, body = parse_response(answer)
    assert found == status, body
    here = headers["X-Correlation-ID"]
    told, type_, id_ = told_by(path, status, body)
    assert (told, type_) == (code, kind)
    assert id_ in (None, here)
    assert headers["X-Request-Id"] == (here if path.startswith("/v1") else None)
    assert headers["request-id"] == (here if "messages" in path else None)
    assert headers.get_all("X-Correlation-ID") == [here]


PATHS = ("/operator/api/chat", "/v1/chat/completions", "/v1/messages")
BEHIND = "/v1/messages/count_tokens?beta=true"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (PATHS[0], None),
        (PATHS[1], "invalid_request_error"),
        (PATHS[2], "request_too_large"),
        (BEHIND, "request_too_large"),
    ],
)
def test_a_body_that_is_too_large_for_the_door_is_told_in_the_clients_shape(
    door, path, kind
):
    request = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
    answer = raw_exchange(door.port, request.encode(), half_close=True)

    assert_shaped(answer, path, 413, "request_entity_too_large", kind)


class Nobody:
    """Where no gateway listens."""

    port = 1


class Unreachable(FrontDoor):
    """A door before nobody."""

    ANSWERS = 502


class Unanswered(FrontDoor):
    """A door before somebody who never answers."""

    ANSWERS = 504
    CHANGED = (("proxy_read_timeout 40s;", "proxy_read_timeout 200ms;"),)


class Silent:
    """Somebody who takes connections and never answers."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]


@pytest.fixture(scope="module")
def unreachable(tmp_path_factory):
    with Unreachable(tmp_path_factory.mktemp("unreachable"), Nobody()) as door:
        yield door


@pytest.fixture(scope="module")
def unanswered(tmp_path_factory):
    gateway = Silent()
    with Unanswered(tmp_path_factory.mktemp("unanswered"), gateway) as door:
        yield door
    gateway.listener.close()


@pytest.mark.parametrize(
    ("path", "unreached", "late"),
    [
        (PATHS[0], None, None),
        (PATHS[1], "server_error", "server_error"),
        (PATHS[2], "api_error", "timeout_error"),
        (BEHIND, "api_error", "timeout_error"),
        ("/v1/messages_of_others", "server_error", "server_error"),
    ],
)
def test_without_a_gateway_the_door_speaks_in_the_clients_shape(
    unreachable, unanswered, path, unreached, late
):
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    shape = "/v1/" if path.endswith("others") else path

    answer = raw_exchange(unreachable.port, request)
    assert_shaped(answer, shape, 502, "gateway_unreachable", unreached)
    answer = raw_exchange(unanswered.port, request)
    assert_shaped(answer, shape, 504, "gateway_timeout", late)
