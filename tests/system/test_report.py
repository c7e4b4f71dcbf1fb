"""The outages of the fault matrix, played on real connections: all are explained."""

import time

import pytest

from app import create_app
from app.gateway.evidence.reporting import report
from app.settings import Settings
from tests.support.stack import TOKEN, sandbox, wait_until

# One after the other, so that circuits open and verdicts turn as they would at night.
PLAYED = [
    ("refuse", {}, "connect_refused"),
    ("close_at_once", {}, "reset"),
    ("short_content_length", {}, "truncated"),
    ("close_mid_header", {}, "empty_body"),
    ("html", {}, "bad_content_type"),
    ("not_json", {}, "bad_json"),
    ("status_error", {}, "upstream_error"),
    ("reply_null", {}, "schema"),
    ("bad_utf8", {}, "bad_encoding"),
    ("redirect", {}, "redirect"),
    ("http_status", {"status": 503}, "http_5xx"),
    ("rate_limited", {}, "rate_limited"),
    ("unauthorized", {"status": 401}, "upstream_auth"),
    ("hang", {}, "read_timeout"),
]


@pytest.fixture
def upstreams():
    with sandbox() as (switch, madre):
        yield switch, madre


@pytest.fixture
def gateway(upstreams, tmp_path):
    switch, madre = upstreams
    app = create_app(
        Settings(
            token=TOKEN,
            switch_url=switch.url,
            madre_url=madre.url,
            switch_timeout=0.5,
            madre_timeout=0.5,
            chat_deadline=1.5,
            audit_url=f"sqlite:///{tmp_path}/audit.db",
        )
    )
    services = app.extensions["gateway"]()
    wait_until(lambda: all(map(services.health.verdict, services.upstreams)))
    yield app.test_client(), services
    services.close()


def asked(client, times):
    """Ask so many times; the last answer."""
    for _ in range(times):
        answer = client.post(
            "/operator/api/chat",
            json={"message": "Hello"},
            headers={"X-VX11-Token": TOKEN},
        )
    return answer


def test_every_chat_of_every_outage_is_explained(gateway, upstreams):
    client, services = gateway
    switch, _ = upstreams
    since = time.time() - 1
    asked(client, 2)
    for fault, params, _ in PLAYED:
        switch.break_with(fault, **params)
        asked(client, 3)
    for upstream in upstreams:
        upstream.break_with("refuse")
    asked(client, 5)
    for upstream in upstreams:
        upstream.heal()
    wait_until(lambda: services.health.verdict("switch").is_healthy)

    now = time.time() + 1
    made = report(services.evidence, since, now, now=now)

    windows = {window.kind: window for window in made.windows}
    assert made.chats == 2 + 3 * len(PLAYED) + 5
    assert windows["degraded"].chats == 3 * len(PLAYED)
    assert windows["unanswered"].chats == 5
    assert [share.word for share in made.windows[0].causes] != []
    assert made.unexplained == 0
    known = services.activity.windows(since, 10)
    assert {(one.kind, one.chats) for one in known} == {
        (one.kind, one.chats) for one in made.windows
    }


def test_the_causes_are_those_that_were_injected(gateway, upstreams):
    client, services = gateway
    switch, _ = upstreams
    for fault, params, recorded in PLAYED[2:8]:
        switch.heal()
        wait_until(lambda: asked(client, 1).json["provider"] == "switch")
        since = time.time()
        switch.break_with(fault, **params)
        asked(client, 1)
        now = time.time() + 1
        made = report(services.evidence, since, now, now=now)

        assert [cause.word for cause in made.bad_minutes[-1].causes] == [recorded]
        assert made.unexplained == 0
