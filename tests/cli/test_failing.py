"""How commands fail, and what they promise about it."""

import http.server
import io
import json
import re
import threading
from contextlib import contextmanager

import click
import pytest
from click.testing import CliRunner

from app.cli import main
from app.cli.exits import MEANINGS
from app.cli.screen import progress

TOKEN = "a-token-for-tests"


def run(*words, **options):
    return CliRunner().invoke(main, words, **options)


def every_command(command=main, path=()):
    yield path, command
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            yield from every_command(one, (*path, name))


ALL = [path for path, _ in every_command()]
LEAVES = [path for path, one in every_command() if not isinstance(one, click.Group)]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_the_help_of_every_command_tells_its_exit_codes(path):
    text = run(*path, "--help").stdout

    codes = [int(code) for code in re.findall(r"^ +(\d+)  \w", text, re.MULTILINE)]
    assert "Exit codes:" in text
    assert {0, 2} <= set(codes) <= {0, *MEANINGS}


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_knows_json_also_when_it_is_called_wrongly(path):
    assert "--json" in run(*path, "--help").stdout

    failed = run(*path, "--json", "--no-such-option")

    assert failed.exit_code == 2
    told = json.loads(failed.stdout)
    assert "--no-such-option" in told["error"]
    assert (told["exit_code"], failed.stderr) == (2, "")


def test_a_wrong_call_is_told_in_words_where_json_is_not_asked_for():
    for words in (["--json"], ["records", "--json"], ["nothing", "--json"]):
        assert run(*words).exit_code == 2
        assert json.loads(run(*words).stdout)["error"]

    failed = run("records", "search", "--", "--json", "too", "much")
    assert (failed.exit_code, failed.stdout) == (2, "")
    assert "Usage" in failed.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["post-task"],
        ["config", "check"],
        ["records", "search"],
        ["records", "show", "x"],
        ["records", "follow"],
        ["records", "verify"],
        ["token", "list"],
        ["run"],
    ],
    ids=" ".join,
)
def test_bad_settings_are_named_as_json_too(monkeypatch, words):
    monkeypatch.setenv("VX11_TENTACULO_LINK_TOKEN", "a-token-for-tests")
    monkeypatch.setenv("VX11_THREADS", "secret-word")
    monkeypatch.setenv("VX11_WORKERS", "secret-word")

    failed = run(*words, "--json")

    assert failed.exit_code == 78
    problems = json.loads(failed.stdout)["problems"]
    assert [p.split(":")[0] for p in problems] == ["VX11_WORKERS", "VX11_THREADS"]
    assert "secret-word" not in failed.output
    assert run(*words).exit_code == 78
    assert "VX11_THREADS" in run(*words).stderr


@pytest.mark.parametrize("words", [["chat", "Hello"], ["status"], ["explain"]])
def test_commands_that_ask_a_gateway_make_do_with_what_can_be_used(monkeypatch, words):
    monkeypatch.setenv("VX11_THREADS", "secret-word")
    monkeypatch.setenv("VX11_BIND", "127.0.0.1:1")
    monkeypatch.setenv("VX11_TENTACULO_LINK_TOKEN", "a-token-for-tests")

    done = run(*words)

    assert done.exit_code == 69  # there is none
    assert "Warning: VX11_THREADS" in done.stderr
    assert "secret-word" not in done.output


@pytest.fixture
def no_records(monkeypatch, tmp_path):
    monkeypatch.setenv("VX11_AUDIT_URL", f"sqlite:///{tmp_path}/audit.db")


@pytest.mark.parametrize(
    "words",
    [["search"], ["show", "x"], ["follow"], ["verify"]],
    ids=" ".join,
)
def test_records_that_cannot_be_read_are_no_bug_of_ours(no_records, words):
    failed = run("records", *words, "--json")

    assert failed.exit_code == 74
    assert "cannot be read" in json.loads(failed.stdout)["error"]


@pytest.mark.parametrize("limit", ["0", "-5", "10001"])
def test_a_limit_that_makes_no_sense_is_refused(no_records, limit):
    assert run("records", "search", "--limit", limit).exit_code == 2


@pytest.mark.parametrize("words", [["chat", "Hello"], ["status"], ["explain"]])
def test_who_talks_to_the_gateway_without_a_token_is_told_what_to_do(words):
    failed = run(*words)

    assert failed.exit_code == 78
    assert "VX11_TENTACULO_LINK_TOKEN" in failed.stderr
    assert "VX11_OPERATOR_TOKEN" in failed.stderr
    assert "`run` prints" in failed.stderr


class TestConfigCheck:
    @pytest.fixture(autouse=True)
    def token(self, monkeypatch):
        monkeypatch.setenv("VX11_OPERATOR_TOKEN", "a-token-for-tests")

    def test_without_a_token_no_service_starts(self, monkeypatch):
        assert run("config", "check").exit_code == 0
        monkeypatch.delenv("VX11_OPERATOR_TOKEN")

        done = run("config", "check")

        assert done.exit_code == 78
        assert "VX11_TENTACULO_LINK_TOKEN: no token is set" in done.stderr

    def test_an_upstream_that_a_short_deadline_cuts_is_told(self, monkeypatch):
        assert "VX11_CHAT_DEADLINE" not in run("config", "check").stderr
        monkeypatch.setenv("VX11_CHAT_DEADLINE", "9")

        assert "switch may get only 4.5 of its 30 s" in run("config", "check").stderr

    def test_behind_tentaculo_link_a_deadline_must_fit_into_its_wait(self, monkeypatch):
        assert "tentaculo_link" not in run("config", "check").stderr
        monkeypatch.setenv("VX11_TENTACULO_URL", "http://tentaculo:8000")

        told = run("config", "check").stderr

        assert "VX11_CHAT_DEADLINE: behind tentaculo_link" in told
        assert "36 s are too long; 9 fits, or 4.5" in told
        assert "madre takes about 7.3 s and gets 5; 8 fits" in told

        monkeypatch.setenv("VX11_CHAT_DEADLINE", "9")
        monkeypatch.setenv("VX11_MADRE_TIMEOUT", "8")

        assert "tentaculo_link" not in (told := run("config", "check").stderr)
        assert "frozen" not in told

    @pytest.mark.parametrize(("switch", "is_told"), [("0", True), ("True", False)])
    def test_a_proxy_that_is_off_is_told(self, monkeypatch, switch, is_told):
        monkeypatch.setenv("VX11_OPERATOR_PROXY_ENABLED", switch)

        told = run("config", "check").stderr

        assert ("tentaculo_link answers chats itself" in told) is is_told
        assert "is not read" not in told

    def test_what_nobody_reads_is_told_whether_the_rest_is_good_or_not(
        self, monkeypatch
    ):
        monkeypatch.setenv("VX11_SWICH_URL", "secret-word")
        warning = "VX11_SWICH_URL: is not read; did you mean VX11_SWITCH_URL?"

        assert f"Warning: {warning}" in run("config", "check").stderr
        assert (
            warning in json.loads(run("config", "check", "--json").stdout)["warnings"]
        )
        monkeypatch.setenv("VX11_WORKERS", "x")
        assert f"Warning: {warning}" in run("config", "check").stderr
        failed = run("config", "check", "--json")
        assert json.loads(failed.stdout)["warnings"] == [warning]
        assert "secret-word" not in failed.output

    def test_no_secret_is_shown_wherever_it_may_be(self, monkeypatch, tmp_path):
        config = tmp_path / "gateway.toml"
        config.write_text(
            f'token = "canary-token"\naudit_key = "canary-key-of-16"\n'
            f'audit_url = "sqlite:///{tmp_path}/a.db?k=canary-query"\n'
            '[[upstreams]]\nname = "gpt"\nkind = "openai"\nurl = "http://gpt/v1"\n'
            'api_key_env = "THE_KEY"\n'
        )
        monkeypatch.setenv("VX11_CONFIG", str(config))
        monkeypatch.setenv("THE_KEY", "canary-api-key")
        for words in (["config", "check"], ["config", "check", "--json"]):
            assert "canary" not in run(*words).output

        monkeypatch.setenv("VX11_AUDIT_URL", "postgresql://u:canary-password@h/db")
        for words in (["config", "check"], ["config", "check", "--json"]):
            assert "canary" not in run(*words).output

    def test_a_wrong_kind_is_told_with_all_other_mistakes(self, monkeypatch, tmp_path):
        config = tmp_path / "gateway.toml"
        config.write_text(
            'threads = "canary"\n'
            '[[upstreams]]\nname = "a"\nurl = "http://a"\n'
            '[[upstreams]]\nname = "b"\nkind = "canary"\nurl = "http://b"\n'
            '[[upstreams]]\nname = "c"\nkind = "madre"\nurl = "canary"\nretries = 1\n'
            '[[upstreams]]\nname = "d"\nkind = ["canary"]\nurl = "http://d"\n'
        )
        monkeypatch.setenv("VX11_CONFIG", str(config))

        done = run("config", "check")

        assert done.exit_code == 78
        told = [line.removeprefix(f"{config}:") for line in done.stderr.splitlines()]
        for begins in (
            "1: threads: must be a whole number",
            "2: [[upstreams]] number 1, kind: is missing",
            "7: [[upstreams]] number 2, kind: must be one of switch, madre",
            "12: [[upstreams]] number 3, url: must be http://",
            "13: [[upstreams]] number 3, retries: only for kind openai",
            "16: [[upstreams]] number 4, kind: must be text",
        ):
            assert [line for line in told if line.startswith(begins)], begins
        assert "canary" not in done.output

    def test_a_file_that_a_setting_names_is_looked_at_too(self, monkeypatch, tmp_path):
        monkeypatch.setenv("VX11_TOKENS_FILE", str(tmp_path / "none.toml"))

        done = run("config", "check")

        assert done.exit_code == 78
        assert "VX11_TOKENS_FILE" in done.stderr


class Peer(http.server.BaseHTTPRequestHandler):
    """Answers everything in one way."""

    status, kind, body = 200, "text/plain", b""

    def do_GET(self):
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        self.end_headers()
        self.wfile.write(self.body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *args):
        pass


@contextmanager
def a_peer(monkeypatch, **facts):
    kind = type("ThisPeer", (Peer,), facts)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv(
            "VX11_OPERATOR_URL", f"http://127.0.0.1:{server.server_port}"
        )
        monkeypatch.setenv("VX11_OPERATOR_TOKEN", TOKEN)
        yield
        server.shutdown()
        thread.join()


HTML = b"<html><h1>Bad Gateway</h1></html>"
ASKING = [["chat", "Hello"], ["status"], ["explain"]]


class TestImperfectPeers:
    @pytest.mark.parametrize("words", ASKING)
    @pytest.mark.parametrize(
        "facts",
        [
            {"status": 502, "kind": "text/html", "body": HTML},
            {"status": 200, "kind": "text/html", "body": HTML},
            {"status": 200, "kind": "application/json", "body": b"[1]"},
            {"status": 200, "kind": "application/json", "body": b'{"policy": 1}'},
            {"status": 503, "kind": "application/json", "body": b'{"a": 1}'},
            {"status": 503, "kind": "application/json", "body": b'"a"'},
            {"status": 200, "kind": "application/json", "body": b"\xff"},
        ],
    )
    def test_what_is_no_gateway_is_told_plainly(self, monkeypatch, words, facts):
        with a_peer(monkeypatch, **facts):
            failed = run(*words)
            as_json = run(*words, "--json")

        assert (failed.exit_code, as_json.exit_code) == (69, 69)
        assert "is no gateway, or a proxy that does not reach it" in failed.stderr
        assert json.loads(as_json.stdout)["error"] + "\n" == failed.stderr

    @pytest.mark.parametrize("words", ASKING)
    @pytest.mark.parametrize("status", [401, 403])
    def test_a_token_that_it_does_not_take_has_a_code_of_its_own(
        self, monkeypatch, words, status
    ):
        body = b'{"detail": "forbidden", "code": "forbidden"}'
        facts = {"status": status, "kind": "application/json", "body": body}
        with a_peer(monkeypatch, **facts):
            failed = run(*words)

        assert failed.exit_code == 77
        assert "forbidden" in failed.stderr
        assert "VX11_TENTACULO_LINK_TOKEN" in failed.stderr
        assert TOKEN not in failed.stderr

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b'event: delta\ndata: {"text": "Hel"}\n\n',
            b'event: delta\ndata: {"text": "Hel"}\n\nevent: done\ndata: {"prov',
            b'event: delta\ndata: {"text": "Hel"}\n\nevent: done\ndata: 5\n\n',
        ],
    )
    def test_a_stream_without_its_last_event_was_cut_off(self, monkeypatch, body):
        with a_peer(monkeypatch, kind="text/event-stream", body=body):
            failed = run("chat", "Hello")
            as_json = run("chat", "Hello", "--json")

        assert (failed.exit_code, as_json.exit_code) == (1, 1)
        assert "was cut off" in failed.stderr
        last = json.loads(as_json.stdout.splitlines()[-1])
        assert (last["event"], last["code"]) == ("error", "cut_off")
        assert "cut off" in last["error"]

    def test_who_speaks_no_http_is_no_gateway(self, monkeypatch):
        with a_peer(monkeypatch, do_GET=lambda self: self.wfile.write(b"SSH-2.0\r\n")):
            assert run("status").exit_code == 69

    @pytest.mark.parametrize(
        "url", ["localhost:8011", "ftp://x", "http://u:secret-word@x", "http://x:99999"]
    )
    def test_an_address_that_is_none_is_named_and_not_echoed(self, monkeypatch, url):
        monkeypatch.setenv("VX11_OPERATOR_URL", url)
        monkeypatch.setenv("VX11_OPERATOR_TOKEN", TOKEN)

        failed = run("status")

        assert failed.exit_code == 78
        assert "VX11_OPERATOR_URL: must be" in failed.stderr
        assert "secret-word" not in failed.output


class Terminal(io.StringIO):
    def isatty(self):
        return True


class TestProgress:
    def test_it_is_shown_on_a_terminal(self):
        terminal = Terminal()
        with progress("Checking", as_json=False, terminal=terminal) as tell:
            for done in range(0, 2001, 500):
                tell(done, 2000)

        assert "Checking" in terminal.getvalue()
        assert "100%" in terminal.getvalue()

    @pytest.mark.parametrize(
        ("as_json", "kind"), [(True, Terminal), (False, io.StringIO)]
    )
    def test_it_is_shown_to_nobody_else(self, as_json, kind):
        stderr = kind()
        with progress("Checking", as_json=as_json, terminal=stderr) as tell:
            tell(1, 2)

        assert stderr.getvalue() == ""
