"""The records over HTTP: found by what one knows of them, shown whole, kept apart."""

import json
from dataclasses import replace
from time import time

import pytest

from app.gateway.access.tokens import Caller, Keyring, Token
from app.gateway.chain.admission_queue import AdmissionQueue, Limits, Load
from app.gateway.chat import Priority
from app.gateway.errors import AuditUnavailable, SearchTookTooLong
from app.gateway.records.activity import Moment, Window
from app.services import PerProcess
from app.storage.trail import open_backend
from app.web import make_app
from tests.storage.making import a_closing, an_intent
from tests.support.fakes import FakeActivity
from tests.web.conftest import TOKEN

RECORDS = "/operator/api/records"


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/audit.db"


@pytest.fixture
def put(url):
    """Put a chat on record; return its intent."""
    trail = open_backend(url).trail()

    def record(question="What is the capital?", *, closing=None, **intent):
        said = json.dumps({"messages": [["user", question]], "context": {}})
        asked = an_intent(request=said, **intent)
        trail.finish(asked, a_closing(**closing or {}), 10.0)
        return asked

    yield record
    trail.close()


@pytest.fixture
def stored(services, url, put):
    return replace(
        services,
        records=open_backend(url).records(),
        activity=open_backend(url).activity(),
    )


@pytest.fixture
def api(stored, token):
    client = make_app(PerProcess(lambda: stored)).test_client()

    def get(path, **query):
        return client.get(path, query_string=query, headers=token)

    return get


def found(answer):
    assert answer.status_code == 200, answer.text
    return [record["correlation_id"] for record in answer.json["records"]]


@pytest.fixture
def three(put):
    return [
        put("Why the sea?", correlation_id="c1", session_id="s1", opened_at=1000.0),
        put(
            "Where?",
            correlation_id="c2",
            session_id="s2",
            opened_at=2000.0,
            closing={"provider": "madre", "degraded_by": "read_timeout"},
        ),
        put(
            "When?",
            correlation_id="c3",
            session_id="s1",
            opened_at=3000.0,
            caller="shop",
            closing={
                "outcome": "failed",
                "status": 503,
                "provider": None,
                "reply": "{}",
            },
        ),
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["c3", "c2", "c1"]),
        ({"session_id": "s1"}, ["c3", "c1"]),
        ({"correlation_id": "c2"}, ["c2"]),
        ({"id": "c2"}, ["c2"]),
        ({"id": "nobody"}, []),
        ({"provider": "madre"}, ["c2"]),
        ({"outcome": "failed"}, ["c3"]),
        ({"outcome": "open"}, []),
        ({"caller": "shop"}, ["c3"]),
        ({"caller": "sho"}, []),
        ({"degraded": "true"}, ["c2"]),
        ({"failed": "true"}, ["c3"]),
        ({"degraded": "true", "failed": "true"}, ["c3", "c2"]),
        ({"degraded": "false", "failed": ""}, ["c3", "c2", "c1"]),
        ({"text": "the sea"}, ["c1"]),
        ({"text": "Paris"}, ["c2", "c1"]),
        ({"since": "2000", "until": "3000"}, ["c2"]),
        ({"since": "1970-01-01T00:33:20Z"}, ["c3", "c2"]),
        ({"since": "2e3", "until": "3e3"}, ["c2"]),
        ({"since": "1970-01-01T01:33:20+01:00"}, ["c3", "c2"]),
        ({"text": "", "provider": "switch"}, ["c1"]),
    ],
)
def test_records_are_found_newest_first(api, three, query, expected):
    assert found(api(RECORDS, **query)) == expected


def test_a_record_is_found_by_its_own_id(api, three):
    assert found(api(RECORDS, id=three[1].id)) == ["c2"]


def test_all_chats_of_a_correlation_id_are_found_by_it(api, put):
    first, second = (put(correlation_id="twice") for _ in range(2))

    ids = {record["id"] for record in api(RECORDS, id="twice").json["records"]}

    assert ids == {first.id, second.id}


def test_pages_follow_one_another_to_the_end(api, put):
    for number in range(5):
        put(correlation_id=f"c{number}", opened_at=1000.0 + number / 3)
    seen, page = [], {"next": ""}
    while page["next"] is not None:
        page = api(RECORDS, limit=2, before=page["next"]).json
        seen.append([record["correlation_id"] for record in page["records"]])

    assert seen == [["c4", "c3"], ["c2", "c1"], ["c0"]]


def test_a_list_shows_the_beginning_of_the_question_and_no_more(api, put):
    put("long " * 100)

    (record,) = api(RECORDS).json["records"]

    assert record["excerpt"] == ("long " * 100)[:160]
    assert not {"request", "reply", "attempts"} & record.keys()


def test_a_question_that_is_more_than_a_text_is_listed_too(api, url):
    """As OpenAI's doors record it: role, text, and the message as it came."""
    parts = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
    said = json.dumps({"messages": [["user", "Hello", parts]]})
    trail = open_backend(url).trail()
    trail.finish(an_intent(request=said), a_closing(), 10.0)
    trail.close()

    assert api(RECORDS).json["records"][0]["excerpt"] == "Hello"


def test_what_was_not_kept_has_no_excerpt(api, url):
    trail = open_backend(url).trail()
    trail.finish(an_intent(request="{}"), a_closing(reply="{}"), 10.0)
    trail.close()

    assert api(RECORDS).json["records"][0]["excerpt"] is None


def test_one_record_is_shown_whole(api, put):
    attempts = [
        {"upstream": "switch", "fault": "read_timeout", "duration": 30.0},
        {"upstream": "madre", "fault": None, "duration": 0.2},
    ]
    asked = put(closing={"attempts": json.dumps(attempts), "input_tokens": 3})

    record = api(f"{RECORDS}/{asked.id}").json

    assert record["id"] == asked.id
    assert record["request"]["messages"] == [["user", "What is the capital?"]]
    assert record["reply"] == {"text": "Paris"}
    assert record["attempts"] == attempts
    assert (record["seq"], len(record["digest"])) == (1, 64)
    assert record["input_tokens"] == 3
    assert api(f"{RECORDS}/{asked.correlation_id}").json == record


def test_a_record_that_is_not_there_is_404(api):
    assert api(f"{RECORDS}/nobody").status_code == 404


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"outcome": "lost"}, "outcome"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-11-01"}, "since"),
        ({"since": "3e10"}, "since"),  # would be read as milliseconds
        ({"until": "nan"}, "until"),
        ({"since": "2026-11-01T10:00:00"}, "since"),  # of which zone?
        ({"before": "1'; DROP TABLE records"}, "before"),
        ({"before": "nan-00"}, "before"),
        ({"text": "x" * 501}, "text"),
        ({"session": "s1"}, "session"),
        ({"session_id": ["s1", "s2"]}, "session_id"),
    ],
)
def test_a_search_that_makes_no_sense_is_422_and_names_the_field(api, query, field):
    answer = api(RECORDS, **query)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == [field]


@pytest.mark.parametrize(
    "path",
    [RECORDS, f"{RECORDS}/c1", "/operator/api/activity", "/operator/api/windows"],
)
def test_the_past_is_for_the_scope_audit_alone(stored, token, path, three):
    talker = Caller("talker", frozenset({"chat", "metrics", "admin"}))
    keyring = Keyring([Token.of(talker, TOKEN)])
    client = make_app(
        PerProcess(lambda: replace(stored, keyring=keyring))
    ).test_client()

    assert client.get(path).status_code == 401
    assert client.get(path, headers=token).status_code == 403


def test_recent_chats_are_told_as_points_without_words_or_ids(services, token):
    now = time()
    old = Moment(now - 3600, 0.1, "completed", 200, "switch", None, None, "a")
    new = Moment(now - 1, 0.2, "completed", 200, "madre", "schema", None, "b")
    past = replace(services, activity=FakeActivity(moments=(new, old)))

    answer = (
        make_app(PerProcess(lambda: past))
        .test_client()
        .get("/operator/api/activity", headers=token)
    )

    (chat,) = answer.json["chats"]
    assert (chat["provider"], chat["degraded_by"]) == ("madre", "schema")
    assert chat["status"] == 200  # tells a caller's own mistake from ours
    assert chat.keys() == set(Moment.__dataclass_fields__) - {"attempts"}
    assert answer.json["is_whole"] is True


def test_windows_are_told_with_their_causes(services, token):
    now = time()
    window = Window(now - 60, now - 30, 3, (("read_timeout", 1), ("unhealthy", 2)))
    past = replace(services, activity=FakeActivity(outages=(window,)))

    answer = (
        make_app(PerProcess(lambda: past))
        .test_client()
        .get("/operator/api/windows", headers=token)
    )

    (shown,) = answer.json["windows"]
    assert shown["ended"] - shown["began"] == pytest.approx(30)
    assert shown["causes"][0] == {"cause": "read_timeout", "chats": 1}
    assert shown["kind"] == "degraded"


def test_records_that_can_not_be_read_are_503(api, put, tmp_path):
    (tmp_path / "audit.db").unlink()

    answer = api(RECORDS)

    assert (answer.status_code, answer.json["code"]) == (503, "audit_unavailable")


def test_an_unreadable_past_is_503(services, token):
    class Unreadable:
        def recent(self, since, limit):
            raise AuditUnavailable("unreadable")

    past = replace(services, activity=Unreadable())

    answer = (
        make_app(PerProcess(lambda: past))
        .test_client()
        .get("/operator/api/activity", headers=token)
    )

    assert (answer.status_code, answer.json["code"]) == (503, "audit_unavailable")


class TooManyRecords:
    def listed(self, query):
        raise SearchTookTooLong


def test_a_search_that_takes_too_long_says_what_to_do(services, token):
    made = make_app(PerProcess(lambda: replace(services, records=TooManyRecords())))

    answer = made.test_client().get(f"{RECORDS}?text=x", headers=token)

    assert (answer.status_code, answer.json["code"]) == (503, "search_took_too_long")
    assert "smaller time range" in answer.json["detail"]


class TestPlaces:
    """Reading takes seconds at worst, and a thread that chats would miss."""

    @pytest.fixture
    def readers(self, clock):
        return AdmissionQueue(Limits(3, 0, wait=0.1, streams=1, is_shared=True), clock)

    @pytest.fixture
    def get(self, stored, readers):
        callers = [Caller(name, frozenset({"audit"})) for name in ("loud", "modest")]
        keyring = Keyring([Token.of(caller, caller.name) for caller in callers])
        ours = replace(stored, readers=readers, keyring=keyring)
        client = make_app(PerProcess(lambda: ours)).test_client()
        return lambda caller, path: client.get(path, headers={"X-VX11-Token": caller})

    @pytest.mark.parametrize("path", ["", "/some-id"])
    def test_one_callers_searches_leave_a_place_to_the_others(self, get, readers, path):
        readers.enter(Priority.NORMAL, "loud")

        refused = get("loud", RECORDS + path)

        assert (refused.status_code, refused.json["code"]) == (503, "overloaded")
        assert get("modest", RECORDS + path).status_code in (200, 404)

    @pytest.mark.parametrize("what", ["activity", "windows"])
    def test_the_pictures_take_one_too(self, get, readers, what):
        held = readers.enter(Priority.NORMAL, "loud")
        assert get("loud", f"/operator/api/{what}").status_code == 503
        readers.leave(held)

        assert get("loud", f"/operator/api/{what}").status_code == 200

    def test_a_place_is_given_back_also_by_what_fails(self, get, readers):
        for _ in range(5):
            assert get("loud", f"{RECORDS}?limit=x").status_code == 422

        assert readers.load() == Load(busy=0, waiting=0, streams=0)
