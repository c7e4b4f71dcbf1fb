"""Ten times the load that can be carried, for five seconds (docs/faults.md, row 83).

Capacity is made by a slow upstream, so that it is not the processor that is
measured. What the machine itself takes is measured in the same run, by a server that
has nothing to do, and granted; a machine that hiccups gets another try.
"""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile

import pytest

from sandbox.server import SandboxServer
from tests.support.stack import HOUSE, TOKEN, Gateway, sandbox, wait_until

SLOTS, QUEUE, WAIT = 8, 4, 0.5
LATENCY = 0.4  # seconds that the upstream takes: 20 chats a second
SECONDS, TIMES = 5.0, 10
TRIES = 3


@dataclass
class Answers:
    """What one kind of request was told."""

    took: list
    statuses: list

    @classmethod
    def of(cls, results, *kinds):
        mine = [r for r in results if r[0] in kinds]
        return cls([r[1] for r in mine], [r[2] for r in mine])

    def with_status(self, status):
        pairs = zip(self.took, self.statuses, strict=True)
        return sorted(took for took, found in pairs if found == status)

    @property
    def share_of_good_ones(self):
        return self.statuses.count(200) / len(self.statuses)


def p99(times):
    return sorted(times)[int(len(times) * 0.99)] if times else 0.0


class ThreadsAsFewAsSlots(Gateway):
    """The gate is there and sees nothing: no thread is left to say no."""

    OPTIONS = ("--threads", str(SLOTS))


@pytest.fixture(params=[Gateway], ids=["gate"])
def kind(request):
    return request.param


@pytest.fixture
def upstreams():
    with sandbox(latency=LATENCY) as pair:
        yield pair


@pytest.fixture
def idle():
    with SandboxServer(kind="madre") as idle:
        yield idle


@pytest.fixture
def gateway(tmp_path, kind, upstreams, idle):
    switch, madre = upstreams
    with kind(
        tmp_path,
        switch_url=switch.url,
        madre_url=madre.url,
        workers=1,
        threads=SLOTS + QUEUE + 8,
        slots=SLOTS,
        queue=QUEUE,
        queue_wait=WAIT,
        log_level="ERROR",
    ) as gateway:
        gateway.idle_port = int(idle.url.rpartition(":")[2])
        yield gateway


def flood(gateway):
    """Run the client in a process of its own, so that it is no part of the load."""
    command = [sys.executable, "-m", "tests.system.flood"]
    command += [str(gateway.port), str(gateway.idle_port), TOKEN]
    command += [str(SECONDS), str(TIMES * SLOTS / LATENCY)]
    done = subprocess.run(
        command, cwd=HOUSE, capture_output=True, check=True, timeout=120
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def peak(gateway):
    """Chats a second of as many callers as there are slots, without a pause."""
    rounds = 5
    with ThreadPoolExecutor(SLOTS) as callers:
        started = time.monotonic()
        answers = list(callers.map(lambda _: gateway.chat(), range(rounds * SLOTS)))
        took = time.monotonic() - started
    assert all(answer.ok for answer in answers)
    return len(answers) / took


def seconds_until_normal(gateway):
    started = time.monotonic()

    def is_normal():
        asked = time.monotonic()
        ok = gateway.chat().ok
        return ok and time.monotonic() - asked < LATENCY + WAIT

    wait_until(is_normal)
    return time.monotonic() - started


def broken_promises(gateway):
    """Put it under ten times its load; return what it did not keep, in words."""
    best = peak(gateway)
    results = flood(gateway)
    again = seconds_until_normal(gateway)

    chats = Answers.of(results, "high", "low")
    high, health = Answers.of(results, "high"), Answers.of(results, "health")
    goodput = chats.statuses.count(200) / (SECONDS + LATENCY)
    refused, asked = p99(chats.with_status(503)), p99(health.took)
    slack = p99(Answers.of(results, "idle").took)
    facts = {
        "goodput at least 95 % of peak": goodput >= 0.95 * best,
        "class high at least 99 %": high.share_of_good_ones >= 0.99,
        "refusals p99 under 100 ms": refused < 0.1 + slack,
        "health p99 under 50 ms": asked < 0.05 + slack,
        "health is never shed": health.share_of_good_ones == 1,
        "nobody is left without an answer": 0 not in chats.statuses,
        "normal within 2 s": again < 2.0,
    }
    print(
        f"peak {best:.1f}/s, goodput {goodput:.1f}/s, class high"
        f" {high.share_of_good_ones:.1%}, refusals p99 {refused:.3f} s, health p99"
        f" {asked:.3f} s, normal in {again:.2f} s; machine's own p99 {slack:.3f} s"
    )
    return [promise for promise, kept in facts.items() if not kept]


def test_ten_times_the_load_takes_nothing_from_who_is_served(gateway):
    tries = (broken_promises(gateway) for _ in range(TRIES))

    broken = list(takewhile(bool, tries))

    assert len(broken) < TRIES, broken


@pytest.mark.parametrize("kind", [ThreadsAsFewAsSlots], ids=["no gate"], indirect=True)
def test_the_same_with_the_gate_switched_off_breaks_the_promises(gateway):
    broken = broken_promises(gateway)

    assert {
        "goodput at least 95 % of peak",
        "class high at least 99 %",
        "health p99 under 50 ms",
    } <= set(broken)
