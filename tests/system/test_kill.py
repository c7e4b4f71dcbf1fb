"""`kill -9` of random workers under load: no answer without a committed record."""

import contextlib
import http.client
import json
import os
import random
import sqlite3
import threading
import time
import uuid

import psutil
import pytest

from app.storage.trail import open_backend
from tests.support.stack import TOKEN, Gateway, sandbox, wait_until

KILLS = int(os.environ.get("VX11_KILLS", "25"))
KEYED_KILLS = int(os.environ.get("VX11_KILLS", "6"))
CLIENTS = 8


@pytest.fixture
def upstreams():
    with sandbox() as (switch, madre):
        yield {"switch_url": switch.url, "madre_url": madre.url}


class Load:
    """Clients that chat without a pause and remember what they were answered.

    `answered` are the correlation ids.
    """

    def __init__(self, port):
        self.port = port
        self.answered, self.refused, self.cut = [], 0, 0
        self._stop = threading.Event()
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

    def _run(self, number):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self._stop.is_set():
            try:
                self._chat(connection, number)
            except (OSError, http.client.HTTPException):
                self.cut += 1
                connection.close()
                self._stop.wait(0.02)
        connection.close()

    def _chat(self, connection, number):
        mine = str(uuid.uuid4())
        body = json.dumps({"message": "Hello", "correlation_id": mine})
        headers = {"X-VX11-Token": TOKEN, "Content-Type": "application/json"}
        connection.request("POST", "/operator/api/chat", body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status == 200:
            self.answered.append(answer["correlation_id"])
        else:
            self.refused += 1


class KeyedLoad(Load):
    """Twins that show one key each until it is answered; between them cached chats.

    Each two clients are twins, who ask the same at the same time. `said` are the ids
    of the answers' first records, by key.
    """

    def __init__(self, port):
        super().__init__(port)
        self.said = {}
        self._turns = [0] * CLIENTS

    def _chat(self, connection, number):
        turn, pair = self._turns[number], number // 2
        key = "" if turn % 3 == 2 else f"{pair}-{turn}"
        words = f"cached {turn % 4}" if not key else f"asked {key}"
        mine = str(uuid.uuid4())
        body = json.dumps({"messages": [{"role": "user", "content": words}]})
        headers = {
            "X-VX11-Token": TOKEN,
            "Content-Type": "application/json",
            "X-Correlation-ID": mine,
        } | ({"Idempotency-Key": key} if key else {})
        connection.request("POST", "/v1/chat/completions", body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            self.refused += 1
            return
        self.answered.append(mine)
        if key:
            self.said.setdefault(key, set()).add(answer["id"])
        self._turns[number] += 1


def kill_workers(gateway, load, count, chance):
    """Kill a random worker, again and again, each time in the midst of answers."""
    for _ in range(count):
        enough = len(load.answered) + chance.randint(10, 60)
        wait_until(lambda n=enough: len(load.answered) >= n, 60)
        victim = chance.choice(gateway.workers())
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()


def missing_records(gateway, answered):
    with contextlib.closing(sqlite3.connect(gateway.audit)) as db:
        rows = db.execute(
            "SELECT correlation_id FROM records"
            " WHERE outcome = 'completed' AND seq IS NOT NULL"
        )
        recorded = {row[0] for row in rows}
    return [c for c in answered if c not in recorded]


def run_under_fire(gateway, kills, kind=Load):
    with kind(gateway.port) as load:
        kill_workers(gateway, load, kills, random.Random(8))
    return load


def test_no_answer_without_a_record(tmp_path, upstreams):
    with Gateway(tmp_path, **upstreams) as gateway:
        load = run_under_fire(gateway, KILLS)
        wait_until(lambda: gateway.records("seq IS NULL") == [])

    assert len(load.answered) > 10 * KILLS
    assert load.cut > 0, "nobody was hit, so nothing was shown"
    assert missing_records(gateway, load.answered) == []
    assert len(set(load.answered)) == len(load.answered)
    with contextlib.closing(sqlite3.connect(gateway.audit)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert open_backend(f"sqlite:///{gateway.audit}").verify().ok


def test_no_kept_answer_without_a_record_and_no_key_with_two_answers(
    tmp_path, upstreams
):
    with Gateway(tmp_path, cache_ttl=2, **upstreams) as gateway:
        load = run_under_fire(gateway, KEYED_KILLS, KeyedLoad)
        wait_until(lambda: gateway.records("seq IS NULL") == [])

    assert load.cut > 0, "nobody was hit, so nothing was shown"
    assert missing_records(gateway, load.answered) == []
    assert [key for key, ids in load.said.items() if len(ids) != 1] == []
    with contextlib.closing(sqlite3.connect(gateway.audit)) as db:
        alone = db.execute(
            "SELECT count(*) FROM answers WHERE record NOT IN"
            " (SELECT id FROM records WHERE outcome = 'completed' AND seq > 0)"
        )
        assert alone.fetchone() == (0,)
        # Of one question whose key was answered, one record has asked; the others
        # repeat it, or were interrupted.
        twice = db.execute(
            "SELECT request FROM records WHERE outcome = 'completed' AND reuse IS NULL"
            " AND request LIKE '%asked %' GROUP BY request HAVING count(*) > 1"
        )
        assert twice.fetchall() == []
        found = dict(db.execute("SELECT reuse, count(*) FROM records GROUP BY reuse"))
    assert found["idempotency"] > KEYED_KILLS
    assert found["cache"] > KEYED_KILLS
    assert open_backend(f"sqlite:///{gateway.audit}").verify().ok


def test_the_same_with_an_asynchronous_commit_loses_some(tmp_path, upstreams):
    class Unsafe(Gateway):
        WSGI = "tests.system.wsgi_with_asynchronous_commit:app"

    lost, until = [], time.monotonic() + 120
    with Unsafe(tmp_path, **upstreams) as gateway:
        while not lost and time.monotonic() < until:
            load = run_under_fire(gateway, 5)
            lost = missing_records(gateway, load.answered)

    assert lost


def test_interrupted_chats_are_marked_when_the_next_worker_starts(tmp_path):
    with sandbox() as (switch, madre):
        urls = {"switch_url": switch.url, "madre_url": madre.url}
        with Gateway(tmp_path, workers=1, **urls) as gateway:
            switch.break_with("hang", times=1)
            caller = threading.Thread(target=lambda: ask_and_be_cut(gateway))
            caller.start()
            assert switch.wait_for_chats(1, 20)
            wait_until(lambda: gateway.records("seq IS NULL"))

            gateway.workers()[0].kill()
            caller.join(30)

            (row,) = wait_until(lambda: gateway.records("outcome = 'interrupted'"), 40)
            assert row["caller"] == "operator"
            assert wait_until(lambda: gateway.chat().ok)


def ask_and_be_cut(gateway):
    with contextlib.suppress(OSError):
        gateway.chat()
