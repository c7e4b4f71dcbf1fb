"""Replay on the real stack: a day's chats asked again, and nobody's numbers touched."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.etree import ElementTree

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.support.browsing import CHROMIUM, DRIVER, Browser, Console
from tests.support.events import live_events, text_of
from tests.support.speaker import Speaker
from tests.support.stack import HOUSE, TOKEN, Gateway, wait_until

SHOWN = {"X-VX11-Token": TOKEN}
CHATS = 100
ANSWERS, FINISHES, TOOLS = range(3, 10), (20, 21, 22), (40, 41)  # that change
CONFIG = """
[[upstreams]]
name = "model"
kind = "openai"
url = "{model}"
retries = 0

[[upstreams]]
name = "speaker"
kind = "openai"
url = "{speaker}"
retries = 0
"""


class Model(ThreadingHTTPServer):
    """Answers chat number n; once `has_changed`, some of them in another way.

    With `fails` it answers every other chat with 500.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.has_changed = self.fails = False
        self.calls = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def answer(self, number):
        is_new = self.has_changed
        text, finish = f"The answer to {number} is known", "stop"
        if number in ANSWERS and is_new:
            text = f"Nobody knows {number}"
        if number in FINISHES and is_new:
            finish = "length"
        message = {"role": "assistant", "content": text}
        if number in TOOLS:
            city = "Bergen" if is_new else "Oslo"
            call = {"name": "weather", "arguments": json.dumps({"city": city})}
            message["tool_calls"] = [{"id": "1", "type": "function", "function": call}]
            finish = "tool_calls"
        return {
            "id": "1",
            "object": "chat.completion",
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        self._send(200, {"object": "list", "data": []})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.calls += 1
        number = int(body["messages"][-1]["content"].rpartition(" ")[2])
        if self.server.fails and number % 2:
            self._send(500, {"error": {"message": "drawn"}})
        else:
            self._send(200, self.server.answer(number))

    def _send(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture(scope="module")
def model():
    model = Model()
    threading.Thread(target=model.serve_forever, args=(0.05,), daemon=True).start()
    yield model
    model.shutdown()
    model.server_close()


@pytest.fixture(scope="module")
def speaker():
    with Speaker() as speaker:
        yield speaker


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, model, speaker):
    folder = tmp_path_factory.mktemp("replay")
    config = folder / "gateway.toml"
    config.write_text(CONFIG.format(model=model.url, speaker=speaker.url))
    with Gateway(folder, config=config, workers=1, slots=2, queue=20) as gateway:
        wait_until(lambda: gateway.upstreams_are(model="up", speaker="up"))
        yield gateway


def ask(gateway, number, **fields):
    body = {"messages": [{"role": "user", "content": f"Chat {number}"}], **fields}
    url = f"{gateway.url}/v1/chat/completions"
    return requests.post(url, json=body, headers=SHOWN, timeout=60)


@pytest.fixture(scope="module")
def chats(gateway):
    """A hundred chats on record; returns their records' ids, by number."""
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda n: ask(gateway, n), range(CHATS)))
    return {n: one.headers["X-Gateway-Audit-Id"] for n, one in enumerate(told)}


def command(gateway, *arguments):
    environment = gateway.environment() | {"VX11_OPERATOR_URL": gateway.url}
    return subprocess.run(
        [sys.executable, "-m", "app", *map(str, arguments)],
        check=False,
        cwd=HOUSE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def users_numbers(gateway):
    """What is counted of users' chats, and what the gateway thinks of its upstreams."""
    page = requests.get(
        f"{gateway.url}/metrics", headers=SHOWN, timeout=10
    ).text.splitlines()
    counted = ("gateway_requests", "gateway_errors", "gen_ai_", "gateway_retries")
    numbers = [line for line in page if line.startswith(counted)]
    windows = requests.get(
        f"{gateway.url}/operator/api/windows", headers=SHOWN, timeout=10
    ).json()["windows"]
    services = {
        name: (one["status"], one.get("breaker"))
        for name, one in gateway.services().items()
    }
    activity = requests.get(
        f"{gateway.url}/operator/api/activity", headers=SHOWN, timeout=10
    ).json()["chats"]
    return numbers, windows, services, len(activity)


def failed_replays(gateway):
    page = requests.get(f"{gateway.url}/metrics", headers=SHOWN, timeout=10).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "gateway_replays_total"
        and sample.labels == {"upstream": "model", "outcome": "failed"}
    )


def test_the_report_names_exactly_what_has_changed(gateway, model, chats, tmp_path):
    before = users_numbers(gateway)
    model.has_changed = True
    files = {name: tmp_path / name for name in ("report", "junit", "html")}

    told = command(
        gateway,
        "replay",
        "run",
        "--provider=model",
        "--fail-on=outcome,finish,tools,text<0.9",
        *(f"--{name}={path}" for name, path in files.items()),
    )
    model.has_changed = False

    assert told.returncode == 1, told.stdout + told.stderr
    found = json.loads(files["report"].read_text())
    numbers = {record: number for number, record in chats.items()}
    broken = {
        what: sorted(numbers[b["record"]] for b in found["broken"] if what in b["what"])
        for what in ("outcome", "finish", "tools", "text")
    }
    assert broken == {
        "outcome": [],
        "finish": list(FINISHES),
        "tools": list(TOOLS),
        "text": list(ANSWERS),
    }
    assert len(found["cases"]) == CHATS
    suite = ElementTree.parse(files["junit"]).getroot().find("testsuite")
    assert (suite.get("tests"), suite.get("failures")) == ("100", "12")
    assert len(suite.findall("testcase/failure")) == 12
    assert "Nobody knows" not in files["html"].read_text()  # no words
    rows = gateway.records("route = 'replay'")
    assert len(rows) == CHATS
    assert users_numbers(gateway) == before


def test_a_run_that_half_fails_changes_nothing_for_users(gateway, model, chats):
    before, failed_before = users_numbers(gateway), failed_replays(gateway)
    model.fails = True

    told = command(gateway, "replay", "run", "--provider=model", "--json")
    model.fails = False

    assert told.returncode == 0, told.stdout + told.stderr
    report = json.loads(told.stdout)
    (summary,) = report["upstreams"]
    assert (summary["cases"], summary["answered"]) == (CHATS, CHATS // 2)
    assert users_numbers(gateway) == before
    assert failed_replays(gateway) - failed_before == CHATS // 2


def test_a_model_that_differs_from_itself_is_no_news(gateway, model, chats):
    """The baseline is asked now, so what changed for both is no upstream's doing."""
    model.has_changed = True

    told = command(
        gateway,
        "replay",
        "run",
        "--provider=model",
        "--upstream=model",
        "--baseline",
        "--sample=20",
        "--fail-on=outcome,finish,tools,text<0.9",
        "--json",
    )
    model.has_changed = False

    assert told.returncode == 0, told.stdout + told.stderr
    assert json.loads(told.stdout)["broken"] == []


def test_a_run_is_counted_before_it_is_made(gateway, model, chats):
    calls = model.calls

    dry = command(gateway, "replay", "run", "--provider=model", "--dry-run", "--json")
    much = command(gateway, "replay", "run", "--provider=model", "--max=99")

    assert json.loads(dry.stdout) == {"records": CHATS, "calls": CHATS}
    assert much.returncode == 2
    assert "100 calls" in much.stderr
    assert model.calls == calls


def test_one_is_asked_again_of_another_and_shown_side_by_side(gateway, chats):
    told = command(gateway, "replay", "ask", chats[50], "--upstream=speaker")

    assert told.returncode == 0, told.stderr
    assert "model, m" in told.stdout
    assert "[-The answer to 50 is known-]{+Hello world+}" in told.stdout


@pytest.fixture
def streamed(gateway, speaker):
    """A streamed answer with known waits; what its caller was told, and its record."""
    script = ["One ", 0.15, "two ", 0.05, "three ", 0.3, "né 🦊"]
    speaker.script = script
    answer = requests.post(
        f"{gateway.url}/v1/chat/completions",
        json={
            "model": "speaker",
            "stream": True,
            "messages": [{"role": "user", "content": "Count to 7"}],
        },
        headers=SHOWN,
        stream=True,
        timeout=60,
    )
    text = "".join(
        choice["delta"].get("content") or ""
        for event in live_events(answer)
        if event.data != "[DONE]"
        for choice in event.data["choices"]
    )
    return text, answer.headers["X-Gateway-Audit-Id"]


def test_an_answer_is_played_word_by_word_with_its_waits(gateway, streamed):
    text, record = streamed
    waits, _ = json.loads(gateway.records("id = ?", record)[0]["reply"])["timeline"]

    with contextlib.closing(
        requests.get(
            f"{gateway.url}/operator/api/records/{record}/stream",
            headers=SHOWN,
            stream=True,
            timeout=60,
        )
    ) as answer:
        timed = [(time.monotonic(), event) for event in live_events(answer)]

    events = [event for _, event in timed]
    assert text_of(events) == text == "One two three né 🦊"
    assert events[0].data["is_exact"]
    came = [at for at, event in timed if event.name == "delta"]
    whole = sum(waits[-len(came) + 1 :]) / 1000
    assert came[-1] - came[0] >= whole - 0.02  # a busy machine may take longer
    assert whole >= 0.45


def test_the_command_plays_it_too(gateway, streamed):
    text, record = streamed

    told = command(gateway, "records", "play", record, "--speed=0")

    assert told.returncode == 0, told.stderr
    assert told.stdout == f"{text}\n"


def test_under_load_a_replay_takes_nobodys_slot(gateway, speaker, chats):
    """Ten times what there is room for: no replay begins before the chats are over."""
    release = threading.Event()
    speaker.script = ("Held ", release)
    body = {"record": chats[60], "upstream": "model"}
    url = f"{gateway.url}/operator/api/replays"
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(ask, gateway, n, model="speaker") for n in range(20)]
        wait_until(lambda: len(speaker.heard) >= 2)
        wait_until(lambda: gateway.status()["admission"]["waiting"] > 0)
        refused = [
            requests.post(url, json=body, headers=SHOWN, timeout=30) for _ in "abc"
        ]
        release.set()
        answers = [future.result() for future in asked]

    assert [one.status_code for one in refused] == [503] * 3
    assert {one.status_code for one in answers} <= {200, 503}
    assert requests.post(url, json=body, headers=SHOWN, timeout=30).status_code == 200


@pytest.fixture(scope="module")
def console(gateway, tmp_path_factory):
    if not (CHROMIUM and DRIVER):
        pytest.skip("there is no Chromium")
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield Console(browser, gateway.url, TOKEN)
    browser.close()


def test_the_console_plays_and_asks_again_side_by_side(console, streamed):
    text, record = streamed
    browser = console.browser
    console.sign_in("records")
    console.open("records", f"#record={record}")

    browser.click("[data-speed='16']")
    browser.wait_for(".replay .quote blockquote", text)
    browser.run("document.querySelector('#replay-upstream').value = 'model'")
    browser.write("#replay-temperature", "0.5")
    browser.click("#replay-ask")
    browser.wait_for(".sides ins", "The answer to 7 is known")
    assert browser.text(".sides del") == text
    browser.click(".compared .lead a")
    browser.wait_for(".facts-list dd", "replay")

    assert browser.overflow() <= 0
    assert browser.nameless_controls() == []
    assert browser.faint_texts() == []
