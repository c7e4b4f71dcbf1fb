"""Replays over HTTP: played as they came, asked again and compared, and kept apart."""

import json
from dataclasses import replace
from time import monotonic

import pytest

from app.gateway.access.tokens import Caller, Keyring, Token
from app.gateway.chain.audited import Audited
from app.gateway.chain.counted import Counted
from app.gateway.guard.concurrency import ConcurrencyLimit
from app.gateway.records.audit import Query
from app.gateway.records.content import Content, ContentPolicy
from app.gateway.records.redaction import Redactor
from app.gateway.replay.replayer import Replayer
from app.gateway.routing.router import ChatRouter
from app.gateway.shared import InProcessState
from app.services import PerProcess
from app.storage.trail import open_backend
from app.web import make_app
from tests.storage.making import a_closing, an_intent
from tests.support.events import events_of, text_of
from tests.support.fakes import FakeClock, Unguarded
from tests.web.conftest import TOKEN

REPLAYS = "/operator/api/replays"
MANNERED = {"manner": {"stream": True}, "messages": [["user", "How many?"]]}


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
def place():
    return ConcurrencyLimit("replays", InProcessState(FakeClock()), 1)


@pytest.fixture
def stored(services, backend, trail, switch, madre, place):
    policy = ContentPolicy(Content.FULL, Redactor([TOKEN]), b"k" * 32)
    router = ChatRouter([Unguarded(switch), Unguarded(madre)])
    replayer = Replayer(
        Audited(Counted(router), trail, policy),
        backend.records(),
        {"switch": False, "madre": True},
        place,
    )
    return replace(services, records=backend.records(), replayer=replayer)


@pytest.fixture
def api(stored):
    return make_app(PerProcess(lambda: stored)).test_client()


@pytest.fixture
def put(trail):
    def record(question="Who?", *, said=None, asked=None, **closing):
        request = asked or {"messages": [["user", question]], "context": {}}
        intent = an_intent(request=json.dumps(request))
        reply = json.dumps(said or {"text": "I am switch"})
        trail.finish(intent, a_closing(reply=reply, **closing), 10.0)
        return intent

    return record


def ask(api, record, token=TOKEN, **changes):
    body = {"record": record, **changes}
    return api.post(REPLAYS, json=body, headers={"X-VX11-Token": token})


def play(api, record, **query):
    path = f"/operator/api/records/{record}/stream"
    return api.get(path, query_string=query, headers={"X-VX11-Token": TOKEN})


def test_both_answers_are_told_and_where_they_differ(api, put, backend):
    first = put(input_tokens=3, output_tokens=4)

    told = ask(api, first.id, upstream="madre")

    assert told.status_code == 200, told.text
    found = told.json
    assert found["upstream"] == "madre"
    assert found["before"]["text"] == "I am switch"
    assert found["after"]["text"] == "I am madre"
    assert found["pieces"] == [
        {"kind": "same", "text": "I am"},
        {"kind": "gone", "text": " switch"},
        {"kind": "new", "text": " madre"},
    ]
    assert found["likeness"] == pytest.approx(2 / 3)
    assert found["same"] == {"outcome": True, "finish_reason": True, "tools": True}
    record = backend.records().get(found["after"]["record"])
    assert (record.route, record.caller) == ("replay", "operator")


def test_the_model_and_the_temperature_can_be_others(api, put, madre):
    ask(api, put().id, upstream="madre", model="slow", temperature=1)

    (asked,) = madre.asked
    assert (asked.model, asked.extra) == ("slow", {"temperature": 1.0})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"upstream": "secret-name"}, "upstream"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"model": ""}, "model"),
        ({"speed": 2}, "speed"),
    ],
)
def test_a_bad_change_is_named_and_not_echoed(api, put, changes, field):
    told = ask(api, put().id, **changes)

    assert told.status_code == 422
    assert [one["field"] for one in told.json["errors"]] == [field]
    assert "secret-name" not in told.text


def test_an_unknown_record_is_not_found(api):
    assert ask(api, "nothing").status_code == 404


def test_what_was_redacted_is_asked_only_where_that_is_wanted(api, put, madre):
    asked = {"redacted": True, "messages": [["user", "Mail [redacted:email]"]]}
    first = put(asked=asked)

    refused = ask(api, first.id, upstream="madre")
    told = ask(api, first.id, upstream="madre", redacted=True)

    assert (refused.status_code, refused.json["code"]) == (409, "not_replayable")
    assert "1 place" in refused.json["detail"]
    assert madre.calls == 1
    assert told.json["is_redacted"]


def test_an_upstream_that_acts_is_asked_only_where_that_is_wanted(api, put, switch):
    first = put()

    refused = ask(api, first.id)
    told = ask(api, first.id, may_act=True)

    assert (refused.status_code, refused.json["code"]) == (409, "may_act")
    assert told.json["upstream"] == "switch"
    assert switch.calls == 1


def test_while_another_one_runs_it_is_to_be_tried_later(api, put, place):
    place.acquire(10.0)

    told = ask(api, put().id, upstream="madre")

    assert told.status_code == 503
    assert int(told.headers["Retry-After"]) >= 1


def test_it_takes_a_scope_of_its_own(stored, put):
    keyring = Keyring(
        [
            Token.of(Caller("reader", frozenset({"audit", "chat"})), "reads"),
            Token.of(Caller("tester", frozenset({"replay"})), "replays"),
        ]
    )
    api = make_app(PerProcess(lambda: replace(stored, keyring=keyring))).test_client()

    assert ask(api, put().id, "reads", upstream="madre").status_code == 403
    assert ask(api, put().id, "replays", upstream="madre").status_code == 200


STREAMED = {"timeline": [[30, 20, 40], [2, 4, 2]], "text": "Hi dear!"}


def test_an_answer_is_played_as_it_came(api, put):
    first = put(said=STREAMED, output_tokens=3)
    began = monotonic()

    told = play(api, first.id)
    events = events_of(told)

    assert told.mimetype == "text/event-stream"
    assert monotonic() - began >= 0.09
    assert [e.name for e in events] == ["meta", "delta", "delta", "delta", "done"]
    assert [e.data["text"] for e in events[1:4]] == ["Hi", " dea", "r!"]
    assert events[0].data["seconds"] == pytest.approx(0.09)
    assert (events[0].data["is_streamed"], events[0].data["is_exact"]) == (True, True)
    assert (events[-1].data["finish_reason"], events[-1].data["output_tokens"]) == (
        "stop",
        3,
    )


@pytest.mark.parametrize("speed", ["0", "1000", "2.5", ""])
def test_a_play_says_every_word_at_any_speed(api, put, speed):
    told = play(api, put(said=STREAMED).id, speed=speed)

    assert text_of(events_of(told)) == "Hi dear!"


@pytest.mark.parametrize("speed", ["-1", "nan", "inf", "fast", "1001"])
def test_a_speed_that_is_none_is_refused(api, put, speed):
    told = play(api, put(said=STREAMED).id, speed=speed)

    assert told.status_code == 422
    assert [one["field"] for one in told.json["errors"]] == ["speed"]


def test_a_play_asks_nobody_and_leaves_no_record(api, put, backend, switch, madre):
    first = put(said=STREAMED)
    before = backend.records().ends()

    play(api, first.id, speed=0)

    assert backend.records().ends() == before
    assert switch.calls + madre.calls == 0


def test_what_cannot_be_played_says_why(api, put):
    told = play(api, put(said={"hmac_sha256": "00", "bytes": 1}).id)

    assert (told.status_code, told.json["code"]) == (409, "not_replayable")
    assert "digest" in told.json["detail"]


def test_the_place_of_a_play_comes_back(api, stored, put):
    first = put(said=STREAMED)

    for _ in range(5):
        assert play(api, first.id, speed=0).status_code == 200
        play(api, "nothing")

    assert stored.readers.load().busy == 0


def test_a_search_for_a_number_finds_no_timeline(backend, put):
    put(said={"timeline": [[4711, 1], [2, 2]], "text": "Five"}, asked=MANNERED)
    told = put("4711 is a number")

    found = backend.records().search(Query(text="4711"))
    manner = backend.records().search(Query(text="stream"))
    words = backend.records().search(Query(text="five"))

    assert [record.id for record in found] == [told.id]
    assert manner == ()
    assert len(words) == 1
