"""Words and records go from whatever kind of database, on record, lane by lane."""

import json
import subprocess
import sys
from time import time

import pytest

from app.gateway.kept.answers import Kept
from app.gateway.records.audit import RETENTION, Query
from app.storage.audit.errors import StoreFailed
from app.storage.audit.rows import closed, closed_draft, open_draft, opened
from app.storage.backend import Host
from app.storage.chain.retention import Keep, Whose
from app.storage.chain.stored import PAGE
from app.storage.postgres.store import PostgresStore
from app.storage.sqlite.files import AuditFiles
from app.storage.sqlite.store import SqliteStore
from app.storage.trail import open_backend
from tests.storage.back_door import postgres_sql
from tests.storage.making import (
    KEY,
    ROOT,
    a_chat,
    a_closing,
    an_intent,
    record_one,
    until,
)

HOUR, DAY = 3600.0, 86400.0


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request, url):
    if request.param == "sqlite":
        backend = open_backend(url, KEY)
        backend.trail().close()
        return backend
    return open_backend(request.getfixturevalue("postgres_url"), KEY)


@pytest.fixture
def sql(request, backend, sql):
    if backend.folder is None:
        return postgres_sql(request.getfixturevalue("postgres_url"))
    return sql


@pytest.fixture
def open_trail(backend):
    trails = []

    def opening(**options):
        trails.append(backend.trail(**options))
        return trails[-1]

    yield opening
    for trail in trails:
        trail.close()


@pytest.fixture
def open_store(backend, path):
    """Open writers: of the file, or of another host, whose lane is nobody's then."""
    stores = []

    def opening(host="another"):
        if backend.folder is None:
            store = PostgresStore(backend._parameters, KEY, Host(host))
        else:
            store = SqliteStore(AuditFiles(path), KEY)
        stores.append(store)
        store.open()
        return store

    yield opening
    for store in stores:
        store.close()


@pytest.fixture
def write(open_store):
    """Write chats, many at once; return their ids."""

    def write(*chats):
        store = open_store()
        for begin in range(0, len(chats), 200):
            drafts = [
                closed_draft(opened(intent, store.instance), closed(closing))
                for intent, closing in chats[begin : begin + 200]
            ]
            store.write(lambda drafts=drafts: drafts)
        store.close()
        return [intent.id for intent, _ in chats]

    return write


def events(backend, code):
    found = backend.records().search(Query(outcome="event", limit=500))
    return [one for one in found if one.route == RETENTION and one.code == code]


def told(backend, code):
    return [json.loads(one.request) for one in events(backend, code)]


def assert_sound(backend):
    assert backend.verify().reason is None


def verdict_of_a_stranger(file, do):
    """What docs/verify.py says of what PostgreSQL tells of the records."""
    rows = do(
        "SELECT row_to_json(c)::text FROM chain c"
        " UNION ALL SELECT row_to_json(r)::text FROM records r"
    )
    file.write_text("".join(f"{line}\n" for (line,) in rows), encoding="utf-8")
    script = [sys.executable, "-I", ROOT / "docs/verify.py", file]
    return subprocess.run(script, capture_output=True, text=True, check=False).stdout


def floors(backend):
    return [head.floor_seq for head in backend.records().heads()]


def test_words_that_are_over_their_time_go_and_the_metadata_stay(
    backend, write, open_trail
):
    old = write(*(a_chat(n, 2 * DAY, person="ada") for n in range(150)))
    young = write(*(a_chat(n, HOUR) for n in range(1000, 1005)))
    reader = backend.records()
    trail = open_trail(keep=Keep(words=DAY))
    trail.start()

    until(lambda: reader.get(old[-1]).request is None, 30)
    trail.close()

    for one in map(reader.get, old):
        assert (one.request, one.reply) == (None, None)
        assert (one.person, one.outcome, one.provider) == ("ada", "completed", "switch")
    assert all("Canary" in reader.get(one).reply for one in young)
    said = told(backend, "words_expired")
    assert sum(one["count"] for one in said) == 150
    assert {one["days"] for one in said} == {1}
    assert_sound(backend)


def test_records_that_are_over_their_time_go_and_the_rest_is_sound(
    backend, write, open_trail
):
    old = write(*(a_chat(n, 2 * DAY) for n in range(150)))
    (young,) = write(a_chat(1000, HOUR))
    reader = backend.records()
    trail = open_trail(keep=Keep(records=DAY))
    trail.start()

    until(lambda: reader.get(old[-1]) is None, 30)
    record_one(trail)
    trail.close()

    assert not any(map(reader.get, old))
    assert reader.get(young).seq == 151
    assert max(floors(backend)) == 150
    assert sum(one["count"] for one in told(backend, "records_expired")) == len(old)
    assert_sound(backend)


def test_nothing_goes_without_a_setting(backend, write, open_trail):
    (old,) = write(a_chat(1, 3000 * DAY))
    trail = open_trail()
    record_one(trail)
    trail.close()

    assert "Canary" in backend.records().get(old).reply
    assert events(backend, "words_expired") == events(backend, "records_expired") == []


def test_a_check_is_sound_while_words_and_records_go(backend, write, open_trail):
    write(*(a_chat(n, 3 * DAY) for n in range(PAGE + 200)))
    write(*(a_chat(n, 1.5 * DAY) for n in range(PAGE + 200)))
    trail = open_trail(keep=Keep(words=DAY, records=2 * DAY))
    trail.start()
    checks = 0
    while not (events(backend, "words_expired") and max(floors(backend)) > PAGE):
        record_one(trail)
        assert backend.verify().reason is None
        checks += 1
    trail.close()

    assert checks
    assert_sound(backend)


def test_a_record_of_a_clock_that_was_wrong_goes_with_its_neighbours(
    backend, write, open_trail
):
    ages = [2 * DAY, time() - 5, -3000 * DAY, 2 * DAY, HOUR, time() - 5, HOUR]
    ids = write(*(a_chat(n, age) for n, age in enumerate(ages)))
    reader = backend.records()
    trail = open_trail(keep=Keep(records=DAY))
    trail.start()

    until(lambda: reader.get(ids[0]) is None, 30)
    trail.close()

    left = [one for one in ids if reader.get(one)]
    assert left == ids[4:]


def test_words_of_a_demand_go_while_the_gateway_runs(backend, write, open_trail):
    trail = open_trail()
    hers = write(*(a_chat(n, HOUR, person="ada") for n in range(120)))
    (other,) = write(a_chat(1000, HOUR, person="bob"))
    last = record_one(trail, person="ada")
    whose = Whose(person="ada")

    rehearsal = backend.erase(whose, is_rehearsal=True)
    assert (rehearsal.records, backend.records().get(hers[0]).request is None) == (
        121,
        False,
    )
    done = backend.erase(whose, is_rehearsal=False)
    record_one(trail)

    assert (done.records, done.open) == (121, 0)
    assert all(backend.records().get(one).reply is None for one in (*hers, last.id))
    assert "Canary" in backend.records().get(other).reply
    said = told(backend, "words_erased")
    assert sum(one["count"] for one in said) == 121
    assert not any("ada" in json.dumps(one) for one in said)
    assert {one["of"]["person"] for one in said} == {whose.named(KEY)["person"]}
    assert backend.erase(whose, is_rehearsal=False).records == 0
    assert_sound(backend)
    trail.close()


def test_a_demand_goes_by_all_that_it_names_and_tells_of_chats_under_way(
    backend, write, open_store
):
    write(a_chat(1, 1, person="ada"), a_chat(2, 1, session_id="s", person="ada"))
    store = open_store()
    intent = an_intent(person="ada", session_id="s")
    store.write(lambda: [open_draft(opened(intent, store.instance))])

    result = backend.erase(Whose(person="ada", session_id="s"), is_rehearsal=True)

    assert (result.records, result.open) == (1, 1)
    assert backend.erase(Whose(caller="nobody"), is_rehearsal=False).records == 0
    assert backend.erase(Whose(id=intent.id), is_rehearsal=True).open == 1
    store.close()


def accidents(table):
    return [
        f"DELETE FROM {table} WHERE seq = 2",
        f"UPDATE {table} SET caller = 'eve' WHERE seq = 2",
        f"UPDATE {table} SET request = NULL WHERE seq = 2",
        f"UPDATE {table} SET reply = 'other' WHERE seq = 2",
        f"UPDATE {table} SET request = NULL, reply = NULL, salt = NULL WHERE seq = 2",
        f"UPDATE {table} SET seq = 9 WHERE seq = 2",
    ]


@pytest.mark.parametrize("statement", accidents("records"))
def test_no_accident_takes_a_record_or_its_words(statement, write, sql):
    write(a_chat(1, 1), a_chat(2, 1))

    with pytest.raises(Exception, match=r"do not change|not deleted"):
        sql(statement)


def test_answers_that_would_be_said_again_go_with_the_words(backend, open_trail):
    trail, answers = open_trail(), backend.answers()
    intent = an_intent(person="ada")
    kept = Kept(b"k" * 32, b"", intent.id, time(), time() + HOUR, b"sealed")
    trail.begin(intent)
    trail.finish(intent, a_closing(kept=(kept,)), 10.0)
    assert answers.find(kept.key, time())

    backend.erase(Whose(person="ada"), is_rehearsal=False)

    assert answers.find(kept.key, time()) is None
    answers.close()


class TestLanes:
    """Where each worker of each host has a lane of its own."""

    @pytest.fixture(params=["postgresql"])
    def backend(self, postgres_url):
        return open_backend(postgres_url, KEY)

    def test_what_tells_of_a_demand_stays_until_its_records_are_gone(
        self, backend, write, open_store, open_trail
    ):
        """The demand is told in a lane that is over its time before the other."""
        (old,) = write(a_chat(1, HOUR, person="ada"))
        backend.erase(Whose(person="ada"), is_rehearsal=False)
        store = PostgresStore(
            backend._parameters, KEY, Host("pruner"), keep=Keep(records=1.0)
        )
        store.open()
        alive = open_store("another")  # so its lane is pruned by nobody
        soon = time() + 2
        until(lambda: time() > soon)

        for _ in range(3):
            store.prune(is_idle=True)
        assert backend.records().get(old)
        assert backend.verify().reason is None
        assert told(backend, "words_erased")

        alive.close()
        store.close()
        trail = open_trail(keep=Keep(records=1.0))
        trail.start()
        until(lambda: not told(backend, "words_erased"), 90)
        assert backend.records().get(old) is None
        assert backend.verify().reason is None

    def test_a_worker_that_was_frozen_finds_its_lane_gone(
        self, backend, open_store, postgres_url
    ):
        frozen = open_store("frozen")
        chat, closing = a_chat(1, 2 * DAY)
        draft = closed_draft(opened(chat, frozen.instance), closed(closing))
        frozen.write(lambda: [draft])
        postgres_sql(postgres_url)(
            "UPDATE chain SET alive_until = clock_timestamp() - interval '1 second'"
        )
        pruner = PostgresStore(
            backend._parameters, KEY, Host("pruner"), keep=Keep(records=DAY)
        )
        pruner.open()
        for _ in range(3):
            pruner.prune(is_idle=True)
        assert backend.records().get(chat.id) is None

        young, closing = a_chat(2, 1)
        again = closed_draft(opened(young, frozen.instance), closed(closing))
        frozen.write(lambda: [again])

        pruner.close()
        assert backend.records().get(young.id)
        assert backend.verify().reason is None

    def test_closed_lanes_stay_closed(self, backend, write, open_trail, postgres_url):
        (old,) = write(a_chat(1, 2 * DAY))
        do = postgres_sql(postgres_url)
        do("UPDATE chain SET alive_until = 'infinity', name = 'audit.db'")
        trail = open_trail(keep=Keep(records=DAY))
        trail.start()

        until(lambda: backend.records().get(old) is None, 30)
        trail.close()

        lanes = do("SELECT owner, alive_until = 'infinity' FROM chain ORDER BY id")
        assert lanes[0] == ("", True)
        assert backend.verify().reason is None

    def test_a_stranger_finds_them_sound_and_what_was_changed(
        self, backend, write, postgres_url, tmp_path
    ):
        """Without the key and without the gateway, from what psql writes to a file."""
        write(*(a_chat(n, HOUR, person="Ada\n\u2603") for n in range(3)))
        write(a_chat(9, 1.0))
        backend.erase(Whose(person="Ada\n\u2603"), is_rehearsal=False)
        do, file = postgres_sql(postgres_url), tmp_path / "records.jsonl"

        assert verdict_of_a_stranger(file, do).startswith("Sound: 5 records")
        do("DROP TRIGGER records_sealed", "UPDATE records SET caller='e' WHERE seq = 2")
        found = verdict_of_a_stranger(file, do)
        assert found == "NOT SOUND: lane 1, record 2: the record was changed or moved\n"
        do("DELETE FROM chain WHERE id = 1")
        assert verdict_of_a_stranger(file, do).startswith("NOT SOUND: lane 1")

    def test_copies_are_for_the_tools_of_the_server_which_is_said(
        self, backend, tmp_path
    ):
        for command in (backend.backup, backend.restore):
            with pytest.raises(StoreFailed, match=r"pg_dump.*VX11_AUDIT_KEY.*tokens"):
                command(tmp_path)
