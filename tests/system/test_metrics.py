"""What is counted is what callers got, whatever becomes of the workers.

A chat is counted after its record is committed and before its last byte leaves. So
every answer that a caller has is counted; one that is cut by a `kill -9` is counted by
nobody, unless the worker died between counting and sending.
"""

import contextlib
import itertools
import json
import random
import signal
import subprocess
import threading
from collections import Counter

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.support.stack import TOKEN, Gateway, free_port, sandbox, wait_until

WORKERS = 4
CLIENTS = 8
SHOWN = {"X-VX11-Token": TOKEN}


@pytest.fixture(scope="module")
def upstreams():
    with sandbox() as (switch, madre):
        yield switch, madre


@pytest.fixture(scope="module")
def house(tmp_path_factory, upstreams):
    switch, madre = upstreams
    urls = {"switch_url": switch.url, "madre_url": madre.url}
    bind = f"127.0.0.1:{free_port()}"
    folder = tmp_path_factory.mktemp("house")
    with Gateway(folder, workers=WORKERS, metrics_bind=bind, **urls) as gateway:
        gateway.metrics_url = f"http://{bind}/metrics"
        wait_until(lambda: gateway.upstreams_are(switch="up", madre="up"))
        yield gateway


class Load:
    """Clients that ask in all ways, and count what they are answered."""

    def __init__(self, url):
        self.url = url
        self.seen = Counter()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(n,)) for n in range(CLIENTS)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    @property
    def answered(self):
        return self.seen["completed"]

    def _run(self, number):
        ways = itertools.cycle([self._chat, self._stream, self._openai, self._invalid])
        for way in itertools.islice(ways, number, None):
            if self._stop.is_set():
                return
            try:
                ending = way()
            except (requests.RequestException, OSError):
                ending = "cut"
                self._stop.wait(0.02)
            with self._lock:
                self.seen[ending] += 1
                self.seen["streams"] += way == self._stream and ending == "completed"

    def _post(self, path, body, **more):
        url = self.url + path
        return requests.post(url, json=body, headers=SHOWN, timeout=60, **more)

    def _chat(self):
        return self._ending(self._post("/operator/api/chat", {"message": "Hello"}))

    def _openai(self):
        body = {"model": "any", "messages": [{"role": "user", "content": "Hello"}]}
        return self._ending(self._post("/v1/chat/completions", body))

    def _invalid(self):
        return self._ending(self._post("/operator/api/chat", {"message": 1}))

    def _stream(self):
        body = {"message": "Hello", "stream": True}
        with self._post("/operator/api/chat", body, stream=True) as answer:
            names = [x[7:] for x in answer.iter_lines() if x.startswith(b"event: ")]
        if not names or names[-1] not in {b"done", b"error"}:
            return "cut"
        return "completed" if names[-1] == b"done" else "failed"

    def _ending(self, answer):
        if answer.ok:
            json.loads(answer.text)
            return "completed"
        return "refused" if answer.status_code == 422 else "failed"


def scrape(gateway):
    """All samples of the page, by name and label values."""
    page = requests.get(gateway.metrics_url, timeout=20)
    assert page.status_code == 200, page.text
    return {
        (s.name, *(v for v in s.labels.values() if v)): s.value
        for family in text_string_to_metric_families(page.text)
        for s in family.samples
    }


def total(samples, name, *values):
    """The sum of all series of a name that have these label values."""
    return sum(
        value
        for (found, *labels), value in samples.items()
        if found == name and set(values) <= set(labels)
    )


def counted(gateway):
    """What the page says of the same things that a Load counts."""
    samples = scrape(gateway)
    outcomes = Counter(
        {
            word: int(total(samples, "gateway_requests_total", word))
            for word in ("completed", "failed", "refused", "cancelled")
        }
    )
    streams = total(samples, "gateway_stream_end_total", "completed")
    return +(outcomes + Counter(streams=int(streams)))


@pytest.fixture
def before(house):
    """What was counted before the test."""
    wait_until(lambda: is_whole(house), 60)
    return counted(house)


def is_whole(gateway):
    """Whether all workers are there and measured, and no more."""
    return total(scrape(gateway), "gateway_workers") == WORKERS


def answers(load, more=60):
    enough = load.answered + more
    wait_until(lambda: load.answered >= enough, 90)


def test_counts_equal_the_callers_through_a_reload_and_a_kill(house, upstreams, before):
    with Load(house.url) as load:
        answers(load)
        old = {worker.pid for worker in house.workers()}
        house.process.send_signal(signal.SIGHUP)
        wait_until(lambda: not old & {w.pid for w in house.workers()}, 60)
        answers(load)
    assert load.seen["cut"] == 0
    assert counted(house) == before + load.seen
    assert load.seen["refused"] > 10
    assert load.seen["streams"] > 10

    cut = hang_up_on_chats_under_way(house, upstreams[0])
    assert cut == WORKERS
    wait_until(lambda: is_whole(house), 60)
    assert counted(house) == before + load.seen, "what the killed counted is there"

    with Load(house.url) as after:
        answers(after)
    assert after.seen["cut"] == 0
    assert counted(house) == before + load.seen + after.seen


def hang_up_on_chats_under_way(gateway, switch):
    """Kill every worker in the midst of chats; return how many callers were cut."""
    cuts = []

    def ask_and_be_cut():
        try:
            gateway.chat()
        except requests.ConnectionError:
            cuts.append(1)

    switch.break_with("hang", times=WORKERS)
    enough = switch.chats + WORKERS
    callers = [threading.Thread(target=ask_and_be_cut) for _ in range(WORKERS)]
    for caller in callers:
        caller.start()
    assert switch.wait_for_chats(enough, 20)
    for worker in gateway.workers():
        worker.kill()
    for caller in callers:
        caller.join(60)
    switch.heal()
    return len(cuts)


def test_random_kills_lose_no_count_of_an_answer(house, before):
    chance = random.Random(5)
    with Load(house.url) as load:
        for _ in range(6):
            answers(load, 20)
            with contextlib.suppress(IndexError):
                chance.choice(house.workers()).kill()
    wait_until(lambda: is_whole(house), 60)

    found, cut = counted(house) - before, load.seen["cut"]
    assert load.answered <= found["completed"] <= load.answered + cut
    recorded = house.records("outcome = 'completed'")
    assert before["completed"] + found["completed"] <= len(recorded)
    assert load.seen["refused"] <= found["refused"] <= load.seen["refused"] + cut


def test_the_files_of_dead_workers_are_used_again(house, before):
    for _ in range(6):
        victim = house.workers()[0]
        victim.kill()
        wait_until(lambda v=victim: v.pid not in [w.pid for w in house.workers()])
        wait_until(lambda: is_whole(house), 60)

    # The reload had old and new workers at once; more there never were.
    assert slots_of(house) <= 2 * WORKERS
    assert counted(house) == before


def slots_of(gateway):
    """How many files the instance's counts are in."""
    files = {
        file.path
        for worker in gateway.workers()
        for file in worker.open_files()
        if "vx11-counts" in file.path
    }
    folder = next(iter(files)).rpartition("/")[0]
    listing = subprocess.run(["ls", folder], capture_output=True, text=True, check=True)
    return len([name for name in listing.stdout.split() if name.startswith("slot-")])


def test_row_78_a_full_metrics_disk_costs_the_metrics_and_no_chat(tmp_path, upstreams):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a file system")
    urls = {"switch_url": upstreams[0].url, "madre_url": upstreams[1].url}
    try:
        with Gateway(tmp_path, metrics_dir=disk, **urls) as gateway:
            assert [gateway.chat().status_code for _ in range(4)] == [200] * 4
            page = requests.get(gateway.url + "/metrics", headers=SHOWN, timeout=10)
            assert (page.status_code, page.json()["code"]) == (
                503,
                "metrics_unavailable",
            )
            assert "Nothing is measured" in gateway.output()
            assert all(worker.is_running() for worker in gateway.workers())
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_two_instances_do_not_mix_their_counts(tmp_path, house, upstreams, before):
    urls = {"switch_url": upstreams[0].url, "madre_url": upstreams[1].url}
    house.chat()
    with Gateway(tmp_path, **urls) as other:
        other.chat()
        other.chat()
        page = requests.get(other.url + "/metrics", headers=SHOWN, timeout=10).text

    assert 'outcome="completed",provider="switch",route="chat"} 2.0' in page
    assert counted(house) - before == {"completed": 1}
