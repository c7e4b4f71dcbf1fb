"""Which requests a fault strikes, and what the catalogue promises."""

import inspect

import pytest

from sandbox.exchange import Exchange
from sandbox.faults import CATALOGUE

# Not the sandbox's: 4 is DNS, 6 needs certificates (both tested at the transport),
# 32 is `heal`.
ROWS = set(range(1, 40)) - {4, 6, 32}


def status(client):
    return int(client.answer()[0].split()[1])


def test_every_row_of_matrix_a_has_a_fault():
    assert {row for fault in CATALOGUE.values() for row in fault.rows} == ROWS


@pytest.mark.parametrize("fault", CATALOGUE.values(), ids=lambda f: f.name)
def test_every_fault_says_in_one_sentence_what_it_does(fault):
    first = next(iter(inspect.signature(fault.play).parameters.values()))

    assert fault.sentence.endswith(".")
    assert len(fault.sentence) < 88
    assert first.annotation is Exchange


def test_by_default_a_fault_strikes_the_chat_only(switch, connect):
    switch.break_with("http_status", status=500)
    client = connect(switch)

    client.chat()
    assert status(client) == 500
    client.get("/health")
    assert status(client) == 200


def test_a_fault_may_strike_another_path_only(switch, connect):
    switch.break_with("http_status", status=500, path="/health")
    client = connect(switch)

    client.chat()
    assert status(client) == 200
    client.get("/health")
    assert status(client) == 500


def test_a_fault_may_strike_every_path(switch, connect):
    switch.break_with("http_status", status=502, path="*")
    client = connect(switch)

    client.chat()
    assert status(client) == 502
    client.get("/health")
    assert status(client) == 502


def test_a_fault_may_strike_a_number_of_times(switch, connect):
    switch.break_with("http_status", times=2)
    client = connect(switch)

    seen = []
    for _ in range(3):
        client.chat()
        seen.append(status(client))

    assert seen == [500, 500, 200]


def test_a_healed_sandbox_answers_again(switch, connect):
    switch.break_with("http_status", path="*")
    switch.heal()
    client = connect(switch)
    client.chat()

    assert status(client) == 200


def test_a_later_fault_takes_the_place_of_the_one_before(switch, connect):
    switch.break_with("refuse")
    switch.break_with("http_status", status=504)
    client = connect(switch)
    client.chat()

    assert status(client) == 504


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        ("no_such_fault", {}),
        ("slow", {"minutes": 1}),
        ("slow", {"seconds": "1"}),
        ("slow", {"seconds": -1}),
        ("hang", {"times": 0}),
        ("refuse", {"times": 1}),
    ],
)
def test_what_the_catalogue_does_not_know_is_refused(switch, fault, options):
    with pytest.raises(ValueError, match=r"."):
        switch.break_with(fault, **options)


def test_a_number_will_do_for_a_text_and_a_whole_one_for_a_fraction(switch, connect):
    switch.break_with("rate_limited", retry_after=7)
    client = connect(switch)
    client.chat()
    assert "retry-after: 7\r\n" in client.answer()[0]

    switch.break_with("slow", seconds=0)
    client.chat()
    assert status(client) == 200


def test_a_request_held_up_before_the_healing_stays_held_up(switch, connect):
    switch.break_with("hang")
    client = connect(switch)
    client.chat()
    assert switch.wait_for_chats(1)

    switch.heal()

    assert client.hears_nothing_for(0.2)
