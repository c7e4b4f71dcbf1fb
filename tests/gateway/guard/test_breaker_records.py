from contextvars import Context

from app.gateway import correlation
from app.gateway.guard.breaker import Transition
from app.gateway.guard.breaker_records import RecordedTransitions
from app.gateway.guard.circuit import Phase
from tests.support.fakes import FakeTrail


def test_a_transition_is_a_record_found_by_the_chat_that_caused_it():
    trail = FakeTrail()
    record = RecordedTransitions(trail, wall_clock=lambda: 1_700_000_000.0)

    chat = Context()

    chat.run(correlation.current.set, "the-chat")
    chat.run(record, Transition("switch", Phase.OPEN, Phase.HALF_OPEN, until=0.0))

    ((intent, closing),) = trail.closed
    assert (intent.correlation_id, intent.route) == ("the-chat", "breaker")
    assert intent.opened_at == closing.closed_at == 1_700_000_000.0
    assert (closing.outcome, closing.code) == ("event", "circuit_half_open")
    assert closing.provider == "switch"
    assert intent.request == "{}"


def test_a_circuit_of_one_caller_names_that_caller():
    trail = FakeTrail()

    RecordedTransitions(trail)(
        Transition("switch", Phase.CLOSED, Phase.OPEN, until=9.0, caller="mallory")
    )

    ((intent, _),) = trail.closed
    assert intent.request == '{"caller": "mallory"}'
