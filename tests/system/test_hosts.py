"""Two gateways on one PostgreSQL, and all that may happen to them and to it."""

import contextlib
import os
import random
import signal
import threading
import time

import psutil
import pytest

from tests.support.hosts import Host
from tests.support.load import Load
from tests.support.postgres import PostgresServer
from tests.support.relay import Relay
from tests.support.speaker import Speaker
from tests.support.stack import sandbox, wait_until

FAULTS = int(os.environ.get("VX11_FAULTS", "8"))
GOES_ON = 5.0  # seconds
FROZEN = 6.0  # seconds; longer than a lane is believed to live without a word
SLACK = 10.0  # seconds more that a busy machine is given here


@pytest.fixture(scope="module")
def server():
    with PostgresServer() as server:
        yield server


@pytest.fixture
def upstreams():
    with sandbox() as (switch, madre):
        yield {"switch_url": switch.url, "madre_url": madre.url}


class Installation:
    """Two hosts, the first of them behind a cable that can be cut."""

    HOST = Host

    def __init__(self, folder, server, database, upstreams):
        self.server, self.cable = server, Relay(server.port)
        ports = self.cable.port, server.port
        self.hosts = [
            self.HOST(folder / f"host-{n}", server, database, port, **upstreams)
            for n, port in enumerate(ports)
        ]

    def __enter__(self):
        self._stack = contextlib.ExitStack()
        for host in self.hosts:
            self._stack.enter_context(host)
        return self

    def __exit__(self, *exc):
        self._stack.close()
        self.cable.close()

    def a_worker(self, chance):
        return chance.choice(chance.choice(self.hosts).workers())

    # ---- the faults

    def kill(self, chance):
        with contextlib.suppress(psutil.NoSuchProcess):
            self.a_worker(chance).kill()

    def freeze(self, chance):
        worker = self.a_worker(chance)
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.suspend()
            threading.Event().wait(FROZEN)
            worker.resume()

    def cut(self, chance):
        self.cable.is_down = chance.random() < 0.5
        self.cable.cut(both=chance.random() < 0.5)
        threading.Event().wait(chance.uniform(0.0, 1.0))
        self.cable.is_down = False

    def restart(self, chance):
        self.server.restart(signal.SIGQUIT)


KINDS = (Installation.kill, Installation.restart, Installation.cut, Installation.freeze)


def go_on(loads):
    """Wait until each host has answered anew; return how long that took."""
    before, began = [len(load.answered) for load in loads], time.monotonic()
    wait_until(
        lambda: all(len(x.answered) > n for x, n in zip(loads, before, strict=True)),
        GOES_ON + SLACK,
    )
    return time.monotonic() - began


def under_fire(installation, faults, chance):
    """Chat at both hosts while fault follows fault; return what was answered."""
    with contextlib.ExitStack() as stack:
        loads = [
            stack.enter_context(Load(host.port, clients=4))
            for host in installation.hosts
        ]
        go_on(loads)
        for number in range(faults):
            KINDS[number % len(KINDS)](installation, chance)
            go_on(loads)
    answered = [c for load in loads for c in load.answered]
    refused = sum(load.refused + load.cut for load in loads)
    return answered, refused


def missing(installation, answered):
    rows = installation.hosts[0].records("outcome = 'completed' AND seq IS NOT NULL")
    recorded = {row["correlation_id"] for row in rows}
    return [c for c in answered if c not in recorded]


def test_every_answer_of_two_hosts_has_its_record_whatever_happens(
    tmp_path, server, upstreams
):
    with (
        server.database() as name,
        Installation(tmp_path, server, name, upstreams) as installation,
    ):
        answered, refused = under_fire(installation, FAULTS, random.Random(13))
        host = installation.hosts[0]
        wait_until(lambda: host.records("seq IS NULL") == [])
        backend = host.backend()
        check = backend.verify()
        rows = host.records()

        assert len(answered) > 20 * FAULTS
        assert refused > 0, "nobody was hit, so nothing was shown"
        assert missing(installation, answered) == []
        assert len(set(answered)) == len(answered)
        assert len({row["id"] for row in rows}) == len(rows)
        assert check.ok, check
        assert len(check.heads) >= 4


class UnsafeHost(Host):
    WSGI = "tests.system.wsgi_with_asynchronous_commit:app"


class Unsafe(Installation):
    HOST = UnsafeHost


def test_the_same_with_asynchronous_commits_loses_some(tmp_path, server, upstreams):
    lost, until = [], time.monotonic() + 120
    with (
        server.database() as name,
        Unsafe(tmp_path, server, name, upstreams) as installation,
    ):
        while not lost and time.monotonic() < until:
            answered, _ = under_fire(installation, 2, random.Random())
            lost = missing(installation, answered)

    assert lost


CONFIG = """
cache_ttl = 60

[[upstreams]]
name = "speaker"
kind = "openai"
url = "{url}"
retries = 0
"""


def test_twins_on_two_hosts_are_answered_by_one_call_and_a_host_may_go(
    tmp_path, server
):
    with server.database() as name, Speaker() as speaker:
        config = tmp_path / "gateway.toml"
        config.write_text(CONFIG.format(url=speaker.url))
        hosts = [
            Host(tmp_path / n, server, name, config=config, workers=1) for n in "ab"
        ]
        with contextlib.ExitStack() as stack:
            for host in hosts:
                stack.enter_context(host)
            ways = {"headers": {"Idempotency-Key": "one"}}, {"message": "another"}
            said = [twins(hosts, speaker, way) for way in ways]
            hosts[0].stop()
            again = [answer_of(hosts[1].chat(**way)) for way in ways]

        assert said == [{(200, "Hello world")}] * 2
        assert again == [(200, "Hello world")] * 2
        assert len(speaker.heard) == 2
        check = hosts[0].backend().verify()
        assert check.ok, check


def twins(hosts, speaker, way, number=8):
    """Ask the same of all hosts at once; return what the callers got."""
    go, answers, threads = threading.Event(), [], []
    before = len(speaker.heard)
    speaker.script = (go, "Hello ", "world")
    for place in range(number):
        host = hosts[place % len(hosts)]
        ask = lambda host=host: answers.append(host.chat(**way))  # noqa: E731
        threads.append(threading.Thread(target=ask))
        threads[-1].start()
    wait_until(lambda: len(speaker.heard) > before)
    threading.Timer(0.5, go.set).start()  # by when all of them have come
    for thread in threads:
        thread.join(90)
    return {answer_of(one) for one in answers}


def answer_of(said):
    return said.status_code, said.json().get("response")
