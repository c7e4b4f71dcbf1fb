"""`records move`: a trail of one host becomes that of several."""

import sqlite3
from contextlib import closing

import pytest

from app.gateway.records.audit import Query
from app.storage.audit.errors import StoreFailed
from app.storage.trail import open_backend
from tests.storage.making import a_closing, an_intent, place_of, record_one, until

CLOSING = a_closing(reply='{"text":"ü\\u0000"}')


@pytest.fixture
def source(url):
    backend = open_backend(url)
    trail = backend.trail()
    for number in range(1200):
        trail.note(an_intent(session_id=f"s{number}"), CLOSING)
    record_one(trail)
    trail.close()
    return backend


def test_records_keep_their_digests_and_both_sides_are_whole(source, backend):
    before = source.verify()

    moved = backend.take_over(source)

    assert moved.records == before.rows == 1201
    check = backend.verify(noted=map(place_of, before.heads))
    assert (check.ok, check.rows) == (True, 1201)
    assert [str(head) for head in check.heads] == [str(head) for head in before.heads]
    query = Query(limit=500)
    assert backend.records().search(query) == source.records().search(query)


def test_writers_go_on_in_lanes_of_their_own(source, backend, open_trail):
    backend.take_over(source)

    record_one(open_trail())

    check = backend.verify()
    assert check.ok
    assert {head.lane: head.seq for head in check.heads} == {1: 1201, 2: 1}


def test_a_chat_that_was_under_way_is_closed_on_the_new_side(
    url, source, backend, open_trail
):
    trail = source.trail()
    intent = an_intent()
    trail.begin(intent)
    until(lambda: source.records().get(intent.id))
    trail.close()

    backend.take_over(source)
    record_one(open_trail())

    until(lambda: backend.records().get(intent.id).outcome == "interrupted", 20)
    assert backend.verify().ok


def test_a_trail_that_is_not_whole_is_not_moved(source, path, backend):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER records_sealed")
        connection.execute("UPDATE records SET reply = '{}' WHERE seq = 7")

    with pytest.raises(StoreFailed, match="changed"):
        backend.take_over(source)

    assert backend.records().search(Query()) == ()


def test_records_are_moved_into_an_empty_database_only(source, backend, open_trail):
    record_one(open_trail())

    with pytest.raises(StoreFailed, match="empty"):
        backend.take_over(source)

    assert backend.verify().rows == 1
