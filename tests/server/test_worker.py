"""The worker under real gunicorn, with four threads and callers who misbehave."""

import contextlib
import http.client
import json
import os
import re
import resource
import signal
import socket
import sys
import threading
import time
from http import HTTPStatus

import psutil
import pytest

from app.server.connection import refusal, status_of
from tests.support.stack import Process, free_port, parse_response, read_all, wait_until

THREADS = 4
AT_ONCE = 1.5  # seconds; what a noisy machine may need
HALF_A_BODY = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"
HEAD = b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"
_tick = threading.Event()


class Server(Process):
    """gunicorn with our worker class and the plain application."""

    def __init__(self, folder):
        super().__init__(folder / "server.log")
        self.port = free_port()
        # An empty one, or gunicorn takes the gateway's from the current folder.
        self.config = folder / "empty.py"
        self.config.touch()

    def __enter__(self):
        command = ["-m", "gunicorn", "-k", "app.server.worker.Worker", "-w", "1"]
        command += ["--threads", str(THREADS), "-b", f"127.0.0.1:{self.port}"]
        command += ["--no-control-socket", "--graceful-timeout", "8", "--timeout", "3"]
        command += ["-c", str(self.config), "tests.web.plain_app:app"]
        self.spawn([sys.executable, *command], os.environ)
        self.wait_until_up()
        return self

    def __exit__(self, *exc):
        self.stop()

    def _is_up(self):
        assert self.process.poll() is None, self.output()
        with contextlib.suppress(OSError):
            return self.get("/ok") == (200, b"ok")

    @property
    def worker(self):
        (worker,) = psutil.Process(self.process.pid).children()
        return worker

    def get(self, path, timeout=20, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()

    def connect(self, data=b""):
        connection = socket.create_connection(("127.0.0.1", self.port), 20)
        connection.sendall(data)
        return connection

    def answers_within(self, seconds):
        started = time.monotonic()
        assert self.get("/ok")[0] == 200
        took = time.monotonic() - started
        assert took < seconds
        return took


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("worker")) as server:
        yield server


@pytest.fixture
def server(shared):
    """The shared server, with all its threads free."""
    before = shared.worker.pid
    yield shared
    wait_until(lambda: shared.get("/ok")[0] == 200)
    assert shared.worker.pid == before, shared.output()


@pytest.fixture
def crowd(server):
    """Opens connections that are closed at the end."""
    with contextlib.ExitStack() as open_ones:

        def open_all(data, count=THREADS):
            return [open_ones.enter_context(server.connect(data)) for _ in range(count)]

        yield open_all


class TestCallersWhoHoldUpNobody:
    def test_those_who_connect_and_say_nothing(self, server, crowd):
        crowd(b"", count=50)

        server.answers_within(AT_ONCE)

    def test_those_who_do_not_close_after_the_last_answer(self, server, crowd):
        last = HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        started = time.monotonic()
        for connection in crowd(last, count=12):
            connection.recv(1)

        server.answers_within(AT_ONCE)
        assert time.monotonic() - started < 2 * AT_ONCE

    def test_those_who_do_not_close_after_a_refusal(self, server, crowd):
        started = time.monotonic()
        for connection in crowd(b"nonsense\r\n\r\n", count=12):
            connection.recv(1)

        server.answers_within(AT_ONCE)
        assert time.monotonic() - started < 2 * AT_ONCE


class TestCallersWhoHoldNoThread:
    """Heads are read by the loop, so it does not matter how many are half here."""

    def test_those_who_stall_inside_a_head(self, server, crowd):
        stalled = crowd(HEAD[:1], count=60)

        server.answers_within(AT_ONCE)

        for connection in stalled:
            assert parse_response(read_all(connection))[0] == 408

    def test_those_whose_head_comes_in_pieces_are_answered(self, server, crowd):
        (connection,) = crowd(HEAD[:7], count=1)
        for byte in HEAD[7:]:
            connection.sendall(bytes([byte]))

        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")

    def test_those_who_send_a_head_without_an_end(self, server, crowd):
        lines = b"GET /ok HTTP/1.1\r\n" + b"X-A: b\r\n" * 10_000
        (connection,) = crowd(lines, count=1)

        assert parse_response(read_all(connection))[0] == 431

    def test_those_who_ask_twice_at_once_are_answered_in_order(self, server, crowd):
        (connection,) = crowd(HEAD + HEAD.replace(b"/ok", b"/slow?0") + HEAD, count=1)
        answers = b""
        while answers.count(b"HTTP/1.1 200 OK") < 3 or not answers.endswith(b"ok"):
            answers += connection.recv(65536)

        bodies = [part.partition(b"HTTP/")[0] for part in answers.split(b"\r\n\r\n")]
        assert bodies[1:] == [b"ok", b"slow", b"ok"]

    def test_those_who_drip_a_head(self, server, crowd):
        dripping = crowd(HEAD[:20])
        stop = threading.Event()

        def drip():
            while not stop.wait(0.2):
                for connection in dripping:
                    with contextlib.suppress(OSError):
                        connection.sendall(b"X")

        dripper = threading.Thread(target=drip)
        dripper.start()
        try:
            server.answers_within(AT_ONCE)
        finally:
            stop.set()
            dripper.join(10)

    def test_those_who_stall_inside_a_second_head(self, server, crowd):
        for connection in crowd(HEAD):
            connection.recv(65536)
            connection.sendall(HEAD[:20])

        server.answers_within(AT_ONCE)

    def test_those_who_begin_their_next_request_with_the_first(self, server, crowd):
        crowd(HEAD + HEAD[:20])

        server.answers_within(AT_ONCE)


class TestCallersWhoHoldSomeThreads:
    """A body and an answer need a thread; those who are slow get half of them."""

    def test_those_who_stall_inside_a_body(self, server, crowd):
        stalled = crowd(HALF_A_BODY, count=3 * THREADS)

        server.answers_within(AT_ONCE)

        for connection in stalled:
            assert b"500" not in read_all(connection)[:20]

    def test_who_is_only_on_his_way_is_not_given_up_for_them(self, server, crowd):
        crowd(HALF_A_BODY, count=3 * THREADS)
        (connection,) = crowd(HALF_A_BODY, count=1)
        connection.sendall(b"defghi")

        answer = b""
        while not answer.endswith(b"abcdefghi"):
            piece = connection.recv(65536)
            assert piece, answer
            answer += piece

    def test_a_body_that_nobody_reads_is_not_waited_for(self, server, crowd):
        for connection in crowd(
            b"POST /ok HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"
        ):
            answer = connection.recv(65536)
            assert b"connection: close" in answer.lower()

        server.answers_within(AT_ONCE)

    def test_row_42_those_who_never_read_their_answer(self, server, crowd):
        before = server.output().count("client_slow")
        crowd(HEAD.replace(b"/ok", b"/big"), count=3 * THREADS)

        server.answers_within(AT_ONCE)

        told = 3 * THREADS
        wait_until(lambda: server.output().count("client_slow") >= before + told)


class TestWhatCannotBeParsed:
    SECRET = b"do-not-repeat-me"

    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (SECRET + b"\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n" + SECRET + b" : x\r\n\r\n", 400),
            (b"GET /" + SECRET + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
            (b"GET / HTTP/1.1\r\nX: " + SECRET * 999 + b"\r\n\r\n", 431),
            (b"GET / HTTP/1.1\r\nTransfer-Encoding: " + SECRET + b"\r\n\r\n", 501),
            (b"GET / HTTP/1.1\r\nExpect: " + SECRET + b"\r\n\r\n", 417),
        ],
        ids=lambda value: str(value)[:20],
    )
    def test_is_answered_in_json_without_its_text(self, server, data, status):
        with server.connect(data) as connection:
            answer = read_all(connection)

        found, headers, body = parse_response(answer)
        assert found == status
        assert set(json.loads(body)) == {"detail", "code", "correlation_id"}
        assert headers["X-Correlation-ID"] == json.loads(body)["correlation_id"]
        assert headers["Content-Type"] == "application/json"
        assert self.SECRET not in answer
        assert self.SECRET.decode() not in server.output()

    def test_a_flood_of_it_leaves_few_lines_and_one_says_from_where(self, server):
        def lines():
            return re.findall(
                r"Refused a request: InvalidHeaderName.*", server.output()
            )

        for _ in range(30):
            with server.connect(b"GET / HTTP/1.1\r\nHo st: x\r\n\r\n") as connection:
                read_all(connection)

        wait_until(lines)
        assert len(lines()) < 5
        assert "source=127.0.0.1" in lines()[0]

    def test_nothing_more_is_read_from_it(self, server):
        with server.connect(b"nonsense\r\n\r\n" + HEAD) as connection:
            assert read_all(connection).count(b"HTTP/1.1") == 1


class TestShortages:
    def test_row_69_without_files_callers_wait_and_nobody_dies(self, server, crowd):
        used = server.worker.num_fds()
        with limit(server.worker, resource.RLIMIT_NOFILE, used + 2):
            crowd(b"", count=8)
            wait_until(lambda: "No connection can be accepted" in server.output())
            cpu = sum(server.worker.cpu_times()[:2])
            _tick.wait(1.0)
            assert sum(server.worker.cpu_times()[:2]) - cpu < 0.5, "it spins"

        server.answers_within(AT_ONCE + 1)

    def test_row_70_without_a_thread_the_answer_is_503(self, tmp_path):
        with Server(tmp_path) as fresh:
            pid = fresh.worker.pid
            little = fresh.worker.memory_info().vms + 4_000_000  # a stack is 8 MB
            with limit(fresh.worker, resource.RLIMIT_AS, little):
                slow = [fresh.connect(HEAD.replace(b"/ok", b"/slow?2"))]
                while len(slow) < THREADS:
                    slow.append(fresh.connect(HEAD.replace(b"/ok", b"/slow?2")))
                status, body = fresh.get("/ok")
                assert (status, json.loads(body)["code"]) == (
                    503,
                    "service_unavailable",
                )

            assert wait_until(lambda: fresh.get("/ok") == (200, b"ok"))
            assert fresh.worker.pid == pid
            for connection in slow:
                connection.close()


@contextlib.contextmanager
def limit(process, which, soft):
    before = process.rlimit(which)
    process.rlimit(which, (soft, before[1]))
    try:
        yield
    finally:
        process.rlimit(which, before)


class TestItsEnd:
    def test_requests_under_way_are_finished(self, tmp_path):
        with (
            Server(tmp_path) as server,
            server.connect(HEAD.replace(b"/ok", b"/slow?1.5")) as connection,
        ):
            _tick.wait(0.3)
            server.process.send_signal(signal.SIGTERM)
            answer = read_all(connection)

            assert parse_response(answer)[0] == 200
            server.process.wait(10)
            assert server.process.returncode == 0

    def test_silent_connections_do_not_hold_it_up(self, tmp_path):
        with Server(tmp_path) as server, server.connect():
            started = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(20)

        assert time.monotonic() - started < 2 + 2 * AT_ONCE

    def test_row_62_without_a_master_it_gives_up_the_port(self, tmp_path):
        with (
            Server(tmp_path) as server,
            server.connect(HEAD.replace(b"/ok", b"/slow?60")),
        ):
            worker = server.worker
            _tick.wait(0.3)
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait(10)
            killed = time.monotonic()

            def is_free():
                with socket.socket() as new:
                    new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    with contextlib.suppress(OSError):
                        new.bind(("127.0.0.1", server.port))
                        new.listen()
                        return True

            wait_until(is_free)
            assert time.monotonic() - killed < AT_ONCE
            worker.terminate()
            worker.kill()

    def test_row_65_a_stuck_loop_is_ended_by_the_master(self, tmp_path):
        with Server(tmp_path) as server:
            stuck = server.worker.pid
            with server.connect(HEAD.replace(b"/ok", b"/hog")):
                wait_until(lambda: server.process and self.is_new(server, stuck))

            assert "WORKER TIMEOUT" in server.output()
            server.answers_within(AT_ONCE)

    def is_new(self, server, stuck):
        with contextlib.suppress(psutil.NoSuchProcess, ValueError):
            return server.worker.pid != stuck


def test_an_error_that_nobody_knows_is_ours():
    assert status_of(KeyError("x")) == 500


def test_a_refusal_names_its_length():
    _, _, body = refusal(status_of(KeyError("x"))).partition(b"\r\n\r\n")

    assert re.search(rb'"code": "internal_server_error"', body)


@pytest.mark.parametrize(
    ("begins", "is_openai"),
    [
        (b"GET /v1/models?x=y HTTP/1.1\r\n", True),
        (b"GET /v1 HTTP/1.1\r\n", True),
        (b"POST /v1?" + b"x" * 9000, True),
        (b"GET /v12 HTTP/1.1\r\n", False),
        (b"GET / HTTP/1.1\r\nReferer: /v1/\r\n", False),
        (b"", False),
        (b"\xff\xfe", False),
    ],
)
def test_a_refusal_below_v1_has_openais_shape(begins, is_openai):
    answer = refusal(HTTPStatus.REQUEST_URI_TOO_LONG, begins)

    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    told = body["error"] if is_openai else body
    assert told["code"] == "request_uri_too_long"
    assert ("detail" in body) is not is_openai


@pytest.mark.parametrize("path", [b"/v1/messages", b"/v1/messages/count_tokens?beta=1"])
def test_a_refusal_below_v1_messages_has_anthropics_shape(path):
    answer = refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"POST " + path + b" HTTP/1.1\r\n"
    )

    head, _, body = answer.partition(b"\r\n\r\n")
    told = json.loads(body)
    assert (told["type"], told["error"]["type"]) == ("error", "request_too_large")
    assert f"request-id: {told['request_id']}".encode() in head.splitlines()
