"""Faults switched on and off over HTTP, as the console does it."""

import pytest
import requests

from sandbox.faults import CATALOGUE
from sandbox.server import SandboxServer
from sandbox.wire import Request


@pytest.fixture
def control(switch):
    def call(method, path="/sandbox/fault", *, at=switch.url, **options):
        return requests.request(method, at + path, timeout=5, **options)

    return call


def test_no_fault_is_null(control):
    assert control("GET").json() == {"fault": None}


def test_a_fault_is_switched_on_shown_and_off_again(control, switch, connect):
    wish = {"fault": "slow", "times": 3, "path": "/health", "params": {"seconds": 1}}

    shown = control("POST", json=wish).json()

    assert shown == control("GET").json() == wish
    assert control("DELETE").json() == {"fault": None}
    assert control("GET").json() == {"fault": None}


@pytest.mark.parametrize("method", ["POST", "DELETE", "GET"])
@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
def test_a_page_in_a_browser_is_refused(control, method, kind):
    headers = {"Origin": "http://elsewhere.example", "Content-Type": kind}

    refused = control(method, data='{"fault": "slow"}', headers=headers)

    assert refused.status_code == 403
    assert control("GET").json() == {"fault": None}


def test_the_parameters_left_out_are_shown_with_their_defaults(control):
    shown = control("POST", json={"fault": "rate_limited"}).json()

    assert shown["params"] == {"retry_after": "3600"}
    assert (shown["path"], shown["times"]) == ("/switch/chat", None)


def test_a_fault_set_over_http_breaks_the_chat(control, switch, connect):
    control("POST", json={"fault": "http_status", "params": {"status": 503}})
    client = connect(switch)
    client.chat()

    assert client.answer()[0].startswith("HTTP/1.1 503")


@pytest.mark.parametrize(
    "wish",
    [
        [],
        {},
        {"fault": 7},
        {"fault": "no_such_fault"},
        {"fault": "hang", "times": 0},
        {"fault": "hang", "times": "3"},
        {"fault": "hang", "times": True},
        {"fault": "hang", "path": 7},
        {"fault": "hang", "params": []},
        {"fault": "hang", "params": {"unknown": 1}},
        {"fault": "slow", "params": {"seconds": "long"}},
        {"fault": "slow", "params": {"seconds": True}},
        {"fault": "deep_json", "params": {"depth": 1.5}},
        {"fault": "refuse", "times": 2},
        {"fault": "hang", "surprise": 1},
    ],
)
def test_a_wish_that_makes_no_sense_is_422_and_changes_nothing(control, wish):
    answer = control("POST", json=wish)

    assert answer.status_code == 422
    assert answer.json()["detail"]
    assert control("GET").json() == {"fault": None}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 200_000])
def test_a_wish_that_is_no_json_is_422(control, body):
    assert control("POST", data=body).status_code == 422


def test_the_catalogue_tells_name_sentence_rows_and_defaults(control):
    faults = {f["name"]: f for f in control("GET", "/sandbox/faults").json()["faults"]}

    assert faults.keys() == CATALOGUE.keys()
    assert faults["slow"] == {
        "name": "slow",
        "sentence": "A proper answer, but late.",
        "rows": [33],
        "params": {"seconds": 2.0},
        "everywhere": False,
    }


def test_other_methods_and_paths_are_405_and_404(control):
    assert control("PUT").status_code == 405
    assert control("GET", "/sandbox/other").status_code == 404


@pytest.mark.parametrize("fault", ["frozen", "close_at_once", "http_status"])
def test_no_fault_breaks_the_control_api(control, switch, fault):
    switch.break_with(fault, path="*")

    assert control("GET").json()["fault"] == fault
    assert control("DELETE").ok


@pytest.mark.parametrize("fault", ["refuse", "blackhole"])
def test_the_side_door_heals_what_no_longer_accepts(control, switch, fault):
    assert control("POST", json={"fault": fault}).json()["fault"] == fault

    assert control("DELETE", at=switch.control_url).json() == {"fault": None}
    assert control("GET").json() == {"fault": None}


def test_the_side_door_serves_nothing_else(switch):
    assert requests.get(switch.control_url + "/health", timeout=5).status_code == 404


def test_the_control_api_is_not_on_record(control, switch):
    control("GET")

    assert switch.requests == []


@pytest.mark.parametrize("peer", ["10.0.0.1", "192.168.1.7", "8.8.8.8"])
def test_to_a_stranger_the_control_api_does_not_exist(switch, peer):
    request = Request("GET", "/sandbox/fault", [], b"", 1)

    assert switch._control.answer(request, peer).status == 404
    assert switch._control.answer(request, "127.0.0.1").status == 200


def test_madre_has_the_same_control_api(madre):
    wish = {"fault": "waiting"}
    shown = requests.post(madre.url + "/sandbox/fault", json=wish, timeout=5).json()

    assert shown["path"] == "/madre/chat"
    assert isinstance(madre, SandboxServer)
