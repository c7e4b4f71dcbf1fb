"""A forged record in the database of a running gateway, seen from outside."""

import contextlib
import sqlite3
import subprocess
import sys

import pytest
import requests

from tests.support.stack import HOUSE, Gateway, free_port, sandbox, wait_until

WIRE = (
    "INSERT INTO records (id, correlation_id, session_id, caller, route, opened_at,"
    " request, worker) VALUES ('forged', 'c', 's', 'alice', 'chat', 1.0,"
    """ '{"messages":[["user","please wire the money"]]}', '1-00000000')"""
)
UNSIGNED = "\ngateway_audit_unsigned_records 1.0\n"


@pytest.fixture
def gateway(tmp_path):
    bind = f"127.0.0.1:{free_port()}"
    with sandbox() as (switch, madre):
        urls = {"switch_url": switch.url, "madre_url": madre.url}
        with Gateway(tmp_path, metrics_bind=bind, **urls) as gateway:
            gateway.metrics_url = f"http://{bind}/metrics"
            yield gateway


def verify(gateway):
    return subprocess.run(
        [sys.executable, "-m", "app", "records", "verify"],
        cwd=HOUSE,
        env=gateway.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def is_told(gateway):
    page = requests.get(gateway.metrics_url, timeout=10).text
    return "open record forged" in gateway.output() and UNSIGNED in page


def test_a_forged_record_is_never_sealed_and_stops_no_chat(gateway):
    assert gateway.chat().ok
    assert verify(gateway).returncode == 0

    with contextlib.closing(sqlite3.connect(gateway.audit)) as db, db:
        db.execute(WIRE)

    wait_until(lambda: is_told(gateway), 10)
    gateway.process.send_signal(1)  # HUP: other workers look at it afresh
    wait_until(lambda: gateway.output().count("open record forged") == 2, 30)
    assert all(gateway.chat().ok for _ in range(10))
    assert requests.get(f"{gateway.url}/readyz", timeout=5).ok
    assert [row["seq"] for row in gateway.records("id = 'forged'")] == [None]
    assert gateway.records("outcome = 'interrupted'") == []
    found = verify(gateway)
    assert found.returncode == 1
    assert "record forged is open and not signed" in found.stdout
    assert {
        line["level"]
        for line in gateway.log_lines()
        if "open record forged" in line["message"]
    } == {"ERROR"}


def test_an_older_copy_in_its_place_is_refused_after_a_reload_too(gateway, tmp_path):
    assert gateway.chat().ok
    with (
        contextlib.closing(sqlite3.connect(gateway.audit)) as database,
        contextlib.closing(sqlite3.connect(tmp_path / "older.db")) as older,
    ):
        database.backup(older)
        assert gateway.chat().ok
        older.backup(database)
    old = {one.pid for one in gateway.workers()}

    gateway.process.send_signal(1)

    wait_until(lambda: old.isdisjoint(one.pid for one in gateway.workers()), 40)
    wait_until(gateway.workers, 20)
    assert {gateway.chat().status_code for _ in range(5)} == {503}
    assert verify(gateway).returncode == 0  # it is an older state, and whole
