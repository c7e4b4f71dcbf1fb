"""Half an hour's trouble in a minute: random faults, random callers, nothing grows.

`make soak` runs it for an hour (VX11_SOAK is its length in seconds). Each second the
gateway is looked at: it is ready, its workers are the same, and what was promised of
each answer was kept (docs/faults.md, row 91).
"""

import json
import os
import random
import socket
import statistics
import threading
import time
import uuid
from dataclasses import dataclass

import pytest
import requests

from app.storage.trail import open_backend
from tests.support.events import live_events
from tests.support.stack import TOKEN, Gateway, sandbox, wait_until

SECONDS = float(os.environ.get("VX11_SOAK", "60"))
CALLERS = 6
DEADLINE = 4.0
LATE = 0.25 + 2.0  # seconds; what is promised, and what a noisy machine adds
EXPECTED = {200, 400, 401, 403, 408, 413, 422, 499, 502, 503}

# Megabytes that a worker may grow by in the second half, beside the hourly one.
NOISE, PER_HOUR = 4.0, 1.0

SWITCH_FAULTS = [
    *[("http_status", {"status": status}) for status in (500, 503)],
    ("rate_limited", {"retry_after": "1"}),
    ("slow", {"seconds": 0.5}),
    *[
        (name, {})
        for name in (
            "hang",
            "header_drip",
            "body_drip",
            "close_at_once",
            "close_after_answer",
            "reset_mid_body",
            "truncated_chunked",
            "status_error",
            "html",
            "empty",
            "bad_utf8",
            "huge_body",
            "huge_header",
            "reject_400",
            "refuse",
        )
    ],
]
MADRE_FAULTS = [("http_status", {"status": 500}), ("slow", {"seconds": 0.5})]


@dataclass
class Sample:
    """What the workers held at a moment: megabytes, threads, files, for each."""

    memory: list
    threads: list
    files: list


class Crowd:
    """Callers of all kinds; what was not kept to them is in `complaints`."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.complaints, self.answered, self.done = [], [], 0
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(seed),))
            for seed in range(CALLERS)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, chance):
        kinds = [self.chat] * 6 + [self.stream] * 2 + [self.leave, self.stall, self.err]
        with requests.Session() as session:
            while not self._stop.wait(chance.uniform(0, 0.05)):
                try:
                    chance.choice(kinds)(session, chance)
                except Exception as error:
                    self.complaints.append(repr(error))
                self.done += 1

    def chat(self, session, chance):
        mine, started = str(uuid.uuid4()), time.monotonic()
        answer = self.post(session, {"message": "Hello", "correlation_id": mine})
        took = time.monotonic() - started
        if answer.status_code not in EXPECTED or took > DEADLINE + LATE:
            self.complaints.append(f"{answer.status_code} in {took:.2f} s")
        if answer.status_code == 200:
            assert answer.json()["correlation_id"] == mine
            self.answered.append(mine)

    def stream(self, session, chance):
        body = {"message": "Hello", "stream": True}
        with self.post(session, body, stream=True) as answer:
            if answer.status_code == 200:
                last = list(live_events(answer))[-1]
                if not last.is_last:
                    self.complaints.append(f"a stream ended with {last}")

    def leave(self, session, chance):
        body = json.dumps({"message": "Hello"})
        with self.connect() as caller:
            caller.sendall(
                f"POST /operator/api/chat HTTP/1.1\r\nHost: x\r\nX-VX11-Token: {TOKEN}"
                "\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            self._stop.wait(chance.uniform(0, 0.3))

    def stall(self, session, chance):
        with self.connect() as caller:
            caller.sendall(
                b"POST /operator/api/chat HTTP/1.1\r\nHost: x"[: chance.randrange(40)]
            )
            self._stop.wait(chance.uniform(0, 0.3))

    def err(self, session, chance):
        bad = chance.choice(
            [b"", b"{", b"[" * 10_000, b'{"message": 5}', b"x" * 70_000]
        )
        answer = session.post(
            f"{self.gateway.url}/operator/api/chat",
            data=bad,
            headers={"X-VX11-Token": TOKEN, "Content-Type": "application/json"},
            timeout=30,
        )
        if answer.status_code not in EXPECTED - {200}:
            self.complaints.append(f"{answer.status_code} for nonsense")

    def post(self, session, body, **options):
        return session.post(
            f"{self.gateway.url}/operator/api/chat",
            json=body,
            headers={"X-VX11-Token": TOKEN},
            timeout=30,
            **options,
        )

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.gateway.port), 20)


@pytest.fixture
def upstreams():
    with sandbox() as pair:
        yield pair


@pytest.fixture
def gateway(tmp_path, upstreams):
    switch, madre = upstreams
    with Gateway(
        tmp_path,
        switch_url=switch.url,
        madre_url=madre.url,
        workers=2,
        threads=24,
        switch_timeout=2,
        madre_timeout=1,
        chat_deadline=DEADLINE,
        hang_check_after=0.5,
        queue_wait=0.5,
        log_level="ERROR",
    ) as gateway:
        yield gateway


def look(gateway):
    workers = sorted(gateway.workers(), key=lambda worker: worker.pid)
    return Sample(
        [worker.memory_info().rss / 1e6 for worker in workers],
        [worker.num_threads() for worker in workers],
        [worker.num_fds() for worker in workers],
    )


def break_something(upstreams, chance):
    for upstream, faults in zip(upstreams, (SWITCH_FAULTS, MADRE_FAULTS), strict=True):
        upstream.heal()
        if chance.random() < 0.6:
            name, knobs = chance.choice(faults)
            upstream.break_with(name, **knobs)


def check_invariants(gateway, crowd, pids):
    assert crowd.complaints == []
    for answered in crowd.answered[-3:]:
        assert gateway.records("correlation_id = ? AND seq > 0", answered)
    assert sorted(worker.pid for worker in gateway.workers()) == pids, gateway.output()
    for path in ("/health", "/readyz"):
        started = time.monotonic()
        assert requests.get(f"{gateway.url}{path}", timeout=10).status_code == 200
        assert time.monotonic() - started < LATE


def trouble(gateway, upstreams, crowd):
    """Yield a sample a second, after having broken something new."""
    chance, tick = random.Random(91), threading.Event()
    pids = sorted(worker.pid for worker in gateway.workers())
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        break_something(upstreams, chance)
        tick.wait(1.0)
        check_invariants(gateway, crowd, pids)
        yield look(gateway)


def growth(samples, what):
    """By how much the second half's end exceeds its beginning, for each worker."""
    half = [getattr(sample, what) for sample in samples[len(samples) // 2 :]]
    part = max(3, len(half) // 5)
    return [
        statistics.median(values[-part:]) - statistics.median(values[:part])
        for values in zip(*half, strict=True)
    ]


@pytest.mark.slow
def test_nothing_grows_and_every_promise_is_kept(gateway, upstreams):
    with Crowd(gateway) as crowd:
        samples = list(trouble(gateway, upstreams, crowd))
    for upstream in upstreams:
        upstream.heal()

    hours = SECONDS / 3600
    print(
        f"{crowd.done} requests, {len(crowd.answered)} whole answers; growth of memory "
        f"{growth(samples, 'memory')} MB, threads {growth(samples, 'threads')}, files "
        f"{growth(samples, 'files')}; at the end {samples[-1]}"
    )
    assert max(growth(samples, "memory")) < NOISE + PER_HOUR * hours
    assert max(growth(samples, "threads")) <= 2
    assert max(growth(samples, "files")) <= 12  # as many callers, and their upstreams
    assert len(crowd.answered) > SECONDS
    assert_all_is_on_record(gateway, crowd.answered)


def assert_all_is_on_record(gateway, answered):
    wait_until(lambda: gateway.records("seq IS NULL") == [])
    rows = gateway.records("outcome = 'completed' AND status = 200")
    assert set(answered) <= {row["correlation_id"] for row in rows}
    assert open_backend(f"sqlite:///{gateway.audit}").verify().ok
