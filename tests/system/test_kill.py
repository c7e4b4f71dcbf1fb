"""`kill -9` of random workers under load: no answer without a committed record."""

import contextlib
import os
import random
import sqlite3
import threading
import time

import psutil
import pytest

from app.storage.trail import open_backend
from tests.support.load import KeyedLoad, Load
from tests.support.stack import Gateway, sandbox, wait_until

KILLS = int(os.environ.get("VX11_KILLS", "25"))
KEYED_KILLS = int(os.environ.get("VX11_KILLS", "6"))


@pytest.fixture
def upstreams():
    with sandbox() as (switch, madre):
        yield {"switch_url": switch.url, "madre_url": madre.url}


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
