"""`doctor`, on gateways with one thing wrong with each."""

import datetime
import json
import socket
import ssl
import threading

import pytest
import trustme
from click.testing import CliRunner

from app.cli import main
from tests.support.stack import Gateway, sandbox, wait_until


@pytest.fixture(scope="module")
def upstreams():
    with sandbox() as pair:
        yield pair


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstreams):
    switch, madre = upstreams
    folder = tmp_path_factory.mktemp("doctor")
    with Gateway(
        folder, workers=1, switch_url=switch.url, madre_url=madre.url
    ) as gateway:
        wait_until(lambda: gateway.upstreams_are(switch="up", madre="up"))
        yield gateway


@pytest.fixture
def doctor(gateway, monkeypatch):
    for name, value in gateway.settings.items():
        monkeypatch.setenv(f"VX11_{name}", str(value))

    def run(*words):
        return CliRunner().invoke(main, ["doctor", *words])

    return run


def test_all_is_well(doctor):
    done = doctor()

    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("All is well.\n")


def test_an_upstream_that_is_down_and_when_a_fallback_answered(
    doctor, gateway, upstreams
):
    switch = upstreams[0]
    switch.break_with("refuse")
    try:
        gateway.chat()
        wait_until(lambda: gateway.upstreams_are(switch="down", madre="up"))
        done = doctor()
        findings = json.loads(doctor("--json").stdout)
    finally:
        switch.heal()
        wait_until(lambda: gateway.upstreams_are(switch="up", madre="up"))

    assert done.exit_code == 1
    assert "gateway: switch is down: nothing listens at its address" in done.stdout
    assert "Next: Look after that upstream: start it, or mend its url" in done.stdout
    assert "warn gateway" in done.stdout
    records = next(f for f in findings if f["part"] == "records")
    assert "by a fallback from" in records["words"]


def test_a_broken_file_of_settings_hides_nothing_else(doctor, monkeypatch, tmp_path):
    config = tmp_path / "gateway.toml"
    config.write_text("threads = = 3\n")
    monkeypatch.setenv("VX11_CONFIG", str(config))

    done = doctor()

    assert done.exit_code == 1
    assert "warn settings" in done.stdout
    assert "ok   gateway       well since" in done.stdout
    assert CliRunner().invoke(main, ["status"]).exit_code == 0


def test_no_gateway_answers(doctor, monkeypatch):
    monkeypatch.setenv("VX11_OPERATOR_URL", "http://127.0.0.1:1")

    done = doctor()

    assert done.exit_code == 75
    assert "Next: Start it" in done.stdout


def test_a_token_that_is_not_taken(doctor, monkeypatch):
    monkeypatch.setenv("VX11_TENTACULO_LINK_TOKEN", "another-token")

    done = doctor()

    assert done.exit_code == 1
    assert "Next: Show it a token that it takes." in done.stdout


@pytest.fixture
def front_door():
    """A server that shows a certificate of so many days."""
    doors = []

    def open_door(days):
        ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1", not_after=ends).configure_cert(context)
        listener = socket.create_server(("127.0.0.1", 0))
        doors.append(listener)
        threading.Thread(target=serve, args=(listener, context), daemon=True).start()
        return f"https://127.0.0.1:{listener.getsockname()[1]}"

    def serve(listener, context):
        while True:
            try:
                connection, _ = listener.accept()
                with context.wrap_socket(connection, server_side=True) as tls:
                    tls.recv(1)
            except ssl.SSLError:
                continue
            except OSError:
                return

    yield open_door
    for listener in doors:
        listener.close()


@pytest.mark.parametrize(
    ("days", "code", "words"),
    [(90, 0, "ok   front door"), (3, 1, "warn front door"), (-1, 75, "has expired")],
)
def test_the_certificate_of_the_front_door(doctor, front_door, days, code, words):
    done = doctor("--front-door", front_door(days))

    assert (done.exit_code, words in done.stdout) == (code, True), done.stdout
