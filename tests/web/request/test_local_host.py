"""Names by which an installation without authentication may be asked."""

from dataclasses import replace

import pytest

from app.services import PerProcess
from app.web import make_app

LOCAL = [
    *("127.0.0.1", "127.0.0.1:8011", "10.1.2.3:80", "[::1]", "[::1]:8011", "::1"),
    *("localhost", "LOCALHOST:8011", "gateway", "gateway:8011", "a.localhost"),
    *("host.local", "host.docker.internal:8011", "localhost."),
]
FOREIGN = [
    "evil.example",
    "evil.example:8011",
    "127.0.0.1.evil.example",
    "a.b",
    "1.2.3",
]


@pytest.fixture
def opened(services):
    """A door without authentication."""
    return make_app(PerProcess(lambda: replace(services, keyring=None))).test_client()


@pytest.mark.parametrize("host", LOCAL)
def test_an_address_or_a_local_name_is_let_in(opened, host):
    answer = opened.get("/operator/api/whoami", headers={"Host": host})

    assert answer.status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
def test_a_name_that_can_be_bought_is_not(opened, host):
    for path in ("whoami", "records", "status"):
        answer = opened.get(f"/operator/api/{path}", headers={"Host": host})
        assert (answer.status_code, answer.json["code"]) == (403, "forbidden")
        assert "evil" not in answer.text


def test_with_authentication_any_name_will_do(client, token):
    headers = {"Host": "gateway.example", **token}

    assert client.get("/operator/api/whoami", headers=headers).status_code == 200
