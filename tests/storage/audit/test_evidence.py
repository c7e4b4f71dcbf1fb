"""Evidence on a real trail: without words, in order, in pages, and bounded by time."""

import json

import pytest

from app.gateway.records.audit import KNOT
from app.gateway.records.events import Events
from app.storage.evidence import reader as module
from app.storage.evidence.reader import EvidenceReader
from tests.storage.making import a_closing, an_intent, place_of, until


@pytest.fixture
def evidence(reader, trail):
    trail.start()
    return EvidenceReader(reader)


@pytest.fixture
def chat(trail):
    def put(at, **changes):
        facts = {"closed_at": at + 0.5} | changes
        intent = an_intent(opened_at=at)
        trail.finish(intent, a_closing(**facts), 10.0)
        return intent

    return put


def test_chats_come_oldest_first_over_all_pages_and_no_words_with_them(
    evidence, chat, monkeypatch
):
    monkeypatch.setattr(module, "PAGE", 3)
    times = [1000.0, 1000.0, 1000.0, 1000.0, 1001.0, 1002.0, 1003.0, 1010.0]
    put = [chat(at) for at in reversed(times)]

    found = list(evidence.chats(1000.0, 1010.0))

    assert [one.opened_at for one in found] == times[:-1]
    assert {one.id for one in found} == {intent.id for intent in put[1:]}
    assert {one.facts for one in found} == {None}
    assert all(one.is_chat for one in found)


def test_events_come_apart_from_chats_and_knots(evidence, chat, trail):
    chat(1000.0)
    Events(trail, lambda: 1001.0).verdict_turned("switch", "dns")

    (event,) = until(lambda: list(evidence.events(1000.0, 1100.0)))

    assert (event.route, event.code, event.provider) == (
        "health",
        "upstream_down",
        "switch",
    )
    assert (event.fact("reason"), event.fact("other")) == ("dns", None)
    assert not event.is_chat
    assert len(list(evidence.chats(1000.0, 1100.0))) == 1


def test_refusals_that_were_counted_are_as_many_chats(evidence, trail):
    sum_of_them = an_intent(opened_at=1000.0, request='{"repeats":17}')
    refused = a_closing(outcome="refused", status=503, code="overloaded")
    trail.finish(sum_of_them, refused, 10.0)

    (found,) = evidence.chats(0.0, 2000.0)

    assert found.chats == 17


def test_a_beat_is_a_knot_of_a_lane(evidence, trail):
    knot = an_intent(opened_at=1000.0, route=KNOT)
    trail.finish(knot, a_closing(outcome="event", code=KNOT), 10.0)

    assert list(evidence.beats(0.0, 2000.0)) == [(1, 1000.0)]
    assert list(evidence.events(0.0, 2000.0)) == []
    assert list(evidence.chats(0.0, 2000.0)) == []


def test_a_head_of_earlier_is_found_where_it_was(evidence, chat, reader, sql):
    chat(1000.0)
    (head,) = reader.heads()
    noted = str(head)
    chat(1001.0)

    assert evidence.anchored(noted) == "there"
    assert evidence.anchored(f"{noted[:-1]}{'0' if noted[-1] != '0' else '1'}") == (
        "missing"
    )
    assert evidence.anchored(f"1:{head.seq + 10}:{'a' * 64}") == "missing"
    assert evidence.tips()[0] != noted
    assert place_of(reader.heads()[0]).seq >= head.seq + 1

    sql(f"UPDATE chain SET floor_seq = {head.seq + 1}, floor_digest = x'{'ab' * 32}'")
    assert evidence.anchored(noted) == "pruned"
    with pytest.raises(ValueError, match="LANE:SEQ:DIGEST"):
        evidence.anchored("nonsense")


def test_what_is_no_json_of_ours_is_no_fact(evidence, trail):
    odd = an_intent(opened_at=1000.0, request=json.dumps([1, 2]))
    trail.finish(odd, a_closing(outcome="event", attempts="nonsense"), 10.0)

    (event,) = evidence.events(0.0, 2000.0)

    assert (event.fact("reason"), event.made()) == (None, [])
