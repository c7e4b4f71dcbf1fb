from dataclasses import replace

import pytest

from app.cli.shown.hosts import hosts_of
from app.gateway.access.hosts import SharingHost
from app.gateway.access.tokens import ALL_SCOPES, Caller, Keyring, Token
from app.gateway.budget import Budget
from app.gateway.chain.admission_queue import AdmissionQueue, HostLoad, Limits, Load
from app.gateway.chat import Priority
from app.gateway.errors import Refused
from app.gateway.guard.health import HealthBoard
from app.gateway.shared import InProcessState
from app.services import PerProcess
from app.web import make_app
from tests.support.fakes import a_guard, a_request
from tests.web.conftest import TOKEN


def test_health_needs_no_token(client):
    body = client.get("/health").json

    assert (body["ok"], body["status"], body["module"]) == (True, "ok", "operator")
    assert {"version", "timestamp"} <= set(body)


def test_operator_health_speaks_the_words_of_the_backend(client):
    body = client.get("/operator/api/health").json

    assert (body["status"], body["service"]) == ("ok", "operator_backend")


def test_readiness_follows_the_audit(client, trail):
    assert client.get("/readyz").status_code == 200

    trail.is_down = True
    answer = client.get("/readyz")

    assert (answer.status_code, answer.json["code"]) == (503, "audit_unavailable")


def test_only_who_has_a_token_is_told_why_the_audit_is_down(client, trail, token):
    trail.is_down = True

    assert "down" not in client.get("/readyz").text
    status = client.get("/operator/api/status", headers=token).json
    assert status["audit"] == "down"


def test_status_needs_a_token(client):
    assert client.get("/operator/api/status").status_code == 401


def test_status_has_both_shapes_in_one_object(client, token, health):
    health.note("switch", "read_timeout")

    body = client.get("/operator/api/status", headers=token).json

    assert body["ok"] is True
    both = {k for k in body["data"] if k in body}
    assert both == {
        "status",
        "degraded",
        "policy",
        "routing",
        "core_services",
        "timestamp",
    }
    assert {k: body[k] for k in both} == {k: body["data"][k] for k in both}
    assert body["routing"] == {"order": ["switch", "madre"], "deadline_s": 36.0}
    assert body["core_services"]["switch"] == {
        "status": "down",
        "reason": "read_timeout",
    }
    assert body["core_services"]["madre"]["status"] == "unknown"


def test_status_names_the_hosts_that_write_the_same_records(services, token):
    there = SharingHost("b", "/var/lib/b", "8.1.0", 2, 3, 0.0, ("version", "tokens"))
    gone = SharingHost("c", "/var/lib/c", "8.0.0", 0, 1, 75.0, ())
    several = replace(services, hosts=lambda: (there, gone))
    client = make_app(PerProcess(lambda: several)).test_client()

    status = client.get("/operator/api/status", headers=token).json

    assert status["hosts"] == [
        one._asdict() | {"differences": list(one.differences)} for one in (there, gone)
    ]
    assert list(hosts_of(status)) == [
        "host b: 2 workers, version 8.1.0, other than here: version, tokens",
        "host c: none of its workers lives, since 75 s",
    ]


def test_status_has_what_the_pages_of_the_operator_backend_read(
    services, token, health
):
    ours = replace(services, ports={"switch": 8002, "madre": 8001})
    client = make_app(PerProcess(lambda: ours)).test_client()
    health.note("switch", None)
    headers = token | {"X-Correlation-ID": "c-9"}

    data = client.get("/operator/api/status", headers=headers).json["data"]

    assert data["correlation_id"] == "c-9"
    assert (data["status"], data["operational_mode"]) == ("ok", "full")
    assert data["dormant_services"] == []
    assert data["modules"] == {
        "switch": {"status": "running", "port": 8002},
        "madre": {"status": "unknown", "port": 8001},
    }


@pytest.mark.parametrize(
    ("down", "policy", "is_degraded"),
    [
        ((), "full", False),
        (("switch",), "solo_madre", True),
        (("madre",), "operative_core", True),
        (("switch", "madre"), "operative_core", True),
    ],
)
def test_the_policy_is_a_word_for_what_would_be_asked(
    client, token, health, down, policy, is_degraded
):
    for name in down:
        health.note(name, "read_timeout")

    body = client.get("/operator/api/status", headers=token).json

    assert (body["policy"], body["degraded"]) == (policy, is_degraded)
    assert body["status"] == "ok"


def test_one_that_is_never_probed_is_neither_up_nor_down(services, token):
    board = HealthBoard(InProcessState(), unprobed=("switch",))
    client = make_app(PerProcess(lambda: replace(services, health=board))).test_client()

    known = client.get("/operator/api/status", headers=token).json["core_services"]

    assert known["switch"] == {"status": "unprobed", "reason": "not probed"}
    assert known["madre"]["status"] == "unknown"


class TestObstacles:
    """What would keep a chat from being asked, and for how long."""

    @pytest.fixture
    def shown(self, services, token, health):
        """The status of an upstream that has done something."""

        def shown(upstream, **options):
            guard = a_guard(upstream, health, **options)
            ours = replace(services, guards={upstream.name: guard})
            client = make_app(PerProcess(lambda: ours)).test_client()

            def state():
                status = client.get("/operator/api/status", headers=token).json
                return status["core_services"][upstream.name]

            return guard, state

        return shown

    def test_one_that_rests_says_so_although_it_is_up(self, shown, switch, clock):
        guard, state = shown(switch, clock=clock)
        switch.fail(Refused("rate_limited", retry_after=40))
        with pytest.raises(Refused):
            guard.open(a_request(), Budget(36, clock=clock))

        assert state()["breaker"] == "closed"
        assert state()["obstacle"] == {"reason": "resting", "for_s": 40.0}

    def test_one_that_is_full_tells_its_calls(self, shown, madre):
        guard, state = shown(madre, cap=1)
        assert "obstacle" not in state()

        with guard.open(a_request(), Budget(36)):
            assert state()["obstacle"] == {"reason": "no_slot"}
            assert state()["calls"] == {"running": 1, "limit": 1}

    def test_one_that_is_out_is_passed_over(self, shown, switch, health):
        _, state = shown(switch)
        health.note("switch", "read_timeout")

        assert state()["obstacle"] == {"reason": "unhealthy"}


class TestAdmission:
    LIMITS = Limits(slots=4, queue=2, wait=3, streams=3)

    def admission(self, services, token, **known):
        gate = AdmissionQueue(self.LIMITS)
        gate.enter(Priority.HIGH)
        ours = replace(services, gate=gate, **known)
        client = make_app(PerProcess(lambda: ours)).test_client()
        return client.get("/operator/api/status", headers=token).json["admission"]

    def test_it_is_that_of_all_workers_together(self, services, token):
        host = HostLoad(workers=2, slots=8, load=Load(busy=5, waiting=1, streams=2))

        assert self.admission(services, token, host_load=lambda: host) == {
            "scope": "host",
            "workers": 2,
            "busy": 5,
            "slots": 8,
            "waiting": 1,
            "queue": 4,
            "streams": 2,
            "stream_slots": 6,
        }

    def test_without_metrics_it_is_this_workers_and_says_so(self, services, token):
        told = self.admission(services, token)

        assert (told["scope"], told["workers"]) == ("worker", 1)
        assert (told["busy"], told["slots"]) == (1, 4)


@pytest.mark.parametrize("scope", sorted(ALL_SCOPES))
def test_every_valid_token_may_ask_who_it_is(services, scope):
    holder = Caller("night-audit", frozenset({scope}), Priority.LOW)
    keyring = Keyring([Token.of(holder, TOKEN)])
    client = make_app(
        PerProcess(lambda: replace(services, keyring=keyring))
    ).test_client()

    told = client.get("/operator/api/whoami", headers={"X-VX11-Token": TOKEN})

    assert told.json == {"name": "night-audit", "scopes": [scope], "class": "low"}
    assert client.get("/operator/api/whoami").status_code == 401
    wrong = {"X-VX11-Token": "a-wrong-token"}
    assert client.get("/operator/api/whoami", headers=wrong).status_code == 403
