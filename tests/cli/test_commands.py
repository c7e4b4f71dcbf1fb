"""The commands, in this process, against a real gateway."""

import json
import re
import socketserver
import threading

import pytest
from click.testing import CliRunner

from app.cli import main
from tests.support.stack import TOKEN, Gateway, sandbox, wait_until


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with (
        sandbox() as (switch, madre),
        Gateway(
            tmp_path_factory.mktemp("cli"),
            workers=1,
            switch_url=switch.url,
            madre_url=madre.url,
        ) as gateway,
    ):
        wait_until(lambda: gateway.upstreams_are(switch="up", madre="up"))
        yield gateway, switch, madre


@pytest.fixture
def command(stack, monkeypatch):
    gateway, switch, _ = stack
    for name, value in gateway.settings.items():
        monkeypatch.setenv(f"VX11_{name}", str(value))

    def run(*words, **options):
        return CliRunner().invoke(main, words, **options)

    yield run
    switch.heal()
    wait_until(lambda: gateway.upstreams_are(switch="up", madre="up"))


def test_a_chat_is_answered_and_says_by_whom(command):
    done = command("chat", "Hello there")

    assert done.exit_code == 0
    assert "andbox" in done.stdout
    assert "[switch, " in done.stderr


def test_a_chat_line_by_line_keeps_its_session(command, stack):
    done = command("chat", "--session", "line-by-line", input="Hello\n\nAnd you?\n")

    assert done.exit_code == 0
    assert len(stack[0].records("session_id = 'line-by-line'")) == 2


def test_a_chat_in_json_prints_its_events(command):
    lines = command("chat", "Hello", "--json").stdout.splitlines()

    assert [json.loads(line)["event"] for line in lines][-1] == "done"


def test_a_chat_that_is_refused_ends_with_1(command):
    done = command("chat", "x" * 1_100_000)  # more than is read

    assert done.exit_code == 1
    assert done.stderr


def test_a_wrong_token_ends_with_77(command, monkeypatch):
    monkeypatch.setenv("VX11_TENTACULO_LINK_TOKEN", "another-token")

    for words in (["chat", "Hello"], ["status"]):
        done = command(*words)
        assert done.exit_code == 77
        assert "forbidden" in done.stderr


def test_the_operator_token_does_as_well(command, monkeypatch):
    monkeypatch.delenv("VX11_TENTACULO_LINK_TOKEN")
    monkeypatch.setenv("VX11_OPERATOR_TOKEN", TOKEN)

    assert command("status").exit_code == 0


def test_what_only_reads_files_needs_no_token(command, monkeypatch, tmp_path):
    monkeypatch.delenv("VX11_TENTACULO_LINK_TOKEN")
    monkeypatch.setenv("VX11_TOKENS_FILE", str(tmp_path / "tokens.toml"))

    assert command("token", "new", "ci").exit_code == 0
    for words in (
        ["records", "verify"],
        ["records", "search"],
        ["token", "list"],
        ["post-task"],
    ):
        assert command(*words).exit_code == 0, words
    assert command("config", "check").exit_code == 78  # as the start would


def test_a_gateway_behind_a_socket_file_is_reached(tmp_path, monkeypatch):
    bind = f"unix:{tmp_path}/gw"
    requested = []

    class Server(socketserver.UnixStreamServer):
        def handle_error(self, *args):
            raise AssertionError

    class Answer(socketserver.StreamRequestHandler):
        def handle(self):
            requested.append(self.rfile.readline())
            body = b'{"detail": "overloaded", "code": "overloaded"}'
            head = f"HTTP/1.0 503 Busy\r\nContent-Length: {len(body)}\r\n\r\n"
            self.wfile.write(head.encode() + body)

    monkeypatch.setenv("VX11_TENTACULO_LINK_TOKEN", TOKEN)
    monkeypatch.setenv("VX11_BIND", bind)
    with Server(bind.removeprefix("unix:"), Answer) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        done = CliRunner().invoke(main, ["status"])
        thread.join()

    assert requested == [b"GET /operator/api/status HTTP/1.1\r\n"]
    assert (done.exit_code, "overloaded" in done.stderr) == (69, True)


def test_without_a_gateway_the_exit_code_is_69(command, monkeypatch):
    monkeypatch.setenv("VX11_OPERATOR_URL", "http://127.0.0.1:1")

    for words in (["chat", "Hello"], ["status"], ["explain"]):
        done = command(*words)
        assert done.exit_code == 69
        assert "No gateway answers" in done.stderr


def test_status_shows_each_upstream(command):
    done = command("status")

    assert done.exit_code == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["well", "(since"],
        ["switch", "up"],
        ["madre", "up"],
    ]
    assert json.loads(command("status", "--json").stdout)["ok"] is True


def test_one_that_is_never_probed_is_no_reason_to_fail(command, tmp_path, monkeypatch):
    """Until its circuit is open: that is all that is known of it."""
    with (
        sandbox() as (switch, madre),
        Gateway(
            tmp_path,
            workers=1,
            switch_url=switch.url,
            switch_health="none",
            madre_url=madre.url,
            breaker_failures=3,
            breaker_open=30,
        ) as gateway,
    ):
        wait_until(lambda: gateway.upstreams_are(madre="up"))
        for name, value in gateway.settings.items():
            monkeypatch.setenv(f"VX11_{name}", str(value))

        done = command("status")
        switch.break_with("refuse")
        for _ in range(3):
            gateway.chat()
        after = command("status")

        assert done.exit_code == 0
        assert re.search("^switch +unprobed not probed$", done.stdout, re.MULTILINE)
        assert after.exit_code == 1
        assert "passed over: its circuit breaker is open" in after.stdout


def test_explain_tells_who_would_answer_and_why_not_the_others(command, stack):
    gateway, switch, _ = stack
    assert "1. switch: would be asked" in command("explain").stdout

    switch.break_with("refuse")
    gateway.chat()
    done = command("explain")

    assert "1. switch: would be passed over: it is down" in done.stdout
    assert "2. madre: would be asked" in done.stdout
    verdicts = json.loads(command("explain", "--json").stdout)
    assert [v["would_answer"] for v in verdicts] == [False, True]


def test_explain_and_status_tell_of_a_rest_although_the_upstream_is_up(command, stack):
    gateway, switch, _ = stack
    switch.break_with("rate_limited", retry_after="3")
    gateway.chat()

    explained, shown = command("explain").stdout, command("status").stdout

    why = r"it asked for a rest, for another [0-3](\.\d)? s"
    assert re.search(rf"1\. switch: would be passed over: {why}", explained)
    assert "2. madre: would be asked" in explained
    assert re.search(rf"switch +up +ok, but passed over: {why}", shown)
    assert gateway.services()["switch"]["obstacle"]["reason"] == "resting"
    assert gateway.chat().headers["X-Gateway-Fallback-Reason"] == "resting"
    wait_until(lambda: "obstacle" not in gateway.services()["switch"])


def test_one_that_is_up_and_answers_nothing_is_told(command, stack):
    gateway, switch, _ = stack
    gateway.chat()  # whatever failed before is over
    switch.break_with("unauthorized")
    for _ in range(3):
        gateway.chat()

    shown, explained = command("status"), command("explain")

    why = "its last 3 calls failed: upstream_auth"
    assert shown.exit_code == 1
    assert shown.stdout.startswith("degraded: the last 3 calls to switch failed")
    assert re.search(rf"^switch +up +ok, but {why}$", shown.stdout, re.MULTILINE)
    assert f"1. switch: would be asked, but {why}" in explained.stdout
    assert (explained.exit_code, command("status").exit_code) == (0, 1)

    switch.heal()
    gateway.chat()
    assert command("status").exit_code == 0


class TestRecords:
    def test_search_finds_words_and_ids(self, command, stack):
        stack[0].chat("a rare pangolin", correlation_id="pangolin-1", session_id="zoo")

        for words in (
            ["pangolin"],
            ["--correlation", "pangolin-1"],
            ["--session", "zoo", "--provider", "switch", "--outcome", "completed"],
        ):
            done = command("records", "search", *words)
            heading, line = done.stdout.splitlines()
            assert (done.exit_code, heading[:11]) == (0, "Began (UTC)")
            assert "pangolin" in line

    def test_search_that_finds_nothing_ends_with_1(self, command):
        assert command("records", "search", "unicorn").exit_code == 1

    def test_show_draws_one_record_whole(self, command, stack):
        stack[0].chat("show me", correlation_id="shown-1")

        shown = json.loads(command("records", "show", "shown-1", "--json").stdout)

        assert shown["request"]["messages"][-1][1] == "show me"
        assert shown["attempts"][0]["upstream"] == "switch"
        assert command("records", "show", "nobody").exit_code == 1

    def test_the_chain_is_whole(self, command):
        done = command("records", "verify", "--json")

        assert done.exit_code == 0
        assert json.loads(done.stdout)["ok"] is True


class TestConfigCheck:
    def test_it_prints_what_is_in_force_and_no_secret(self, command):
        done = command("config", "check")

        assert done.exit_code == 0
        assert "VX11_CHAT_DEADLINE" in done.stdout
        assert TOKEN not in done.stdout

    def test_it_names_every_error_at_once(self, command, monkeypatch):
        monkeypatch.setenv("VX11_THREADS", "x")
        monkeypatch.setenv("VX11_WORKERS", "y")

        done = command("config", "check")

        assert done.exit_code == 78
        assert {line.split(":")[0] for line in done.stderr.splitlines()} == {
            "VX11_THREADS",
            "VX11_WORKERS",
        }


def test_post_task_asks_madre_once(command, stack):
    before = len(stack[2].requests)

    done = command("post-task")

    assert done.exit_code == 0
    asked = [r for r in stack[2].requests[before:] if r.method == "POST"]
    assert [r.path for r in asked] == ["/madre/power/maintenance/post_task"]
    answer = json.loads(command("post-task", "--json").stdout)["answer"]
    assert json.loads(answer) == json.loads(done.stdout)


def test_post_task_says_if_madre_does_not(command, monkeypatch):
    monkeypatch.setenv("VX11_MADRE_URL", "http://127.0.0.1:1")

    done = command("post-task")

    assert (done.exit_code, "did not do it" in done.stderr) == (69, True)
