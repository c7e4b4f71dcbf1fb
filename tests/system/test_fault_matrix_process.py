"""docs/faults.md, C: what happens to processes, and what they do without resources."""

import contextlib
import http.client
import json
import resource
import signal
import threading
import time
from collections import Counter

import psutil
import pytest
import requests

from tests.support.stack import TOKEN, Gateway, sandbox, wait_until

AT_ONCE = 2.0  # seconds; generous, because the box is shared
ALLOWED_GUESSES = 10  # wrong tokens a minute, which grow old one by one
_tick = threading.Event()


@pytest.fixture(scope="module")
def upstreams():
    with sandbox() as pair:
        yield pair


@pytest.fixture
def switch(upstreams):
    yield upstreams[0]
    upstreams[0].heal()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The configuration file of the shared gateway."""
    file = tmp_path_factory.mktemp("config") / "gateway.toml"
    file.write_text("threads = 20\n")
    return file


@pytest.fixture(scope="module")
def shared(tmp_path_factory, upstreams, file):
    """A gateway of two workers that survives what is done to it."""
    folder = tmp_path_factory.mktemp("process")
    with Gateway(folder, config=file, **settings_for(upstreams)) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared):
    wait_until(lambda: len(shared.workers()) == 2)
    yield shared
    wait_until(lambda: shared.chat().ok)


@pytest.fixture
def start(tmp_path, upstreams):
    """Start a gateway of one worker that is stopped at the end, if it still runs."""
    with contextlib.ExitStack() as running:

        def start(**settings):
            mine = settings_for(upstreams) | {"workers": 1} | settings
            return running.enter_context(Gateway(tmp_path, **mine))

        yield start


def settings_for(upstreams):
    switch, madre = upstreams
    return {"switch_url": switch.url, "madre_url": madre.url, "patience": 30}


class Chat(threading.Thread):
    """A chat in a thread of its own; `answer` is its response, or what ended it."""

    def __init__(self, gateway, **options):
        super().__init__()
        self._ask = lambda: gateway.chat(**options)
        self.start()

    def run(self):
        try:
            self.answer = self._ask()
        except requests.RequestException as cut:
            self.answer = cut

    def ended(self):
        self.join(60)
        return self.answer


def hung_chat(gateway, switch, **options):
    """A chat that the switch has got and does not answer."""
    before = switch.chats
    switch.break_with("hang", times=1)
    chat = Chat(gateway, **options)
    assert switch.wait_for_chats(before + 1, 20)
    return chat


def pids(gateway):
    return sorted(worker.pid for worker in gateway.workers())


def test_row_61_a_killed_worker_costs_its_own_chats_only(gateway, switch):
    chats = [hung_chat(gateway, switch, correlation_id=f"c{n}") for n in range(4)]
    wait_until(lambda: len(gateway.records("seq IS NULL")) == 4)
    survivor, victim = sorted(gateway.workers(), key=lambda w: len(w.net_connections()))

    victim.kill()
    killed = time.monotonic()

    wait_until(lambda: len(gateway.workers()) == 2 and victim not in gateway.workers())
    assert time.monotonic() - killed < 1 + AT_ONCE
    assert gateway.chat().ok
    rows = wait_until(lambda: gateway.records("outcome = 'interrupted'"), 20)
    assert time.monotonic() - killed < 5 + 2 * AT_ONCE
    survivor.kill()
    cut = [chat.ended() for chat in chats]
    assert all(isinstance(one, requests.ConnectionError) for one in cut)
    assert 0 < len(rows) <= 4


def test_row_62_without_a_master_all_stop_and_a_new_one_can_start(start, switch):
    gateway = start()
    chat = hung_chat(gateway, switch)
    workers = gateway.workers()

    gateway.process.kill()
    gateway.process.wait()
    killed = time.monotonic()
    _, alive = psutil.wait_procs(workers, timeout=20)

    assert alive == []
    assert time.monotonic() - killed < 2 + AT_ONCE
    answer = chat.ended()
    assert answer.status_code == 503
    assert answer.json()["code"] == "shutting_down"
    gateway.start()
    assert gateway.chat().ok
    assert gateway.records("seq IS NULL") == []


class TestRow63Sigterm:
    def test_chats_go_on_while_nobody_new_is_let_in(self, start, switch):
        gateway = start()
        switch.break_with("slow", seconds=5.0)
        before = switch.chats
        chats = [Chat(gateway) for _ in range(5)]
        assert switch.wait_for_chats(before + 5, 20)

        gateway.process.terminate()

        assert wait_until(lambda: readiness_of(gateway), 2) == (503, "shutting_down")
        wait_until(lambda: readiness_of(gateway) == "refused", 5)
        assert [chat.ended().status_code for chat in chats] == [200] * 5
        gateway.process.wait(20)
        assert gateway.process.returncode == 0
        assert len(gateway.records("outcome = 'completed'")) == 5

    def test_what_the_grace_does_not_cover_is_told_so(self, start, switch):
        gateway = start(grace=3)
        chat = hung_chat(gateway, switch, correlation_id="too-long")

        stopped = time.monotonic()
        gateway.process.terminate()
        answer = chat.ended()

        assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")
        gateway.process.wait(20)
        assert time.monotonic() - stopped < 3 + 1 + AT_ONCE
        (row,) = gateway.records("correlation_id = 'too-long'")
        assert (row["outcome"], row["code"]) == ("failed", "shutting_down")


def readiness_of(gateway):
    """What it says once it is not ready any more."""
    try:
        answer = requests.get(f"{gateway.url}/readyz", timeout=10)
    except requests.ConnectionError:
        return "refused"
    return None if answer.ok else (answer.status_code, answer.json()["code"])


class Callers:
    """Clients that chat without a pause on kept connections, as nginx would."""

    def __init__(self, gateway, count=8):
        self.gateway = gateway
        self.answered, self.failed = 0, []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self):
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.gateway.port, timeout=30
        )
        while not self._stop.is_set():
            try:
                self._chat(connection)
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                connection.close()
        connection.close()

    def _chat(self, connection):
        headers = {"X-VX11-Token": TOKEN, "Content-Type": "application/json"}
        body = json.dumps({"message": "Hello"})
        connection.request("POST", "/operator/api/chat", body, headers)
        response = connection.getresponse()
        response.read()
        if response.status == 200:
            self.answered += 1
        else:
            self.failed.append(response.status)


def guesses(gateway):
    """How many wrong tokens are looked at before their source is shut out."""
    shown = {"X-VX11-Token": "wrong-token", "X-Forwarded-For": "203.0.113.64"}
    count = 0
    while gateway.chat(headers=shown).status_code != 429:
        count += 1
    return count


def test_row_64_a_reload_under_load_loses_nothing(gateway):
    guesses(gateway)
    with Callers(gateway) as callers:
        for _ in range(2):
            before, answered = pids(gateway), callers.answered
            gateway.process.send_signal(signal.SIGHUP)
            wait_until(lambda old=before: not set(old) & set(pids(gateway)), 60)
            wait_until(lambda n=answered: callers.answered > n + 50, 60)
            assert guesses(gateway) < ALLOWED_GUESSES, "what workers share was lost"

    assert callers.failed == []
    assert callers.answered > 100


def test_a_reload_of_a_bad_configuration_changes_nothing(gateway, file):
    before, good = pids(gateway), file.read_text()
    file.write_text("threads = 'many'\n")

    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "Not reloaded: " in gateway.output())
    assert ".toml:1: threads: " in gateway.output()
    file.write_text(good)

    assert gateway.chat().ok
    assert pids(gateway) == before


def test_work_is_shared_among_the_workers(gateway, switch):
    """The same one wakes first every time; left alone it takes all of it."""
    wait_until(lambda: all(w.num_threads() > 3 for w in gateway.workers()))  # booted
    switch.break_with("slow", seconds=4.0)
    before = switch.chats
    chats = [Chat(gateway) for _ in range(14)]  # more than one of them has slots
    assert switch.wait_for_chats(before + 14, 20)

    wait_until(lambda: len(gateway.records("seq IS NULL")) == 14)
    shares = Counter(row["worker"] for row in gateway.records("seq IS NULL"))
    assert min(shares.values()) >= 2, shares
    assert len(shares) == 2, "one of them took all"
    assert all(chat.ended().ok for chat in chats)


@contextlib.contextmanager
def limit(process, which, soft):
    before = process.rlimit(which)
    process.rlimit(which, (soft, before[1]))
    try:
        yield
    finally:
        process.rlimit(which, before)


def test_row_69_without_files_upstream_calls_fail_and_come_back(start, switch):
    gateway = start()
    with requests.Session() as caller:

        def ask():
            return caller.post(
                f"{gateway.url}/operator/api/chat",
                json={"message": "Hello"},
                headers={"X-VX11-Token": TOKEN},
                timeout=60,
            )

        switch.break_with("close_after_answer")  # each chat needs a new connection
        assert ask().ok
        (worker,) = gateway.workers()
        with limit(worker, resource.RLIMIT_NOFILE, 3):  # what is open stays open
            answer = ask()
            assert answer.status_code == 503, answer.text
            assert answer.json()["code"] == "upstream_unavailable"
        switch.heal()

        wait_until(lambda: ask().ok)
    assert gateway.upstreams_are(switch="up")
    assert pids(gateway) == [worker.pid]


def test_row_71_a_log_that_cannot_be_written_changes_no_answer(gateway):
    before = pids(gateway)
    worker = gateway.workers()[0]

    with limit(worker, resource.RLIMIT_FSIZE, 0):  # the log is a file
        for _ in range(4):
            assert requests.get(f"{gateway.url}/nowhere", timeout=10).status_code == 404
        _tick.wait(0.3)  # the log's own thread writes now

    assert gateway.chat().ok
    assert pids(gateway) == before
