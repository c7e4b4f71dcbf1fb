"""A backend is one class and one entry of BACKENDS: a gateway keeps no file but it."""

import pytest

from app.gateway.records.audit import Query
from app.services import PerProcess
from app.settings import Settings, SettingsError
from app.storage.trail import BACKENDS
from app.web import make_app
from app.wiring import build_services
from app.wiring.parts import audit
from tests.support.memory_audit import MemoryBackend
from tests.support.stack import wait_until

TOKEN = "a-token-for-tests"
NOBODY = "http://127.0.0.1:1"


def settings(**changes):
    facts = {"audit_url": "memory:", "switch_url": NOBODY, "madre_url": NOBODY}
    return Settings(token=TOKEN, **facts | changes)


def test_a_gateway_runs_on_a_backend_that_has_no_file(tmp_path):
    memory = MemoryBackend()
    services = build_services(
        settings(state_dir=tmp_path),
        backends={**BACKENDS, "memory": lambda url, key: memory},
    )
    client = make_app(PerProcess(lambda: services)).test_client()
    headers = {"X-VX11-Token": TOKEN}

    answer = client.post(
        "/operator/api/chat", json={"message": "Hello"}, headers=headers
    )

    (record,) = services.records.search(Query(outcome="failed"))
    assert answer.headers["X-Correlation-ID"] == record.correlation_id
    found = client.get(f"/operator/api/records/{record.id}", headers=headers)
    assert found.status_code == 200
    wait_until(lambda: b"gateway_audit_unavailable 0" in services.metrics_page())
    assert b"\ngateway_audit_wal_bytes" not in services.metrics_page()
    services.close()
    assert memory.verify().ok
    assert not [*tmp_path.rglob("*.db*")]


def test_an_instance_without_a_folder_of_its_records_has_to_name_one():
    with pytest.raises(SettingsError, match="VX11_STATE_DIR: must be set"):
        build_services(settings(), backends={"memory": MemoryBackend})


@pytest.mark.parametrize("url", ["mysql://u:secret@h/db", "sqlite:///:memory:"])
def test_a_url_that_no_backend_takes_is_told_and_not_repeated(url):
    with pytest.raises(SettingsError, match="VX11_AUDIT_URL: must be") as told:
        audit(settings(audit_url=url))

    assert "secret" not in str(told.value)


def test_hosts_that_share_records_are_given_their_key():
    with pytest.raises(SettingsError, match="VX11_AUDIT_KEY: must be set"):
        audit(settings(audit_url="postgresql://u:secret@h/db"))


@pytest.mark.parametrize("url", ["postgresql://", "postgresql://h", "postgresql://[/d"])
def test_a_url_of_no_database_is_told(url):
    with pytest.raises(SettingsError, match="VX11_AUDIT_URL: must be postgresql://"):
        audit(settings(audit_url=url, audit_key="a key of sixteen letters"))
