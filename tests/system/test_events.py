"""Starts, stops, settings and gaps of a real gateway are on record, once each."""

import json
import signal
import sqlite3
import time
from contextlib import closing

import pytest

from tests.support.stack import Gateway, sandbox, wait_until


@pytest.fixture
def stand_ins():
    with sandbox() as (switch, madre):
        yield {"switch_url": switch.url, "madre_url": madre.url}


def events(gateway, *routes):
    """(code, facts) of the events of these routes, oldest first."""
    rows = gateway.records("outcome = 'event' AND route != 'knot'")
    return [(r["code"], json.loads(r["request"])) for r in rows if r["route"] in routes]


def codes(gateway):
    return [code for code, _ in events(gateway, "process", "config")]


def test_the_life_of_a_gateway_is_on_record_once_however_many_workers(
    tmp_path, stand_ins
):
    config = tmp_path / "gateway.toml"
    config.write_text("breaker_failures = 5\n")
    gateway = Gateway(tmp_path, workers=2, config=config, **stand_ins)
    with gateway:
        wait_until(lambda: len(gateway.workers()) == 2)
        wait_until(lambda: codes(gateway) == ["gateway_started", "config_loaded"])

        victim = gateway.workers()[0]
        victim.send_signal(signal.SIGKILL)
        wait_until(lambda: victim.pid not in {w.pid for w in gateway.workers()})
        wait_until(lambda: len(gateway.workers()) == 2)
        assert gateway.chat().ok

        config.write_text("breaker_failures = 2\n")
        gateway.process.send_signal(signal.SIGHUP)
        wait_until(lambda: codes(gateway)[2:] == ["config_loaded"])
        assert gateway.chat().ok

    assert codes(gateway)[2:] == ["config_loaded", "gateway_stopped"]
    told = [f["settings"] for code, f in events(gateway, "config")]
    assert [one["VX11_BREAKER_FAILURES"] for one in told] == [5, 2]
    shown = json.dumps(told)
    assert gateway.settings["TENTACULO_LINK_TOKEN"] not in shown
    digest = events(gateway, "config")[-1][1]["digest"]
    assert json.loads(gateway.records()[-1]["decision"])["config"] == digest


def test_a_time_in_which_nothing_can_be_written_is_on_record_afterwards(
    tmp_path, stand_ins
):
    with Gateway(tmp_path, workers=1, **stand_ins) as gateway:
        assert gateway.chat().ok
        began = time.time()
        with closing(sqlite3.connect(gateway.audit, isolation_level=None)) as held:
            held.execute("BEGIN IMMEDIATE")  # as a foreign tool would
            answers = [gateway.chat() for _ in range(3)]
            held.execute("ROLLBACK")
        while not answers[-1].ok:
            answers.append(gateway.chat())

        ((code, gap),) = wait_until(lambda: events(gateway, "audit"), 60)

    assert code == "audit_gap"
    assert began - 3 < gap["from"] < gap["until"] < time.time()
    assert {answer.status_code for answer in answers[:-1]} == {503}
    assert gap["refused"] + gap["undelivered"] == len(answers) - 1
