"""Ten incidents of a night: the status that the console shows, and `doctor`, name the
cause and the next step of each."""

import contextlib
import json
import socket
import sqlite3
import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest
import requests
import trustme
from click.testing import CliRunner

from app.cli import main
from app.gateway.access.tokens import Caller, Token
from app.storage.tokens.edit import TokenFile
from tests.support.stack import TOKEN, sandbox, wait_until
from tests.system.test_fault_matrix_disk_and_clock import (
    GatewayWithClock,
    fill,
    mounted,
)

ROOM = 256 * 1024 * 1024  # bytes of the disk; the log must be able to grow
LARGE = 80 * 1024 * 1024
HEALTHY = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{}"


class Speaker:
    """A server over TLS that is healthy, whatever certificate it shows."""

    def __init__(self):
        self.authority = trustme.CA()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.show(days=30)
        threading.Thread(target=self._serve, daemon=True).start()

    def show(self, *, days):
        ends = datetime.now(UTC) + timedelta(days=days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("127.0.0.1", not_after=ends).configure_cert(context)
        self._context = context

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with contextlib.suppress(OSError):
                    self._answer(connection)

    def _answer(self, connection):
        with self._context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(4096)
            tls.sendall(HEALTHY)

    def close(self):
        self._listener.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with mounted(tmp_path_factory.mktemp("night") / "disk", ROOM) as folder:
        yield folder


@pytest.fixture(scope="module")
def upstreams():
    speaker = Speaker()
    with sandbox() as (switch, madre):
        yield switch, madre, speaker
    speaker.close()


@pytest.fixture(scope="module")
def gateway(place, upstreams):
    switch, madre, speaker = upstreams
    tokens = TokenFile(place / "tokens.toml")
    tokens.add(Token.of(Caller("ci"), "a-token-of-ci"), beside_others=False)
    speaker.authority.cert_pem.write_to_path(place / "ca.pem")
    entries = [
        {"name": "switch", "kind": "switch", "url": switch.url, "timeout": 3},
        {"name": "madre", "kind": "madre", "url": madre.url, "timeout": 2},
        {"name": "third", "kind": "madre", "url": speaker.url, "timeout": 2},
    ]
    with GatewayWithClock(
        place,
        workers=1,
        upstreams=json.dumps(entries),
        tls_ca=place / "ca.pem",
        tokens_file=tokens.path,
        probe_timeout=1,
        hang_check_after=0.5,
    ) as gateway:
        wait_until(lambda: gateway.chat().ok)
        wait_until(lambda: reasons(gateway) == [])
        yield gateway


@pytest.fixture(autouse=True)
def over_again(gateway, upstreams):
    yield
    for upstream in upstreams[:2]:
        upstream.heal()


@pytest.fixture
def doctor(gateway, monkeypatch):
    for name, value in gateway.settings.items():
        monkeypatch.setenv(f"VX11_{name}", str(value))
    return lambda: CliRunner().invoke(main, ["doctor"])


def reasons(gateway):
    return gateway.status()["gateway"]["reasons"]


def ask_third(gateway):
    """A failing chat makes its upstream be looked at, which else takes seconds."""
    requests.post(
        f"{gateway.url}/v1/chat/completions",
        json={"model": "third", "messages": [{"role": "user", "content": "Hello"}]},
        headers={"X-VX11-Token": TOKEN},
        timeout=60,
    )


def named(gateway, code, words=""):
    """The reason of that code, once the status has it, with these words."""

    def found():
        all_ = reasons(gateway)
        return next(
            (r for r in all_ if r["code"] == code and words in r["detail"]), None
        )

    return wait_until(found)


def assert_told(gateway, doctor, code, words, step, exit_code=1):
    """The console's screen and `doctor` name the same cause and the same step."""
    reason = named(gateway, code, words)
    assert step in reason["next_step"]
    done = doctor()
    assert reason["detail"] in done.stdout
    assert done.exit_code == exit_code, done.stdout
    worst = gateway.status()["gateway"]["reasons"][0]
    if worst["code"] == code:
        assert f"Next: {reason['next_step']}" in done.stdout


def test_the_disk_is_full(gateway, doctor, place):
    filler = fill(place)
    try:
        told = "no record can be written: its disk is full"
        step = "Make room on the disk of VX11_AUDIT_URL"
        assert_told(gateway, doctor, "audit_unavailable", told, step, 75)
    finally:
        filler.unlink()
    wait_until(lambda: gateway.chat().ok)


def test_an_upstream_rejects_our_key(gateway, doctor, upstreams):
    upstreams[0].break_with("unauthorized")
    assert gateway.chat().ok

    told = "switch failed: it rejects our credentials (upstream_auth)"
    step = "Show that upstream a token or key that it takes"
    assert_told(gateway, doctor, "failing", told, step)

    upstreams[0].heal()
    wait_until(lambda: gateway.chat().ok and reasons(gateway) == [])


def test_switch_is_frozen(gateway, doctor, upstreams):
    upstreams[0].break_with("frozen")
    gateway.chat()

    told = "switch is down: it does not answer in time"
    assert_told(gateway, doctor, "down", told, "Look after that upstream")


def test_all_upstreams_are_down(gateway, doctor, upstreams):
    for upstream in upstreams[:2]:
        upstream.break_with("refuse")
    upstreams[2].show(days=-1)
    gateway.chat()
    try:
        assert_told(gateway, doctor, "no_upstream", "no upstream", "Look after", 75)
        assert "switch is down: nothing listens at its address" in doctor().stdout
    finally:
        upstreams[2].show(days=30)


def test_the_certificate_of_an_upstream_has_expired(gateway, doctor, upstreams):
    upstreams[2].show(days=-1)
    ask_third(gateway)
    try:
        told = "third is down: its certificate has expired (tls_expired)"
        assert_told(gateway, doctor, "down", told, "Renew the certificate")
    finally:
        upstreams[2].show(days=30)


def test_the_file_of_tokens_is_broken(gateway, doctor, place):
    tokens = place / "tokens.toml"
    good = tokens.read_text()
    tokens.write_text(good + "[[\n")
    try:
        told = "the file of tokens has mistakes"
        assert_told(gateway, doctor, "tokens_stale", told, "Run `token list`")
        assert f"{tokens}:{len(good.splitlines()) + 1}: " in doctor().stdout
    finally:
        tokens.write_text(good)


def test_the_log_of_the_audit_grows(gateway, doctor):
    audit = gateway.audit
    with (
        contextlib.closing(sqlite3.connect(audit, isolation_level=None)) as reader,
        contextlib.closing(sqlite3.connect(audit, isolation_level=None)) as writer,
    ):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM records").fetchone()
        writer.execute("PRAGMA busy_timeout=10000")
        writer.execute("CREATE TABLE large (bytes)")
        writer.execute("INSERT INTO large VALUES (zeroblob(?))", (LARGE,))
        writer.execute("DROP TABLE large")
        told = "MB: a reader holds it"
        assert_told(gateway, doctor, "audit_log_large", told, "`fuser` names it")
        reader.execute("ROLLBACK")
    wait_until(lambda: "audit_log_large" not in {r["code"] for r in reasons(gateway)})


def test_workers_are_killed_in_a_loop(gateway, doctor):
    for _ in range(3):
        (worker,) = wait_until(gateway.workers)
        worker.kill()
        wait_until(lambda dead=worker: dead not in gateway.workers())
        gateway.wait_until_up()

    told = "workers have died within five minutes"
    assert_told(gateway, doctor, "workers_die", told, "out of memory")


def test_the_clock_is_set(gateway, doctor):
    gateway.clock.set(-3600.0)

    told = "the clock was set back by 3600 s"
    assert_told(gateway, doctor, "clock_stepped", told, "NTP")


def test_the_database_is_replaced(gateway, doctor, place):
    """The last one: nothing but another start helps."""
    assert CliRunner().invoke(main, ["backup", str(place / "older")]).exit_code == 0
    assert gateway.chat().ok

    (place / "older" / "audit.db").rename(gateway.audit)

    told = "no record can be written: its database was replaced"
    step = "Put the newest one back"
    assert_told(gateway, doctor, "audit_unavailable", told, step, 75)
