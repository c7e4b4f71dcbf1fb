import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
from werkzeug.test import EnvironBuilder

from app.gateway import tracing
from app.services import PerProcess
from app.web import make_app

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SHOWN = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def ask(client, token):
    def asking(traceparent):
        answer = client.post(
            "/operator/api/chat",
            json={"message": "Hi"},
            headers=token | {"traceparent": traceparent},
        )
        return answer.headers["traceparent"]

    return asking


def test_an_answer_names_our_span_of_the_callers_trace(ask):
    first, second = ask(SHOWN), ask(SHOWN)

    assert first.startswith(f"00-{TRACE}-")
    assert len({first, second, SHOWN}) == 3


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/operator/api/chat"])
def test_every_answer_has_one(client, path):
    assert client.get(path).headers["traceparent"].endswith("-00")


def test_a_malformed_one_is_replaced_and_never_reflected(ask):
    assert TRACE not in ask(f"{SHOWN},evil")


def test_nothing_of_it_is_left_when_the_answer_is_out(client):
    client.get("/health", headers={"traceparent": SHOWN}).close()

    assert tracing.current.get() is None
    assert TRACE not in client.get("/health").headers["traceparent"]


class TestStrangers:
    """Whoever shows no valid token learns nothing of a secret by what comes back."""

    ASKED = (
        ("GET", "/health", {}),
        ("GET", "/nowhere", {}),
        ("GET", "/operator/api/status", {}),
        ("GET", "/operator/api/status", {"X-VX11-Token": "wrong"}),
        ("POST", "/v1/chat/completions", {"Authorization": "Bearer wrong"}),
    )

    @pytest.mark.parametrize(("method", "path", "headers"), ASKED)
    def test_nothing_that_they_show_is_compared_with_a_secret(
        self, services, method, path, headers
    ):
        compared = []
        spied = replace(services, holds_secret=lambda text: bool(compared.append(text)))
        client = make_app(PerProcess(lambda: spied)).test_client()
        ids = {"X-Correlation-ID": "mine", "tracestate": "a=mine", "traceparent": SHOWN}

        answer = client.open(path, method=method, headers=headers | ids)

        assert compared == []
        assert answer.headers["X-Correlation-ID"] != "mine"


def test_ids_cannot_be_foretold(client):
    """The ids of a seeded generator are given away by those that it gave before."""
    random.seed(1)
    first = client.get("/health").headers
    random.seed(1)
    second = client.get("/health").headers

    assert first["traceparent"] != second["traceparent"]
    assert first["X-Correlation-ID"] != second["X-Correlation-ID"]


def test_an_answer_that_nobody_closed_leaves_its_trace_to_no_other_request(services):
    """What comes in by the metrics' address has no trace of its own."""
    bound = replace(services, metrics_bind="127.0.0.1:9")
    app = make_app(PerProcess(lambda: bound))
    unclosed = app.wsgi_app(environ(traceparent=SHOWN), lambda *_: lambda _: None)
    assert tracing.current.get() is not None
    connection = SimpleNamespace(family=None, getsockname=lambda: ("127.0.0.1", 9))
    seen = []

    apart = app.wsgi_app(
        environ(connection), lambda *_: seen.append(tracing.current.get())
    )
    list(apart)

    assert seen == [None]
    unclosed.close()


def environ(connection=None, traceparent=""):
    return EnvironBuilder(
        path="/metrics",
        headers={"traceparent": traceparent},
        environ_overrides={"gunicorn.socket": connection},
    ).get_environ()


def test_a_new_one_is_kept_where_somebody_keeps_traces(services):
    app = make_app(PerProcess(lambda: replace(services, traces=True)))

    assert app.test_client().get("/health").headers["traceparent"].endswith("-01")
