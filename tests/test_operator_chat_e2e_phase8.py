"""The operator backend's end-to-end tests, against any running installation.

    VX11_OPERATOR_URL      the gateway itself       (default http://localhost:8011)
    VX11_TENTACULO_URL     the front door           (default http://localhost:8000)
    VX11_TENTACULO_LINK_TOKEN   the token

With none of the URLs set, the tests start an installation of their own: real
gunicorn behind real nginx, with switch up and with switch down.
"""

import os
import time
import uuid

import pytest
import requests

from tests.support.stack import TOKEN, FrontDoor, Gateway, sandbox

OPERATOR_URL = os.environ.get("VX11_OPERATOR_URL")
TENTACULO_URL = os.environ.get("VX11_TENTACULO_URL")
LINK_TOKEN = os.environ.get("VX11_TENTACULO_LINK_TOKEN")
IS_FOREIGN = bool(OPERATOR_URL or TENTACULO_URL)

FIELDS = {
    "response": str,
    "model_used": str,
    "latency_ms": (int, float),
    "correlation_id": str,
    "session_id": str,
    "provider": str,
    "status": str,
    "degraded": bool,
}


@pytest.fixture(scope="module", params=["switch up", "switch down"])
def installation(request, tmp_path_factory):
    """(url by door, token); a foreign installation is taken as it is."""
    if IS_FOREIGN:
        if request.param == "switch down":
            pytest.skip("a foreign installation is tested in the state it is in")
        yield (
            {
                "direct": OPERATOR_URL or "http://localhost:8011",
                "front door": TENTACULO_URL or "http://localhost:8000",
            },
            LINK_TOKEN,
        )
        return
    folder = tmp_path_factory.mktemp("installation")
    with sandbox() as (switch, madre):
        urls = {"switch_url": switch.url, "madre_url": madre.url}
        if request.param == "switch down":
            switch.stop()
        with Gateway(folder, **urls) as gateway, FrontDoor(folder, gateway) as door:
            yield {"direct": gateway.url, "front door": door.url}, TOKEN


@pytest.fixture(params=["direct", "front door"])
def base_url(request, installation):
    return installation[0][request.param]


@pytest.fixture
def token(installation):
    return installation[1]


def _get_correlation_id():
    return f"e2e-{uuid.uuid4()}"


def _get_headers(token, correlation_id=None):
    headers = {"X-VX11-Token": token, "Content-Type": "application/json"}
    if correlation_id:
        headers["X-Correlation-ID"] = correlation_id
    return headers


def _post(base_url, body, headers):
    return requests.post(
        f"{base_url}/operator/api/chat", json=body, headers=headers, timeout=60
    )


class TestOperatorChatE2E:
    def test_01_chat_through_tentaculo_requires_token(self, base_url):
        answer = _post(base_url, {"message": "hola"}, {})

        assert answer.status_code in (401, 403)
        assert isinstance(answer.json(), dict)

    def test_01b_chat_through_tentaculo_with_token(self, base_url, token):
        answer = _post(base_url, {"message": "hola"}, _get_headers(token))

        assert answer.status_code == 200
        assert answer.json()["response"].strip()

    def test_02_chat_fallback_to_madre_when_switch_offline(self, base_url, token):
        body = _post(base_url, {"message": "hola"}, _get_headers(token)).json()

        assert body["provider"] in ("switch", "madre", "local")
        assert body["degraded"] is (body["provider"] == "madre")
        assert body["status"] == ("degraded" if body["degraded"] else "ok")

    def test_03_correlation_id_propagation_full_chain(self, base_url, token):
        mine = _get_correlation_id()

        answer = _post(
            base_url,
            {"message": "hola", "correlation_id": mine},
            _get_headers(token, mine),
        )

        assert answer.json()["correlation_id"] == mine
        assert answer.headers["X-Correlation-ID"] == mine

    def test_04_response_schema_validation(self, base_url, token):
        body = _post(base_url, {"message": "hola"}, _get_headers(token)).json()

        assert set(FIELDS) <= set(body)
        for field, kind in FIELDS.items():
            assert isinstance(body[field], kind), field

    def test_05_full_e2e_chat_flow_integration(self, base_url, token):
        session, mine = f"session-{uuid.uuid4()}", _get_correlation_id()
        asked = {
            "message": "¿Cuál es el estado del sistema?",
            "session_id": session,
            "context": {"source": "e2e"},
            "metadata": {"task_type": "chat"},
        }

        health = requests.get(f"{base_url}/operator/api/health", timeout=10).json()
        first = _post(base_url, asked, _get_headers(token, mine)).json()
        second = _post(
            base_url, asked | {"message": "Gracias"}, _get_headers(token)
        ).json()

        assert health["status"] == "ok"
        assert first["session_id"] == second["session_id"] == session
        assert first["correlation_id"] == mine != second["correlation_id"]


@pytest.mark.slow
class TestOperatorChatStress:
    def test_chat_stress_sequential(self, base_url, token):
        started, slowest = time.monotonic(), 0.0

        for n in range(50):
            body = _post(
                base_url, {"message": f"mensaje {n}"}, _get_headers(token)
            ).json()
            assert body["status"] in ("ok", "degraded")
            slowest = max(slowest, body["latency_ms"])

        assert time.monotonic() - started < 60
        assert slowest < 5000
