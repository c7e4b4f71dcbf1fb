import threading

import pytest

from app.gateway.guard.health import NEWS, TTL, HealthBoard
from app.gateway.shared import InProcessState


@pytest.fixture
def shared(clock):
    return InProcessState(clock)


@pytest.fixture
def board(shared):
    return HealthBoard(shared)


def test_nothing_is_known_at_first(board):
    assert board.verdict("switch") is None


def test_a_verdict_is_believed_for_thirty_seconds(board, clock):
    board.note("switch", None)

    clock.advance(TTL - 0.1)
    assert board.verdict("switch").is_healthy
    clock.advance(0.2)
    assert board.verdict("switch") is None


def test_a_verdict_tells_since_when(board, clock):
    board.note("switch", "connect_refused")
    clock.advance(5)
    board.note("switch", "read_timeout")

    verdict = board.verdict("switch")

    assert (verdict.since, verdict.noted) == (1000.0, 1005.0)
    assert verdict.reason == "read_timeout"


def test_only_a_turn_is_announced(board):
    heard = []
    board.on_failure(lambda name: heard.append(f"{name} out"))
    board.on_recovery(lambda name: heard.append(f"{name} back"))

    for reason in (None, "reset", "reset", None, None, "reset"):
        board.note("switch", reason)

    assert heard == ["switch out", "switch back", "switch out"]


def test_an_outage_is_a_warning_and_its_end_is_not(board, caplog):
    caplog.set_level("INFO")

    for reason in ("connect_refused", None):
        board.note("switch", reason)

    assert [(r.levelname, r.message) for r in caplog.records] == [
        ("WARNING", "Upstream switch is down: connect_refused"),
        ("INFO", "Upstream switch is healthy again"),
    ]


def test_what_one_process_notes_the_others_know_when_they_refresh(shared):
    here, there = HealthBoard(shared), HealthBoard(shared)
    heard = []
    there.on_failure(heard.append)
    here.note("switch", None)
    there.refresh(["switch"])
    assert there.verdict("switch").is_healthy

    here.note("switch", "reset")
    assert there.verdict("switch").is_healthy
    there.refresh(["switch"])

    assert not there.verdict("switch").is_healthy
    there.note("switch", "reset")
    assert heard == []  # a turn is announced once in all


def test_a_refresh_keeps_no_verdict_for_longer_than_it_is_believed(shared, clock):
    here, there = HealthBoard(shared), HealthBoard(shared)
    here.note("switch", None)
    clock.advance(TTL - 1)
    there.refresh(["switch"])
    assert there.verdict("switch").is_healthy

    clock.advance(2)
    there.refresh(["switch"])

    assert there.verdict("switch") is None


def test_a_reader_asks_nobody_but_its_own_process(shared):
    board = HealthBoard(shared)
    board.note("switch", None)

    shared.update("health:switch", lambda _: (None, None))

    assert board.verdict("switch").is_healthy
    board.refresh(["switch"])
    assert board.verdict("switch") is None


def test_signs_of_life_that_are_no_news_are_not_written(board, shared, clock):
    board.note("switch", None)
    before = shared.read("health:switch")
    clock.advance(NEWS - 0.1)
    board.note("switch", None)
    assert shared.read("health:switch") == before

    clock.advance(0.2)
    board.note("switch", None)

    assert shared.read("health:switch") != before


def test_many_threads_may_use_it_at_once():
    """TTLCache alone breaks for good under this (measured)."""
    board, errors = HealthBoard(InProcessState(), ttl=0.0001), []

    def hammer():
        try:
            for n in range(3000):
                board.note(f"u{n % 7}", None if n % 2 else "reset")
                board.verdict(f"u{n % 5}")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=hammer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []


def test_of_one_that_is_never_probed_nothing_is_known(shared):
    """Nor what was noted of it while it was probed, before the settings changed."""
    HealthBoard(shared).note("single", "read_timeout")
    board, told = HealthBoard(shared, unprobed=("single",)), []
    board.on_failure(told.append)
    board.refresh(["single"])
    assert board.verdict("single") is None

    board.note("single", "connect_refused")
    board.note("other", "connect_refused")

    assert board.verdict("single") is None
    assert told == ["other"]
    assert [board.is_probed(name) for name in ("single", "other")] == [False, True]
