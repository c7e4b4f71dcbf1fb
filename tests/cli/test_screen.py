"""What drives a terminal never reaches one, whoever's words a command prints."""

import ast
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli import main
from app.gateway.screen import json_text, one_line, shown
from app.storage.trail import open_backend
from tests.storage.making import a_closing, an_intent
from tests.support.stack import TOKEN

CLI = Path(__file__).parents[2] / "app/cli"
HOSTILE = (
    "a\x1b]0;title\x07\x1b]52;c;aGk=\x1b\\\x1b[2K\r[switch, 1 ms]\x9b31m\x7f\x00"
    "\u202eevil\u2066\u200b\u200d\ufeff\u2028z"
)
UNSEEN = [character for character in HOSTILE if not character.isprintable()]


class Answers(BaseHTTPRequestHandler):
    """A gateway, and a madre, all of whose words are hostile."""

    def log_message(self, *_args):
        pass

    def do_GET(self):
        service = {"status": HOSTILE, "reason": HOSTILE, "obstacle": None}
        reasons = [{"code": "down", "detail": HOSTILE, "upstream": "switch"}]
        since = "2026-01-01T00:00:00+00:00"
        said = {
            "gateway": {
                "state": "degraded",
                "since": since,
                "sentence": HOSTILE,
                "reasons": reasons,
            },
            "core_services": {HOSTILE: service},
            "routing": {"order": [HOSTILE]},
            "admission": {},
            "timestamp": since,
        }
        self.answer(json.dumps(said), "application/json")

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        if "post_task" in self.path:
            said = json.dumps({HOSTILE: HOSTILE}, ensure_ascii=False)
            self.answer(said, "application/json")
            return
        delta = json.dumps({"text": HOSTILE})
        error = json.dumps({"detail": HOSTILE, "code": HOSTILE})
        done = json.dumps({"provider": HOSTILE, "latency_ms": 1})
        events = {"delta": delta, "done": done, "error": error}
        asked_for = ("delta", "error" if self.server.fails else "done")
        self.answer(
            "".join(f"event: {name}\ndata: {events[name]}\n\n" for name in asked_for),
            "text/event-stream",
        )

    def answer(self, body, kind):
        encoded = body.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)


@pytest.fixture
def server(monkeypatch, tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.fails = False
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("VX11_OPERATOR_URL", url)
        monkeypatch.setenv("VX11_MADRE_URL", url)
        monkeypatch.setenv("VX11_TENTACULO_LINK_TOKEN", TOKEN)
        monkeypatch.setenv("VX11_AUDIT_URL", f"sqlite:///{tmp_path}/audit.db")
        yield server
        server.shutdown()
        thread.join()


def printed(*words):
    done = CliRunner().invoke(main, words)
    assert "Traceback" not in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done


@pytest.mark.parametrize("more", [[], ["--json"]])
@pytest.mark.parametrize(
    "words",
    [["chat", "Hello"], ["status"], ["explain"], ["doctor"], ["post-task"]],
    ids=lambda words: words[0],
)
def test_of_a_gateway_or_madre(server, words, more):
    done = printed(*words, *more)

    assert "evil" in done.output
    assert [c for c in UNSEEN if c in done.output] == []


def test_of_a_chat_that_fails(server):
    server.fails = True

    done = printed("chat", "Hello")

    assert "U+001B" in done.stderr
    assert [c for c in UNSEEN if c in done.output] == []


@pytest.mark.parametrize("words", [["search"], ["search", "--json"], ["show"]])
def test_of_a_record(server, tmp_path, words):
    trail = open_backend(f"sqlite:///{tmp_path}/audit.db").trail()
    trail.start()
    intent = an_intent(caller=HOSTILE, request=json.dumps({"messages": [HOSTILE]}))
    trail.finish(intent, a_closing(provider=HOSTILE), 10.0)
    trail.close()

    done = printed("records", *words, *([intent.id] if words == ["show"] else []))

    assert done.exit_code == 0
    assert "evil" in done.output
    assert [c for c in UNSEEN if c in done.output] == []


def test_commands_print_by_the_screen_alone():
    others = {
        path.name
        for path in CLI.glob("*.py")
        if path.name != "screen.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in ("echo", "secho"))
        or (isinstance(node, ast.Name) and node.id == "print")
    }

    assert others == set()


def test_what_is_seen_stays():
    words = "Grüße, 漢字 and 👍\n\tof all"

    assert shown(words) == words
    assert one_line(words) == "Grüße, 漢字 and 👍U+000AU+0009of all"
    assert shown("\ud800") == "U+D800"
    assert json_text({"a": "\x7f\x9b"}) == '{"a": "\\u007f\\u009b"}'
