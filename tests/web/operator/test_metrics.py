import socket
from dataclasses import replace

import pytest

from app.gateway.access.tokens import Caller, Keyring, Token
from app.services import PerProcess
from app.web import make_app
from tests.web.conftest import TOKEN

WATCHER = "a-token-of-prometheus"


@pytest.fixture
def measured(services):
    watcher = Caller("prometheus", scopes=frozenset({"metrics"}))
    keyring = Keyring([Token.of(Caller("operator"), TOKEN), Token.of(watcher, WATCHER)])
    return replace(services, keyring=keyring, metrics_page=lambda: b"a 1.0\n")


def client_of(services):
    return make_app(PerProcess(lambda: services)).test_client()


@pytest.fixture
def listener():
    """A connection that came in by the address of the metrics."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
        server.accept()[0] as connection,
    ):
        yield connection


def test_a_token_with_the_scope_is_shown_the_page(measured):
    answer = client_of(measured).get("/metrics", headers={"X-VX11-Token": WATCHER})

    assert (answer.status_code, answer.data) == (200, b"a 1.0\n")
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"


def test_without_a_token_or_the_scope_it_is_not(measured):
    chatter = Caller("chatter", scopes=frozenset({"chat"}))
    keyring = Keyring([Token.of(chatter, TOKEN)])
    client = client_of(replace(measured, keyring=keyring))

    assert client.get("/metrics").status_code == 401
    shown = {"X-VX11-Token": TOKEN}
    assert client.get("/metrics", headers=shown).status_code == 403


def test_where_nothing_is_measured_the_scrape_fails(services, token):
    answer = client_of(services).get("/metrics", headers=token)

    assert (answer.status_code, answer.json["code"]) == (503, "metrics_unavailable")


def test_an_address_of_its_own_needs_no_token_and_has_nothing_else(measured, listener):
    here = f"127.0.0.1:{listener.getsockname()[1]}"
    client = client_of(replace(measured, metrics_bind=here))
    environ = {"gunicorn.socket": listener}

    assert client.get("/metrics", environ_overrides=environ).data == b"a 1.0\n"
    for path in ("/health", "/operator/api/status", "/operator/", "/metrics/x"):
        assert client.get(path, environ_overrides=environ).status_code == 404
    chat = {"path": "/operator/api/chat", "json": {"message": "Hi"}}
    shown = {"X-VX11-Token": TOKEN}
    answer = client.post(**chat, headers=shown, environ_overrides=environ)
    assert answer.status_code == 404


def test_the_address_is_told_by_the_connection_and_not_by_a_header(measured, listener):
    client = client_of(replace(measured, metrics_bind="127.0.0.1:9"))

    answer = client.get(
        "/metrics",
        headers={"Host": "127.0.0.1:9", "X-Forwarded-Port": "9"},
        environ_overrides={"gunicorn.socket": listener},
    )

    assert answer.status_code == 401


def test_it_may_be_a_socket_file(measured, tmp_path):
    path = str(tmp_path / "metrics.sock")
    with (
        socket.socket(socket.AF_UNIX) as server,
        socket.socket(socket.AF_UNIX) as caller,
    ):
        server.bind(path)
        server.listen()
        caller.connect(path)
        connection, _ = server.accept()
        with connection:
            client = client_of(replace(measured, metrics_bind=f"unix:{path}"))
            environ = {"gunicorn.socket": connection}
            page = client.get("/metrics", environ_overrides=environ)

    assert page.status_code == 200
