"""What the records prove, over HTTP."""

import json
from dataclasses import replace
from time import time

import pytest

from app.gateway.records.events import Events
from app.services import PerProcess
from app.storage.evidence.reader import EvidenceReader
from app.storage.trail import open_backend
from app.web import make_app
from tests.storage.making import a_closing, an_intent, until

REPORT, ANCHOR = "/operator/api/report", "/operator/api/anchor"
FAILED = json.dumps(
    [
        {"upstream": "switch", "fault": "connect_refused", "duration": 0.1},
        {"upstream": "madre", "fault": None, "duration": 0.1},
    ]
)


@pytest.fixture
def backend(tmp_path):
    return open_backend(f"sqlite:///{tmp_path}/audit.db")


@pytest.fixture
def trail(backend):
    trail = backend.trail()
    trail.start()
    yield trail
    trail.close()


@pytest.fixture
def api(services, backend, trail, token):
    records = backend.records()
    known = replace(services, records=records, evidence=EvidenceReader(records))
    client = make_app(PerProcess(lambda: known)).test_client()

    def get(path, **query):
        return client.get(path, query_string=query, headers=token)

    return get


@pytest.fixture
def a_bad_chat(trail):
    intent = an_intent(decision='{"order":["switch","madre"],"class":"normal"}')
    closing = a_closing(
        provider="madre", degraded_by="connect_refused", attempts=FAILED
    )
    trail.finish(intent, closing, 10.0)
    return intent


def test_the_last_day_is_reported_with_its_causes(api, a_bad_chat):
    answer = api(REPORT)

    body = answer.json
    assert (answer.status_code, body["chats"], body["degraded"]) == (200, 1, 1)
    (window,) = body["windows"]
    assert window["causes"][0] | {"at": 0} == {
        "kind": "fault",
        "upstream": "switch",
        "word": "connect_refused",
        "at": 0,
        "chats": 1,
        "sentence": "switch refused the connection",
    }
    (minute,) = body["minutes"]
    assert (minute["answered_by"], minute["p50"]) == ({"madre": 1}, 0.25)
    assert body["unexplained"] == 0


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"since": "nonsense"}, "since"),
        ({"until": "1e99"}, "until"),
        ({"other": 1}, "other"),
    ],
)
def test_a_time_that_cannot_be_reported_on_is_named(api, query, field):
    answer = api(REPORT, **query)

    assert answer.status_code == 422
    assert field in json.dumps(answer.json["errors"])


@pytest.mark.parametrize(
    ("since", "until", "told"),
    [(10, 5, (5, 5)), (0, 8 * 86400, (86400, 8 * 86400)), (3, 9, (3, 9))],
)
def test_the_last_seven_days_of_a_longer_time_are_reported(api, since, until, told):
    body = api(REPORT, since=since, until=until).json

    assert (body["since"], body["until"]) == told


def test_a_head_of_the_report_is_an_anchor(api, a_bad_chat, trail):
    (head,) = api(REPORT).json["heads"]
    trail.finish(an_intent(), a_closing(), 10.0)

    assert api(ANCHOR, head=head).json == {"state": "there"}
    assert api(ANCHOR, head=f"1:999999:{'0' * 64}").json == {"state": "missing"}
    assert api(ANCHOR, head="1:2:3").status_code == 422
    assert api(ANCHOR).status_code == 422


def test_one_chat_is_explained_by_any_of_its_ids(api, a_bad_chat):
    by_own = api(f"/operator/api/records/{a_bad_chat.id}/explanation")
    by_other = api(f"/operator/api/records/{a_bad_chat.correlation_id}/explanation")

    assert by_own.json == by_other.json
    assert by_own.json["id"] == a_bad_chat.id
    assert any(
        "switch refused the connection" in one for one in by_own.json["sentences"]
    )
    assert api("/operator/api/records/nobody/explanation").status_code == 404


def test_events_are_told_around_an_outage(api, a_bad_chat, trail):
    Events(trail).verdict_turned("switch", "dns")

    def happenings():
        return api(REPORT, since=time() - 600, until=time() + 60).json["happenings"]

    (happening,) = until(happenings)
    assert (happening["kind"], happening["upstream"]) == ("health", "switch")
