"""What tests rely on: the record, the waits, prompt stops, honest HTTP."""

import socket
import threading
from time import monotonic

import pytest
import requests

from sandbox.server import SandboxServer


def test_every_request_is_on_record_as_it_was_sent(switch, connect):
    client = connect(switch)
    client.chat(extra=b"X-Twice: 1\r\nX-Twice: 2\r\n")
    client.answer()

    (request,) = switch.requests

    assert (request.method, request.path) == ("POST", "/switch/chat")
    assert [v for k, v in request.headers if k == "X-Twice"] == ["1", "2"]
    assert request.header("x-twice") == "1"
    assert request.json()["session_id"] == "s-1"
    assert request.connection == 1


def test_chats_are_counted_apart_from_other_requests(switch, connect):
    client = connect(switch)
    client.get("/health")
    client.answer()
    client.get("/switch/chat")
    client.answer()
    client.chat()
    client.answer()

    assert (len(switch.requests), switch.chats) == (3, 1)


def test_a_connection_is_kept_for_the_next_request(switch, connect):
    client = connect(switch)
    for _ in range(3):
        client.chat()
        assert client.answer()[0].startswith("HTTP/1.1 200")

    assert (switch.chats, switch.connections) == (3, 1)
    assert {request.connection for request in switch.requests} == {1}


def test_a_connection_is_closed_when_the_client_wants_that(switch, connect):
    client = connect(switch)
    client.chat(extra=b"Connection: close\r\n")

    assert "connection: close" in client.answer()[0]
    assert client.is_closed()


def test_pipelined_requests_are_answered_in_their_order(switch, connect):
    client = connect(switch)
    client.get("/health")
    client.get("/nothing")
    answers = client.until(b"Not Found").decode()

    assert answers.index("200 OK") < answers.index("404 Not Found")


def test_a_request_may_come_in_pieces(switch, connect):
    client = connect(switch)
    for byte in b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n":
        client.send(bytes([byte]))

    assert client.answer()[0].startswith("HTTP/1.1 200")


def test_a_body_may_come_in_chunks_and_wait_for_leave(switch, connect, token):
    client = connect(switch)
    client.send(
        f"POST /switch/chat HTTP/1.1\r\nX-VX11-Token: {token}\r\n"
        "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
    client.send(b'a;x=y\r\n{"messages\r\n5\r\n":[]}\r\n0\r\nTrailer: t\r\n\r\n')

    assert client.answer()[0].startswith("HTTP/1.1 200")
    assert switch.requests[0].body == b'{"messages":[]}'


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/3\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n",
    ],
)
def test_what_is_not_http_is_400_and_the_end(switch, connect, garbage):
    client = connect(switch)
    client.send(garbage)

    assert client.everything().startswith(b"HTTP/1.1 400")


def test_a_wait_for_chats_ends_when_they_come(switch, connect):
    threading.Timer(0.05, connect(switch).chat).start()

    assert switch.wait_for_chats(1, timeout=10)


def test_a_wait_for_chats_that_do_not_come_ends_too(switch):
    assert not switch.wait_for_chats(1, timeout=0.01)


def test_a_client_that_leaves_while_we_work_is_noticed(switch, connect):
    switch.break_with("hang")
    client = connect(switch)
    client.chat()
    assert switch.wait_for_chats(1)
    assert switch.closed_by_peer == 0

    client.close()

    assert switch.wait_for_closed_by_peer(1)


def test_a_client_that_leaves_between_requests_is_not_held_against_it(switch, connect):
    client = connect(switch)
    client.chat()
    client.answer()
    client.close()
    connect(switch).get("/health")  # another one, to have something to wait for

    assert not switch.wait_for_closed_by_peer(1, timeout=0.1)


def test_latency_is_waited_and_reported(switch_body, token):
    with SandboxServer("switch", token=token, latency=0.2) as server:
        started = monotonic()
        reply = requests.post(
            server.url + "/switch/chat",
            json=switch_body,
            headers={"X-VX11-Token": token},
            timeout=5,
        ).json()

        assert monotonic() - started >= 0.2
        assert reply["latency_ms"] == 200


def test_stopping_ends_idle_and_hung_connections_at_once(token, connect):
    threads_before = set(threading.enumerate())
    server = SandboxServer("switch", token=token).start()
    server.break_with("hang")
    idle, hung = connect(server), connect(server)
    hung.chat()
    assert server.wait_for_chats(1)

    started = monotonic()
    server.stop()

    assert monotonic() - started < 1.0
    assert idle.is_closed()
    assert hung.is_closed()
    assert server.closed_by_peer == 0  # it was us who left
    assert set(threading.enumerate()) <= threads_before


def test_stopping_twice_or_before_the_start_is_fine(token):
    server = SandboxServer("switch", token=token)
    server.stop()
    server.start()
    server.stop()
    server.stop()


def test_a_taken_port_is_an_error_and_leaves_nothing_open(switch, address):
    with pytest.raises(OSError, match="in use"):
        SandboxServer("madre", port=address(switch)[1]).start()


def test_the_port_is_free_again_after_the_stop(switch, address):
    _, port = address(switch)
    switch.stop()

    with SandboxServer("madre", port=port) as server:
        assert requests.get(server.url + "/health", timeout=5).ok


def test_a_sandbox_that_was_not_started_says_so():
    with pytest.raises(RuntimeError, match="not been started"):
        SandboxServer("madre").break_with("hang")


def test_many_clients_are_served_side_by_side(switch, connect):
    clients = [connect(switch) for _ in range(64)]
    for client in clients:
        client.chat()

    answers = {client.answer()[1] for client in clients}

    assert len(answers) == 1
    assert switch.chats == 64


def test_a_client_that_resets_does_not_disturb_others(switch, connect):
    rude = connect(switch)
    rude.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    rude.send(b"POST /switch/chat HT")
    rude.close()

    client = connect(switch)
    client.chat()

    assert client.answer()[0].startswith("HTTP/1.1 200")
