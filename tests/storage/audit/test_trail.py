"""The contract of the port `Trail`, and how commits are grouped."""

import threading
import time

import pytest

from app.gateway.errors import AuditUnavailable
from tests.storage.making import a_closing, an_intent, record_one, until


def test_a_chat_is_on_record_when_finish_returns(trail, reader):
    intent = an_intent()

    trail.begin(intent)
    waited = trail.finish(intent, a_closing(), 10.0)

    record = reader.get(intent.id)
    assert (record.outcome, record.provider, record.seq) == ("completed", "switch", 1)
    assert record.request == intent.request
    assert 0 < waited < 10


def test_an_intent_is_on_record_while_the_upstream_works(trail, reader):
    intent = an_intent()

    trail.begin(intent)

    record = until(lambda: reader.get(intent.id))
    assert record.outcome is None
    assert record.seq is None


def test_a_chat_whose_intent_was_written_before_is_completed_in_place(trail, reader):
    intent = an_intent()
    trail.begin(intent)
    until(lambda: reader.get(intent.id))

    trail.finish(intent, a_closing(), 10.0)

    assert reader.get(intent.id).outcome == "completed"
    assert reader.get(intent.id).seq == 1


def test_a_refusal_is_put_on_record_though_nobody_waits(trail, reader):
    intent = an_intent()

    trail.note(intent, a_closing(outcome="refused", code="overloaded", status=503))

    assert until(lambda: reader.get(intent.id)).code == "overloaded"


def test_a_chat_that_began_without_a_record_can_still_be_finished(trail, reader):
    intent = an_intent()

    trail.finish(intent, a_closing(), 10.0)

    assert reader.get(intent.id).outcome == "completed"


def test_chats_of_many_threads_share_commits_and_get_places_of_their_own(
    trail, backend
):
    chats = [threading.Thread(target=record_one, args=(trail,)) for _ in range(64)]
    for chat in chats:
        chat.start()
    for chat in chats:
        chat.join()

    assert backend.verify().rows == 64


def test_text_that_has_no_utf8_costs_nobody_his_record(trail, reader, backend):
    odd = record_one(trail, request='"\ud800 \x00"', session_id="\udfff")

    record_one(trail)

    assert reader.get(odd.id).request == '"\\ud800 \\x00"'
    assert backend.verify().ok


@pytest.mark.parametrize(
    "odd",
    [10**20, -(10**30), 10**5000, True, 7.0, float("nan"), float("inf"), b"7", {}, "7"],
    ids=lambda odd: str(type(odd).__name__),
)
def test_an_answer_with_an_odd_number_has_its_row_without_it(
    odd, trail, reader, backend
):
    intent = an_intent()

    trail.begin(intent)
    trail.finish(intent, a_closing(input_tokens=odd, output_tokens=5), 10.0)

    record = reader.get(intent.id)
    assert (record.outcome, record.input_tokens) == ("completed", None)
    assert (record.output_tokens, record.reply) == (5, a_closing().reply)
    assert backend.verify().ok


@pytest.mark.parametrize("odd", [7, b"a", {"a": 1}, object()])
def test_an_answer_whose_words_are_none_has_its_row(odd, trail, reader, backend):
    intent = an_intent(caller=odd)

    trail.begin(intent)
    trail.finish(intent, a_closing(model=odd, degraded_by=odd), 10.0)

    record = reader.get(intent.id)
    assert (record.outcome, record.model, record.caller) == ("completed", None, "")
    assert backend.verify().ok


def test_the_largest_numbers_are_kept(trail, reader, backend):
    intent = an_intent()
    largest = 2**63 - 1

    trail.finish(intent, a_closing(input_tokens=largest, output_tokens=-largest), 10.0)

    assert reader.get(intent.id).input_tokens == largest
    assert backend.verify().ok


def test_an_id_that_is_taken_is_refused_and_the_first_record_stays(trail, reader):
    first = record_one(trail)

    with pytest.raises(AuditUnavailable, match="refused"):
        trail.finish(first, a_closing(reply='{"text":"London"}'), 10.0)

    assert "Paris" in reader.get(first.id).reply


def test_a_chat_whose_ending_cannot_be_set_can_be_closed_another_way(
    trail, reader, caplog
):
    intent = an_intent()
    trail.begin(intent)
    odd = a_closing(duration=None)

    with pytest.raises(TypeError):
        trail.finish(intent, odd, 10.0)
    trail.note(intent, odd)
    trail.note(intent, a_closing(outcome="failed"))

    until(lambda: reader.get(intent.id))
    trail.close()
    assert reader.get(intent.id).outcome == "failed"
    assert "refused" not in caplog.text  # no row of the intent came after that


def test_records_that_were_queued_are_written_when_the_trail_closes(backend, reader):
    trail = backend.trail()
    noted = [an_intent() for _ in range(700)]
    for intent in noted:
        trail.note(intent, a_closing(outcome="refused"))

    assert trail.close()

    assert backend.verify().rows == 700


def test_a_closed_trail_refuses(backend):
    trail = backend.trail()
    record_one(trail)
    trail.close()

    with pytest.raises(AuditUnavailable, match="closed"):
        trail.begin(an_intent())
    with pytest.raises(AuditUnavailable, match="closed"):
        trail.finish(an_intent(), a_closing(), 1.0)
    trail.note(an_intent(), a_closing())


def test_closing_twice_does_no_harm(backend):
    trail = backend.trail()
    record_one(trail)

    assert trail.close()
    assert trail.close()


def test_checking_costs_little_enough_for_every_request(trail):
    trail.check()
    began = time.thread_time()

    for _ in range(10_000):
        trail.check()

    assert (time.thread_time() - began) / 10_000 < 20e-6
