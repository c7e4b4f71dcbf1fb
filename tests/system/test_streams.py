"""Streams on the real stack: gunicorn, and nginx in front of it."""

import contextlib
import fcntl
import json
import signal
import socket
import threading
import time

import pytest
import requests

from tests.support.events import live_events, parse_events, text_of
from tests.support.speaker import CUT, Speaker
from tests.support.stack import (
    TOKEN,
    FrontDoor,
    Gateway,
    parse_response,
    raw_exchange,
    sandbox,
    wait_until,
)

CONFIG = """
[[upstreams]]
name = "speaker"
kind = "openai"
url = "{speaker}"
idle_timeout = {idle}
first_token_timeout = 2
retries = 0

[[upstreams]]
name = "madre"
kind = "madre"
url = "{madre}"
timeout = 5
"""


@pytest.fixture(scope="module")
def speaker():
    with Speaker() as speaker:
        yield speaker


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, speaker):
    folder = tmp_path_factory.mktemp("streams")
    with sandbox() as (_, madre):
        config = folder / "gateway.toml"
        text = CONFIG.format(speaker=speaker.url, madre=madre.url, idle=10)
        config.write_text(text)
        with Gateway(folder, config=config, workers=1) as gateway:
            yield gateway


@pytest.fixture(scope="module")
def door(gateway):
    with FrontDoor(gateway.folder, gateway) as door:
        yield door


@pytest.fixture(params=["direct", "front door"])
def url(request, gateway):
    return (
        gateway.url
        if request.param == "direct"
        else request.getfixturevalue("door").url
    )


@pytest.fixture(autouse=True)
def _fresh(speaker, gateway):
    speaker.script = ("Hello ", "world")
    speaker.was_left.clear()
    wait_until(lambda: gateway.upstreams_are(speaker="up", madre="up"))


@contextlib.contextmanager
def stream(url, *, timeout=30, **headers):
    with requests.post(
        f"{url}/operator/api/chat",
        json={"message": "Hello", "stream": True},
        headers={"X-VX11-Token": TOKEN} | headers,
        stream=True,
        timeout=timeout,
    ) as answer:
        yield answer


def events(url, **headers):
    with stream(url, **headers) as answer:
        assert answer.status_code == 200, answer.text
        return list(live_events(answer))


def outcome_of(gateway, correlation_id):
    """The record of a chat once it is closed."""
    query = "correlation_id = ? AND outcome IS NOT NULL AND route <> 'breaker'"
    [row] = wait_until(lambda: gateway.records(query, correlation_id))
    return row


def test_words_arrive_one_by_one(url, speaker):
    first, second = threading.Event(), threading.Event()
    speaker.script = ("one ", first, "two ", second, "three")

    with stream(url) as answer:
        arrived = live_events(answer)
        assert next(arrived).name == "meta"
        assert next(arrived).data == {"text": "one "}
        first.set()
        assert next(arrived).data == {"text": "two "}
        second.set()
        *words, done = arrived

    assert text_of(words) == "three"
    assert done.name == "done"
    assert done.data["usage"] == {"input_tokens": 3, "output_tokens": 4}
    assert done.data["model_used"] == "speaker-1"


def test_the_record_is_there_when_the_last_event_is(url, gateway):
    with stream(url) as answer:
        for event in live_events(answer):
            if event.name == "done":
                [row] = gateway.records("id = ?", event.data["audit_id"])
                assert row["outcome"] == "completed"
                assert json.loads(row["reply"])["text"] == "Hello world"
                return
    pytest.fail("no done event")


def test_silence_between_words_is_filled_with_heartbeats(url, speaker):
    go_on = threading.Event()
    speaker.script = ("one ", go_on, "two")
    beats = []

    with stream(url) as answer:
        heard = time.monotonic()
        for line in answer.iter_lines(chunk_size=1):
            if line.startswith(b":"):
                beats.append(time.monotonic() - heard)
            heard = time.monotonic()
            if len(beats) == 2:
                go_on.set()

    assert len(beats) >= 2
    assert max(beats) < 2.5  # 2 s are promised; the box is shared


def test_an_upstream_that_cannot_stream_is_one_delta(gateway, speaker):
    speaker.script = (CUT,)

    meta, delta, done = events(gateway.url)

    assert meta.data["provider"] == done.data["provider"] == "madre"
    assert meta.data["degraded"] is True
    assert delta.data["text"]


def test_row_36_a_fault_before_the_first_word_is_the_fallbacks_stream(url, speaker):
    speaker.script = (b": nothing yet\n\n", threading.Event())
    started = time.monotonic()

    arrived = events(url)

    assert arrived[-1].data["provider"] == "madre"
    assert arrived[-1].data["attempts"][0]["fault"] == "first_token"
    assert time.monotonic() - started < 10


def test_row_37_a_fault_after_the_first_word_is_an_error(url, speaker, gateway):
    speaker.script = ("Half an ans", CUT)

    arrived = events(url, **{"X-Correlation-ID": f"row-37-{url[-5:]}"})

    assert [e.name for e in arrived] == ["meta", "delta", "error"]
    assert arrived[-1].data["code"] == "reply_interrupted"
    row = outcome_of(gateway, f"row-37-{url[-5:]}")
    assert (row["outcome"], row["code"]) == ("failed", "reply_interrupted")
    assert json.loads(row["reply"])["text"] == "Half an ans"
    assert json.loads(row["attempts"])[0]["fault"] == "truncated"


def test_row_38_an_upstream_that_falls_silent_is_given_up(tmp_path):
    with Speaker("one ", threading.Event()) as speaker, sandbox() as (_, madre):
        config = tmp_path / "gateway.toml"
        text = CONFIG.format(speaker=speaker.url, madre=madre.url, idle=1)
        config.write_text(text)
        with Gateway(tmp_path, config=config, workers=1) as gateway:
            started = time.monotonic()
            arrived = events(gateway.url, **{"X-Correlation-ID": "row-38"})

            assert arrived[-1].name == "error"
            assert time.monotonic() - started < 8
            assert speaker.was_left.wait(5)
            row = outcome_of(gateway, "row-38")
            assert json.loads(row["attempts"])[0]["fault"] == "stream_idle"


@pytest.mark.parametrize(
    "noise",
    [b"data: {not json\n\n", b"data: [1,2]\n\n", b"retry: x\nevent: odd\n\n"],
)
def test_row_39_a_malformed_event_costs_nothing_but_itself(gateway, speaker, noise):
    speaker.script = ("Hello ", noise, "world")

    arrived = events(gateway.url)

    assert text_of(arrived) == "Hello world"
    assert arrived[-1].name == "done"


def test_row_39_a_line_without_end_is_an_error(gateway, speaker):
    speaker.script = ("Hello ", b"data: " + b"x" * 1_100_000, "world")

    assert events(gateway.url)[-1].name == "error"


def test_row_41_a_caller_who_leaves_is_noticed_and_so_is_the_upstream(
    url, speaker, gateway
):
    speaker.script = ("one ", threading.Event(), "two")
    name = f"row-41-{url[-5:]}"

    with stream(url, **{"X-Correlation-ID": name}) as answer:
        arrived = live_events(answer)
        next(arrived), next(arrived)
        left_at = time.monotonic()

    assert speaker.was_left.wait(10)
    assert time.monotonic() - left_at < 3  # 2 s are promised; the box is shared
    row = outcome_of(gateway, name)
    assert (row["outcome"], row["code"]) == ("cancelled", "client_gone")
    assert json.loads(row["reply"])["text"] == "one "


def test_a_caller_who_leaves_is_not_held_against_the_upstream(gateway, speaker):
    speaker.script = ("one ", threading.Event())
    for _ in range(5):
        with stream(gateway.url) as answer:
            next(live_events(answer))
    speaker.script = ("fine",)

    assert events(gateway.url)[-1].data["provider"] == "speaker"


def test_row_42_a_caller_who_never_reads_is_cut_off(gateway, speaker):
    speaker.script = ["x" * 10_000] * 2_000
    body = json.dumps({"message": "Hello", "stream": True})
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.connect(("127.0.0.1", gateway.port))
        caller.sendall(
            f"POST /operator/api/chat HTTP/1.1\r\nHost: x\r\nX-VX11-Token: {TOKEN}\r\n"
            "X-Correlation-ID: row-42\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )

        row = outcome_of(gateway, "row-42")

    assert (row["outcome"], row["code"]) == ("cancelled", "client_gone")
    assert row["duration"] < 10


def test_a_wait_for_the_record_is_filled_with_heartbeats_too(gateway, speaker):
    last_word = threading.Event()
    speaker.script = ("Hello ", last_word, "world")
    lock = gateway.audit.with_name(f"{gateway.audit.name}.lock")
    with lock.open("rb") as writers, stream(gateway.url) as answer:
        lines = answer.iter_lines(chunk_size=1)
        wait_for(lines, b"Hello")
        fcntl.flock(writers, fcntl.LOCK_EX)  # as a worker whose disk is slow
        last_word.set()
        wait_for(lines, b"world")
        began = time.monotonic()

        assert wait_for(lines, b":", b"event:") == b":"
        assert time.monotonic() - began < 2
    wait_until(lambda: requests.get(f"{gateway.url}/readyz", timeout=5).ok)


def wait_for(lines, *signs):
    """The next line that holds one of these; `b":"` stands for a comment."""
    return next(
        line
        for line in lines
        if any(line == sign if sign == b":" else sign in line for sign in signs)
    )


def test_a_refusal_keeps_its_status(gateway):
    with stream(gateway.url, **{"X-VX11-Token": "wrong-token"}) as answer:
        assert answer.status_code == 403
        assert answer.json()["code"] == "forbidden"


def test_a_caller_of_http_1_0_gets_a_stream_too(gateway):
    body = json.dumps({"message": "Hello", "stream": True})
    answer = raw_exchange(
        gateway.port,
        f"POST /operator/api/chat HTTP/1.0\r\nHost: x\r\nX-VX11-Token: {TOKEN}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode(),
    )

    status, _, data = parse_response(answer)

    assert status == 200
    assert list(parse_events(data.decode().split("\n")))[-1].name == "done"


def test_row_90_idle_streams_do_not_slow_a_plain_chat(gateway, speaker):
    waiting = threading.Event()
    speaker.script = ("one ", waiting)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            answer = stack.enter_context(stream(gateway.url))
            next(live_events(answer))
        speaker.script = ("at once",)

        assert gateway.chat(timeout=5).json()["response"] == "at once"
        waiting.set()


class TestVerified:
    def test_nothing_is_said_before_all_of_it_is_known(self, gateway, speaker):
        speaker.script = ("Half an ans", CUT)

        arrived = events(gateway.url, **{"X-Gateway-Stream-Mode": "verified"})

        assert arrived[-1].name == "done"
        assert arrived[-1].data["provider"] == "madre"
        assert "Half" not in text_of(arrived)


def test_row_63_a_stream_is_told_when_the_gateway_stops(tmp_path):
    with Speaker("one ", threading.Event()) as speaker, sandbox() as (_, madre):
        config = tmp_path / "gateway.toml"
        text = CONFIG.format(speaker=speaker.url, madre=madre.url, idle=60)
        config.write_text(text)
        with Gateway(tmp_path, config=config, workers=1, grace=3) as gateway:
            with stream(gateway.url, **{"X-Correlation-ID": "row-63"}) as answer:
                arrived = live_events(answer)
                next(arrived), next(arrived)
                stopped_at = time.monotonic()
                gateway.process.send_signal(signal.SIGTERM)

                last = list(arrived)[-1]
                assert (last.name, last.data["code"]) == ("error", "shutting_down")
            gateway.process.wait(30)
            assert time.monotonic() - stopped_at < 3 + 2  # grace, and a noisy box
            row = outcome_of(gateway, "row-63")

    assert (row["outcome"], row["code"]) == ("failed", "shutting_down")
    assert json.loads(row["reply"])["text"] == "one "
