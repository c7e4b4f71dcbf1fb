"""The read side: one record, or a search, while workers write."""

import threading

import pytest

from app.storage.reader import Query
from app.storage.trail import open_reader, open_trail
from tests.storage.making import a_closing, an_intent, record_one, until


@pytest.fixture
def ten_records(trail):
    intents = [
        an_intent(
            opened_at=1000.0 + number,
            session_id="even" if number % 2 == 0 else "odd",
            correlation_id=f"c{number}",
            request=f'{{"messages":[["user","question {number} 100%"]]}}',
        )
        for number in range(10)
    ]
    for number, intent in enumerate(intents):
        provider = "madre" if number > 6 else "switch"
        trail.finish(intent, a_closing(provider=provider), 10.0)
    return intents


def found(reader, **query):
    return [r.correlation_id for r in reader.search(Query(**query))]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"limit": 3}, ["c9", "c8", "c7"]),
        ({"session_id": "odd", "limit": 2}, ["c9", "c7"]),
        ({"correlation_id": "c4"}, ["c4"]),
        ({"provider": "madre"}, ["c9", "c8", "c7"]),
        ({"since": 1003.0, "until": 1005.0}, ["c4", "c3"]),
        ({"text": "question 5"}, ["c5"]),
        ({"text": "100%", "limit": 1}, ["c9"]),
        ({"text": "10_%"}, []),
        ({"text": "Paris", "provider": "switch", "limit": 1}, ["c6"]),
        ({"outcome": "completed", "limit": 1}, ["c9"]),
        ({"outcome": "failed"}, []),
        ({"outcome": "open"}, []),
    ],
)
def test_a_search_finds_what_it_says_newest_first(query, expected, ten_records, reader):
    assert found(reader, **query) == expected


def test_pages_follow_one_another_without_gap_or_repetition(ten_records, reader):
    seen, before = [], None
    while page := reader.search(Query(limit=3, before=before)):
        seen += [record.correlation_id for record in page]
        before = page[-1].key

    assert seen == [f"c{n}" for n in reversed(range(10))]


def test_a_record_is_found_by_either_id(ten_records, reader):
    assert reader.get(ten_records[2].id).correlation_id == "c2"
    assert reader.get("c2").id == ten_records[2].id
    assert reader.get("c99") is None


def test_chats_that_are_under_way_can_be_searched_for(trail, reader):
    intent = an_intent()
    trail.begin(intent)

    assert until(lambda: found(reader, outcome="open")) == [intent.correlation_id]


def test_reading_works_while_the_writer_is_busy_and_after_it_is_gone(url):
    trail, reader = open_trail(url), open_reader(url)
    record_one(trail)
    over = threading.Event()

    def write():
        while not over.is_set():
            record_one(trail)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    counts = [len(reader.search(Query(limit=500))) for _ in range(50)]
    over.set()
    for writer in writers:
        writer.join()
    trail.close()

    assert counts == sorted(counts)
    assert reader.search(Query(limit=1))
