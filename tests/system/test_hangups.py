"""Callers who leave before their answer, directly and through the front door.

Rows 40 and 42 of docs/faults.md: noticed within a second, the upstream's connection
closed, the slot free, on record as cancelled, and held against nobody.
"""

import json
import socket
import time

import pytest

from tests.support.stack import TOKEN, FrontDoor, Gateway, sandbox, wait_until

NOTICED = 1.0  # seconds; the promise
SLACK = 1.0  # of a machine that others are loading


@pytest.fixture(scope="module")
def upstreams():
    with sandbox() as pair:
        yield pair


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstreams):
    switch, madre = upstreams
    folder = tmp_path_factory.mktemp("hangups")
    urls = {"switch_url": switch.url, "madre_url": madre.url}
    with Gateway(
        folder, workers=1, slots=1, queue=1, queue_wait=30, patience=30, **urls
    ) as gateway:
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


@pytest.fixture
def switch(upstreams):
    yield upstreams[0]
    upstreams[0].heal()


def send_chat(port, correlation_id):
    body = json.dumps({"message": "Hello"})
    connection = socket.create_connection(("127.0.0.1", port), 30)
    connection.sendall(
        f"POST /operator/api/chat HTTP/1.1\r\nHost: x\r\nX-VX11-Token: {TOKEN}\r\n"
        f"X-Correlation-ID: {correlation_id}\r\n"  # of the body only once it is read
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        f"{body}".encode()
    )
    return connection


def ending(gateway, correlation_id):
    rows = wait_until(
        lambda: gateway.records("correlation_id = ? AND outcome != ''", correlation_id)
    )
    return rows[0]["outcome"], rows[0]["code"]


def test_row_40_one_who_waits_for_the_upstream(gateway, switch, port):
    before, left = switch.chats, switch.closed_by_peer
    switch.break_with("hang", times=1)
    caller = send_chat(port, f"waits-{port}")
    assert switch.wait_for_chats(before + 1, 20)

    caller.close()
    gone = time.monotonic()

    assert switch.wait_for_closed_by_peer(left + 1, 20)
    assert time.monotonic() - gone < NOTICED + SLACK
    assert gateway.chat().json()["provider"] == "switch", "the slot is free"
    assert time.monotonic() - gone < NOTICED + 2 * SLACK
    assert ending(gateway, f"waits-{port}") == ("cancelled", "client_gone")
    assert gateway.upstreams_are(switch="up")


def test_row_40_one_who_waits_in_the_queue(gateway, switch, port):
    before = switch.chats
    switch.break_with("hang", times=1)
    worked_on = send_chat(port, f"slot-{port}")
    assert switch.wait_for_chats(before + 1, 20)
    queued = send_chat(port, f"queued-{port}")
    wait_until(lambda: gateway.status()["admission"]["waiting"] == 1)
    assert gateway.chat().status_code == 503, "slot and queue are full"

    queued.close()
    gone = time.monotonic()

    assert ending(gateway, f"queued-{port}") == ("cancelled", "client_gone")
    assert time.monotonic() - gone < NOTICED + SLACK
    assert switch.chats == before + 1, "it was never sent"
    worked_on.close()
    wait_until(lambda: gateway.chat().ok)


def test_row_42_one_who_never_reads(gateway, switch):
    """A whole answer fits into the kernel's buffers, so it costs nobody anything."""
    with send_chat(gateway.port, "never-reads"):
        assert ending(gateway, "never-reads") == ("completed", None)

        assert gateway.chat().ok, "the slot is free"


def test_a_caller_who_half_closes_after_his_request_is_gone(gateway, switch):
    """Nothing tells him from one who left; behind nginx he gets an end in any case."""
    switch.break_with("hang", times=1)
    with send_chat(gateway.port, "half-closed") as caller:
        caller.shutdown(socket.SHUT_WR)

        assert ending(gateway, "half-closed") == ("cancelled", "client_gone")


def test_a_caller_who_pipelines_is_still_there(gateway, switch):
    switch.break_with("slow", times=1, seconds=1.0)
    with send_chat(gateway.port, "pipelines") as caller:
        caller.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")

        assert caller.recv(65536).startswith(b"HTTP/1.1 200")
