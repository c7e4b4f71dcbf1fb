"""The read side: one record, or a search, while workers write."""

import threading

import pytest
import sqlalchemy as sa

from app.gateway.errors import SearchTookTooLong
from app.storage.audit.reader import LIMIT_MAX, Query, fetch
from app.storage.audit.scan import WINDOWS, scan
from app.storage.chain.verification import ignore
from tests.storage.making import a_closing, an_intent, record_one, until


@pytest.fixture
def ten_records(trail):
    intents = [
        an_intent(
            opened_at=1000.0 + number,
            session_id="even" if number % 2 == 0 else "odd",
            person="ada" if number < 2 else None,
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
        ({"person": "ada"}, ["c1", "c0"]),
        ({"person": "eve"}, []),
        ({"limit": 3}, ["c9", "c8", "c7"]),
        ({"session_id": "odd", "limit": 2}, ["c9", "c7"]),
        ({"correlation_id": "c4"}, ["c4"]),
        ({"provider": "madre"}, ["c9", "c8", "c7"]),
        ({"since": 1003.0, "until": 1005.0}, ["c4", "c3"]),
        ({"text": "question 5"}, ["c5"]),
        ({"text": "100%", "limit": 1}, ["c9"]),
        ({"text": "10_%"}, []),
        ({"text": "\0"}, []),
        ({"text": "QUESTION 5"}, ["c5"]),
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


def test_nobody_takes_the_place_of_anothers_correlation_id(trail, reader):
    """Else what somebody asked could be hidden behind a later chat of another one."""
    for number, caller in enumerate(("alice", "alice", "mallory")):
        intent = an_intent(
            opened_at=1000.0 + number, correlation_id="shared", caller=caller
        )
        trail.finish(intent, a_closing(), 10.0)

    shown = reader.get("shared")

    assert (shown.caller, shown.opened_at) == ("alice", 1001.0)
    assert len(found(reader, correlation_id="shared")) == 3


def test_chats_that_are_under_way_can_be_searched_for(trail, reader):
    intent = an_intent()
    trail.begin(intent)

    assert until(lambda: found(reader, outcome="open")) == [intent.correlation_id]


def test_records_are_followed_in_the_order_in_which_they_ended(trail, reader):
    first, second = an_intent(opened_at=1000.0), an_intent(opened_at=2000.0)
    trail.begin(first)
    trail.begin(second)
    before = reader.ends()

    trail.finish(second, a_closing(), 10.0)
    trail.finish(first, a_closing(), 10.0)

    followed, ends = reader.sealed_after(before)
    assert [record.id for record in followed] == [second.id, first.id]
    assert reader.ends() == ends
    after_one = {lane: seq - 1 for lane, seq in ends.items()}
    assert reader.sealed_after(after_one) == (followed[1:], ends)
    assert reader.sealed_after(ends) == ((), ends)


def test_of_an_empty_trail_nothing_was_sealed(trail, reader):
    assert {*reader.ends().values()} <= {0}
    assert reader.sealed_after({})[0] == ()
    assert list(scan(reader, Query(), ignore)) == []


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"limit": 3},
        {"since": 1003.0, "until": 1005.0},
        {"since": 1003.0},
        {"until": 1003.0},
        {"since": 5000.0},
        {"session_id": "odd", "limit": 2},
        {"text": "question 5"},
    ],
)
def test_a_scan_finds_what_a_search_does(query, ten_records, reader):
    asked = Query(**query)

    assert tuple(scan(reader, asked, ignore)) == reader.search(asked)


def test_a_scan_tells_how_far_it_is(ten_records, reader):
    told = []

    assert not list(scan(reader, Query(text="unicorn"), lambda *at: told.append(at)))
    assert told == [(n, WINDOWS) for n in range(1, WINDOWS + 1)]


def test_a_scan_finds_more_than_one_page(trail, reader):
    for number in range(LIMIT_MAX + 10):
        trail.note(an_intent(opened_at=1000.0 + number % 3), a_closing())
    trail.finish(an_intent(opened_at=999.0), a_closing(), 10.0)

    found = list(scan(reader, Query(limit=LIMIT_MAX + 5), ignore))

    assert len({record.id for record in found}) == LIMIT_MAX + 5
    assert [r.key for r in found] == sorted((r.key for r in found), reverse=True)


def test_reading_works_while_the_writer_is_busy_and_after_it_is_gone(backend):
    trail, reader = backend.trail(), backend.records()
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


# Few steps, and each takes long: as words of a megabyte do.
LONG_STEPS = {
    "sqlite": "sum(length(hex(randomblob(1000000 + i))))",
    "postgresql": "sum(length(repeat(md5(i::text), 100000 + i)))",
}
STEPS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
SELECT {} FROM n
"""


def test_a_query_of_few_long_steps_is_ended_in_time(trail, backend):
    record_one(trail)
    engine = backend.records()._engine
    steps = STEPS.format(LONG_STEPS[engine.dialect.name]).replace(":", "\\:")

    with pytest.raises(SearchTookTooLong):
        fetch(engine, sa.text(steps), limit=0.1)


def test_words_that_almost_match_everywhere_are_soon_looked_through(trail, reader):
    """By LIKE each of these takes seconds, and all of them too long."""
    for _ in range(12):
        record_one(trail, request='{"messages":[["user","%s"]]}' % ("a" * 1_000_000))

    assert found(reader, text="a" * 499 + "b") == []
    assert len(found(reader, text="a" * 500)) == 12


@pytest.mark.parametrize(
    ("request_text", "excerpt"),
    [
        ('{"messages":[["user","old"],["assistant","x"],["user","new"]]}', "new"),
        (
            '{"messages":[["user","%s",{"parts":1}]]}' % ("\U0001f600" * 400),
            "\U0001f600" * 160,
        ),
        ('{"messages":[["system","s"]]}', None),
        ('{"digest":"0a"}', None),
        ("no JSON", None),
        ("[1]", None),
    ],
)
def test_a_list_has_the_beginning_of_the_newest_question(
    request_text, excerpt, trail, reader
):
    intent = record_one(trail, request=request_text)

    (shown,) = reader.listed(Query())

    assert (shown.id, shown.excerpt) == (intent.id, excerpt)


def test_a_list_finds_what_a_search_does(ten_records, reader):
    query = Query(text="question", limit=4)

    assert [r.key for r in reader.listed(query)] == [
        r.key for r in reader.search(query)
    ]
