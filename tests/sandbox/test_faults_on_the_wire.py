"""Each fault does on the wire what its name says; the client hides nothing."""

import contextlib
import gzip
import json
import socket
from time import monotonic

import pytest
import requests

from sandbox.server import SandboxServer

KINDS = pytest.mark.parametrize("kind", ["switch", "madre"])
TEXTS = {"switch": "reply", "madre": "response"}


@pytest.fixture
def server(request, kind, token):
    with SandboxServer(kind, token=token) as running:
        yield running


def chat(server, connect, kind="switch", **options):
    client = connect(server, kind, **options)
    client.chat()
    return client


def json_reply(server, connect, kind):
    return json.loads(chat(server, connect, kind).answer()[1])


def chunks_of(body):
    """The payloads of a chunked body and whether it was ended."""
    payloads = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        if int(size, 16) == 0:
            return b"".join(payloads), True
        payloads.append(rest[: int(size, 16)])
        body = rest[int(size, 16) + 2 :]
    return b"".join(payloads), False


# Connections


def test_refuse_lets_nobody_connect_until_healed(switch, connect, address):
    where = address(switch)
    switch.break_with("refuse")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(where, 5)

    switch.heal()

    assert address(switch) == where
    assert chat(switch, connect).answer()[0].startswith("HTTP/1.1 200")


def test_refuse_ends_the_connections_that_there_are(switch, connect):
    client = chat(switch, connect)
    client.answer()

    switch.break_with("refuse")

    assert client.is_closed()


def test_while_it_refuses_its_port_is_not_given_to_others(switch, address):
    _, port = address(switch)
    switch.break_with("refuse")

    with SandboxServer("madre") as other:
        assert address(other)[1] != port
        with (
            contextlib.closing(socket.socket()) as thief,
            pytest.raises(OSError, match="in use"),
        ):
            thief.bind(("127.0.0.1", port))


def test_blackhole_never_completes_a_connect(switch, connect, address):
    switch.break_with("blackhole")
    with pytest.raises(TimeoutError):
        socket.create_connection(address(switch), 0.2)

    switch.heal()

    assert chat(switch, connect).answer()[0].startswith("HTTP/1.1 200")


def test_doors_can_be_opened_and_shut_many_times(switch, address):
    for _ in range(20):
        for fault, error in [
            ("blackhole", TimeoutError),
            ("refuse", ConnectionRefusedError),
        ]:
            switch.break_with(fault)
            with pytest.raises(error):
                socket.create_connection(address(switch), 0.02)
        switch.heal()
        socket.create_connection(address(switch), 5).close()


def test_close_at_once_takes_the_request_and_says_nothing(switch, connect):
    switch.break_with("close_at_once")

    assert chat(switch, connect).everything() == b""
    assert json.loads(switch.requests[0].body)["session_id"] == "s-1"


def test_close_at_once_may_be_a_reset(switch, connect):
    switch.break_with("close_at_once", reset=True)

    with pytest.raises(ConnectionResetError):
        chat(switch, connect).everything()


@pytest.mark.parametrize("reset", [False, True])
def test_close_on_reuse_closes_as_the_second_request_arrives(switch, connect, reset):
    switch.break_with("close_on_reuse", reset=reset)
    client = chat(switch, connect)
    assert client.answer()[0].startswith("HTTP/1.1 200")

    client.chat()

    with contextlib.suppress(ConnectionResetError):
        assert client.everything() == b""
    assert chat(switch, connect).answer()[0].startswith("HTTP/1.1 200")


def test_close_on_reuse_counts_only_the_closed(switch, connect):
    switch.break_with("close_on_reuse", times=1)
    client = chat(switch, connect)
    client.answer()
    client.chat()
    assert client.is_closed()

    again = chat(switch, connect)
    again.answer()
    again.chat()
    assert again.answer()[0].startswith("HTTP/1.1 200")


def test_close_after_answer_closes_without_having_said_so(switch, connect):
    switch.break_with("close_after_answer")
    client = chat(switch, connect)

    head, body = client.answer()

    assert "connection: close" not in head
    assert json.loads(body)["status"] == "ok"
    assert client.is_closed()


def test_reset_mid_body_sends_half_and_resets(switch, connect):
    switch.break_with("reset_mid_body")
    client = chat(switch, connect)

    half = client.until(b"\r\n\r\n")

    assert half.startswith(b"HTTP/1.1 200")
    with pytest.raises(ConnectionResetError):
        client.everything()


def test_short_content_length_announces_more_than_it_sends(switch, connect):
    switch.break_with("short_content_length")
    client = chat(switch, connect)

    head, body = client.answer()

    announced = int(head.partition("content-length: ")[2].split("\r\n")[0])
    assert 0 < len(body) < announced


def test_truncated_chunked_has_no_last_chunk(switch, connect):
    switch.break_with("truncated_chunked")

    head, _, body = chat(switch, connect).everything().partition(b"\r\n\r\n")

    payload, is_whole = chunks_of(body)
    assert b"transfer-encoding: chunked" in head
    assert payload.startswith(b'{"status":"ok"')
    assert not is_whole


def test_cut_without_length_leaves_the_end_to_guess(switch, connect):
    switch.break_with("cut_without_length")

    head, _, body = chat(switch, connect).everything().partition(b"\r\n\r\n")

    assert b"content-length" not in head
    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(body)


def test_close_mid_header_never_ends_its_head(switch, connect):
    switch.break_with("close_mid_header")

    received = chat(switch, connect).everything()

    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\n\r\n" not in received


def test_flap_is_fine_and_broken_in_turn(clock, token, connect):
    with SandboxServer("switch", token=token, clock=clock) as server:
        server.break_with("flap", period=10, status=502)
        client, seen = connect(server), []
        for _ in range(4):
            client.chat()
            seen.append(int(client.answer()[0].split()[1]))
            clock.advance(10)

    assert seen == [200, 502, 200, 502]


# Silences


def test_hang_takes_the_request_and_stays_silent(switch, connect):
    switch.break_with("hang")
    client = chat(switch, connect)

    assert client.hears_nothing_for(0.2)
    assert switch.chats == 1
    assert requests.get(switch.url + "/health", timeout=5).ok


def test_frozen_hangs_health_too(switch, connect):
    switch.break_with("frozen")
    client = connect(switch)
    client.get("/health")

    assert client.hears_nothing_for(0.2)


def test_slow_answers_late_and_well(switch, connect):
    switch.break_with("slow", seconds=0.3)

    started = monotonic()
    head, _ = chat(switch, connect).answer()

    assert head.startswith("HTTP/1.1 200")
    assert monotonic() - started >= 0.3


def test_header_drip_pauses_after_each_byte_of_the_head(switch, connect):
    switch.break_with("header_drip", interval=60)
    client = chat(switch, connect)

    assert client.some() == b"H"
    assert client.hears_nothing_for(0.2)


def test_header_drip_ends_in_a_proper_answer(switch, connect):
    switch.break_with("header_drip", interval=0.0001)

    assert json.loads(chat(switch, connect).answer()[1])["status"] == "ok"


def test_body_drip_pauses_after_each_byte_of_the_body(switch, connect):
    switch.break_with("body_drip", interval=60)
    client = chat(switch, connect)

    assert client.until(b"\r\n\r\n{").endswith(b"\r\n\r\n{")
    assert client.hears_nothing_for(0.2)


def test_body_drip_ends_in_a_proper_answer(switch, connect):
    switch.break_with("body_drip", interval=0.0001)

    assert json.loads(chat(switch, connect).answer()[1])["status"] == "ok"


def test_endless_100_continue_is_never_an_answer(switch, connect):
    switch.break_with("endless_100_continue", interval=0.001)
    client = chat(switch, connect)

    received = b""
    while received.count(b"\r\n\r\n") < 50:
        received += client.some()

    assert set(received.split(b"\r\n")) == {b"HTTP/1.1 100 Continue", b""}


def test_never_reads_lets_a_long_request_get_stuck(switch, connect):
    switch.break_with("never_reads")
    client = connect(switch, timeout=0.5)

    head = b"POST /switch/chat HTTP/1.1\r\ncontent-length: 64000000\r\n\r\n"
    with pytest.raises(TimeoutError):
        client.send(head + b"a" * 64_000_000)
    assert switch.wait_for_chats(1)


@pytest.mark.parametrize(
    "fault", ["hang", "slow", "header_drip", "body_drip", "endless_100_continue"]
)
def test_whoever_waits_in_vain_is_seen_leaving(switch, connect, fault):
    switch.break_with(fault)
    client = chat(switch, connect)
    assert switch.wait_for_chats(1)

    client.close()

    assert switch.wait_for_closed_by_peer(1)


# Headers


def test_header_injection_is_a_proper_answer_among_hostile_headers(switch, connect):
    switch.break_with("header_injection")

    head, body = chat(switch, connect).answer()

    assert "x-vx11-token: forged" in head
    assert "\r\n\ttwo: three" in head
    assert "set-cookie: " in head
    assert json.loads(body)["status"] == "ok"


def test_set_cookie_sets_the_cookie_that_is_asked_for(switch, connect):
    switch.break_with("set_cookie", cookie="a=b")

    assert "set-cookie: a=b\r\n" in chat(switch, connect).answer()[0]


def test_redirect_leads_to_a_place_or_back_to_itself(switch, connect):
    switch.break_with("redirect", status=307, location="http://127.0.0.1:9/x")
    elsewhere = chat(switch, connect).answer()[0]
    switch.break_with("redirect")
    in_a_circle = chat(switch, connect).answer()[0]

    assert elsewhere.startswith("HTTP/1.1 307")
    assert "location: http://127.0.0.1:9/x\r\n" in elsewhere
    assert in_a_circle.startswith("HTTP/1.1 302")
    assert "location: http://sandbox/switch/chat\r\n" in in_a_circle


def test_tls_garbage_is_a_tls_alert(switch, connect):
    switch.break_with("tls_garbage")

    assert chat(switch, connect).everything() == b"\x15\x03\x03\x00\x02\x02\x28"


def test_not_http_is_a_line_of_text(switch, connect):
    switch.break_with("not_http")

    assert chat(switch, connect).everything().startswith(b"220 ")


def test_huge_header_has_its_size(switch, connect):
    switch.break_with("huge_header", size=300_000)

    head, body = chat(switch, connect).answer()

    assert max(len(line) for line in head.split("\r\n")) == 300_000 + len("x-huge: ")
    assert json.loads(body)["status"] == "ok"


# Bodies


@pytest.mark.parametrize(
    ("fault", "content_type", "body"),
    [
        ("html", "text/html; charset=utf-8", b"<!doctype html>"),
        ("empty", "application/json", b""),
        ("not_json", "application/json", b"I am not JSON"),
        ("json_list", "application/json", b"[{"),
        ("bom", "application/json", b'\xef\xbb\xbf{"'),
        ("utf16", "application/json", b'\xff\xfe{\x00"\x00'),
    ],
)
def test_bodies_that_are_no_answer(switch, connect, fault, content_type, body):
    switch.break_with(fault)

    head, received = chat(switch, connect).answer()

    assert head.startswith("HTTP/1.1 200")
    assert f"content-type: {content_type}\r\n" in head
    assert received.startswith(body)
    assert bool(received) == bool(body)


@KINDS
def test_bad_utf8_is_json_with_bytes_that_are_none(server, connect, kind):
    server.break_with("bad_utf8")

    _, body = chat(server, connect, kind).answer()

    with pytest.raises(UnicodeDecodeError):
        body.decode()
    text = json.loads(body.decode("latin-1"))[TEXTS[kind]]
    assert text.endswith("\xff\xfe")


@KINDS
def test_lone_surrogate_is_escaped_and_half_of_a_pair(server, connect, kind):
    server.break_with("lone_surrogate")

    assert json_reply(server, connect, kind)[TEXTS[kind]].endswith("\ud800")


@KINDS
def test_deep_json_is_too_deep_to_parse(server, connect, kind):
    server.break_with("deep_json")

    _, body = chat(server, connect, kind).answer()

    assert b"[" * 40_000 + b"]" * 40_000 in body
    with pytest.raises(RecursionError):
        json.loads(body)


@KINDS
def test_huge_body_is_a_proper_reply_of_its_size(server, connect, kind):
    server.break_with("huge_body", size=1_000_000)

    reply = json_reply(server, connect, kind)

    assert reply[TEXTS[kind]] == "a" * 1_000_000


def test_huge_body_may_come_in_chunks(switch, connect):
    switch.break_with("huge_body", size=1_000_000, chunked=True)

    received = chat(switch, connect).until(b"\r\n0\r\n\r\n")

    payload, is_whole = chunks_of(received.partition(b"\r\n\r\n")[2])
    assert is_whole
    assert json.loads(payload)["reply"] == "a" * 1_000_000


def test_huge_body_is_100_megabytes_unless_told_otherwise(switch, connect):
    switch.break_with("huge_body")

    head = chat(switch, connect).until(b"\r\n\r\n").decode("latin-1").lower()

    length = int(head.partition("content-length: ")[2].split("\r\n")[0])
    assert length > 100_000_000
    assert switch.wait_for_chats(1)


def test_huge_endless_goes_on_until_the_client_has_had_enough(switch, connect):
    switch.break_with("huge_endless")
    client = chat(switch, connect)

    received = 0
    while received < 5_000_000:
        received += len(client.some())
    client.close()

    assert switch.wait_for_closed_by_peer(1)


@KINDS
def test_gzip_bomb_is_a_proper_reply_and_a_thousand_times_larger(server, connect, kind):
    server.break_with("gzip_bomb", size=10_000_000)

    head, body = chat(server, connect, kind).answer()

    assert "content-encoding: gzip\r\n" in head
    assert len(body) < 20_000
    assert json.loads(gzip.decompress(body))[TEXTS[kind]] == "a" * 10_000_000


def test_double_gzip_is_packed_twice(switch, connect):
    switch.break_with("double_gzip")

    head, body = chat(switch, connect).answer()

    assert "content-encoding: gzip, gzip\r\n" in head
    assert len(body) < 2_000
    assert len(gzip.decompress(body)) > 50_000  # itself gzip, of 100 MB


# Answers


@KINDS
@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("reply_null", None),
        ("reply_number", 42),
        ("reply_list", ["a", "b"]),
        ("reply_object", {"text": "inside"}),
        ("reply_empty", ""),
        ("reply_blank", " \n\t "),
    ],
)
def test_a_reply_that_is_no_text(server, connect, kind, fault, text):
    server.break_with(fault)

    reply = json_reply(server, connect, kind)

    assert reply[TEXTS[kind]] == text
    assert reply["status"] in ("ok", "DONE")
    assert reply.get("content", text) == text


@KINDS
def test_reply_missing_has_no_text_at_all(server, connect, kind):
    server.break_with("reply_missing")

    reply = json_reply(server, connect, kind)

    assert reply["status"] in ("ok", "DONE")
    assert not {"reply", "content", "response"} & reply.keys()


@KINDS
def test_wrong_schema_has_none_of_the_fields(server, connect, kind):
    server.break_with("wrong_schema")

    assert json_reply(server, connect, kind).keys() == {"object", "choices"}


def test_status_error_of_switch_has_its_text_in_content(switch, connect):
    switch.break_with("status_error", text="broken")

    reply = json_reply(switch, connect, "switch")

    assert (reply["status"], reply["content"]) == ("error", "broken")
    assert "reply" not in reply


def test_status_partial_of_switch_has_its_text_in_the_reply(switch, connect):
    switch.break_with("status_partial", text="broken")

    reply = json_reply(switch, connect, "switch")

    assert (reply["status"], reply["reply"]) == ("partial", "broken")


def test_status_error_of_madre_is_in_upper_case(madre, connect):
    madre.break_with("status_error", text="broken")

    reply = json_reply(madre, connect, "madre")

    assert (reply["status"], reply["response"]) == ("ERROR", "broken")


def test_waiting_is_a_text_that_wants_a_confirmation(madre, connect):
    madre.break_with("waiting")
    waiting = json_reply(madre, connect, "madre")
    madre.break_with("waiting", status="RUNNING")
    running = json_reply(madre, connect, "madre")

    assert waiting["status"] == "WAITING"
    assert "confirm" in waiting["response"]
    assert running["status"] == "RUNNING"


def test_unicode_text_arrives_as_it_was_meant(switch, connect):
    switch.break_with("unicode_text", text="日本語 \U0001f469\u200d\U0001f467 <b>")

    text = json_reply(switch, connect, "switch")["reply"]

    assert text == "日本語 \U0001f469\u200d\U0001f467 <b>"


def test_rate_limited_says_when_to_come_back(switch, connect):
    heads = []
    for retry_after in ("3600", "Wed, 21 Oct 2015 07:28:00 GMT", ""):
        switch.break_with("rate_limited", retry_after=retry_after)
        heads.append(chat(switch, connect).answer()[0])

    assert all(head.startswith("HTTP/1.1 429") for head in heads)
    assert "retry-after: 3600\r\n" in heads[0]
    assert "retry-after: Wed, 21 Oct" in heads[1]
    assert "retry-after" not in heads[2]


@pytest.mark.parametrize(
    ("fault", "params", "status"),
    [
        ("http_status", {"status": 500}, 500),
        ("http_status", {"status": 502}, 502),
        ("http_status", {"status": 503}, 503),
        ("http_status", {"status": 504}, 504),
        ("reject_400", {}, 400),
        ("reject_422", {}, 422),
        ("unauthorized", {}, 401),
        ("unauthorized", {"status": 403}, 403),
    ],
)
@KINDS
def test_refusals_have_their_status_and_a_json_body(
    server, connect, kind, fault, params, status
):
    server.break_with(fault, **params)

    head, body = chat(server, connect, kind).answer()

    assert int(head.split()[1]) == status
    assert "detail" in json.loads(body)
