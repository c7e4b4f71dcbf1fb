"""Pages of other origins: who may ask, and what is told before a token is shown."""

from dataclasses import replace

import pytest

from app.services import PerProcess
from app.web import make_app

PAGE = "http://app.local:5173"
DOORS = ["/operator/api/chat", "/v1/chat/completions", "/v1/responses"]
HEADERS = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
}


@pytest.fixture
def client_of(services):
    def client_of(*origins):
        allowing = replace(services, cors_origins=frozenset(origins))
        return make_app(PerProcess(lambda: allowing)).test_client()

    return client_of


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("origins", [{PAGE}, {"*"}, {PAGE, "http://other"}])
def test_a_preflight_of_an_allowed_origin_is_answered_without_a_token(
    client_of, door, origins
):
    answer = client_of(*origins).options(door, headers=HEADERS)

    assert (answer.status_code, answer.data) == (204, b"")
    told = answer.headers
    assert told["Access-Control-Allow-Origin"] == PAGE
    assert told["Access-Control-Allow-Methods"] == "POST"
    assert (
        told["Access-Control-Allow-Headers"]
        == (HEADERS["Access-Control-Request-Headers"])
    )
    assert told["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in told


def test_a_pages_request_still_needs_its_token(client_of, token):
    client = client_of(PAGE)

    refused = client.get("/v1/models", headers={"Origin": PAGE})
    answer = client.get("/v1/models", headers=token | {"Origin": PAGE})

    assert (refused.status_code, answer.status_code) == (401, 200)
    for told in (refused.headers, answer.headers):  # the page may read either
        assert told["Access-Control-Allow-Origin"] == PAGE
        assert "X-Gateway-Audit-Id" in told["Access-Control-Expose-Headers"]


def test_a_stream_may_be_read_too(client_of, token):
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}

    answer = client_of(PAGE).post(DOORS[1], json=body, headers=token | {"Origin": PAGE})

    assert answer.mimetype == "text/event-stream"
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE


@pytest.mark.parametrize(
    ("origins", "path", "headers"),
    [
        ((), DOORS[1], {}),
        (("http://other",), DOORS[1], {}),
        ((PAGE,), DOORS[1], {"Origin": PAGE + "0"}),
        ((PAGE,), DOORS[1], {"Access-Control-Request-Method": None}),
        ((PAGE,), "/operator/api/records", {}),
        ((PAGE,), "/metrics", {}),
    ],
)
def test_nobody_else_is_told_anything(client_of, origins, path, headers):
    sent = {k: v for k, v in (HEADERS | headers).items() if v is not None}

    answer = client_of(*origins).options(path, headers=sent)

    assert answer.status_code == 405
    assert answer.headers["Allow"]
    assert "Access-Control-Allow-Methods" not in answer.headers


def test_names_of_headers_that_are_none_are_not_repeated(client_of):
    odd = HEADERS | {"Access-Control-Request-Headers": "x<script>, y"}

    answer = client_of(PAGE).options(DOORS[1], headers=odd)

    assert answer.status_code == 204
    assert "Access-Control-Allow-Headers" not in answer.headers
