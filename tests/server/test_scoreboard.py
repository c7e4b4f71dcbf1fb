import os

from app.server.scoreboard import MOST, Scoreboard


def test_the_least_busy_is_found_among_those_who_are_there():
    board = Scoreboard(places=4)
    first, second = board.take_place(), board.take_place()

    board.tell(first, 7)
    board.tell(second, 3)
    assert board.least_busy() == 3

    board.leave_place(second)
    assert board.least_busy() == 7


def test_who_does_nothing_is_there_all_the_same():
    board = Scoreboard(places=2)

    board.tell(board.take_place(), 5)
    board.take_place()

    assert board.least_busy() == 0


def test_places_run_out_and_are_used_again():
    board = Scoreboard(places=1)
    place = board.take_place()

    assert board.take_place() is None
    board.leave_place(place)
    assert board.take_place() == place


def test_nobody_is_busier_than_can_be_told():
    board = Scoreboard(places=1)

    board.tell(board.take_place(), MOST + 5)

    assert board.least_busy() == MOST - 1


def test_what_a_worker_tells_is_known_to_its_siblings():
    board = Scoreboard(places=1)
    place = board.take_place()

    if (child := os.fork()) == 0:
        board.tell(place, 42)
        os._exit(0)
    os.waitpid(child, 0)

    assert board.least_busy() == 42
    assert not board.is_stopping


def test_that_somebody_ever_served_is_known_to_all():
    board = Scoreboard(places=2)
    assert not board.has_booted

    board.booted()

    assert board.has_booted
    assert not board.is_stopping
    assert board.take_place() is not None
