"""How fast the pruner goes: small batches, and pauses while there are chats."""

import sqlite3
from contextlib import closing
from math import inf
from random import Random

import pytest

from app.storage.chain.links import GENESIS
from app.storage.chain.retention import FOR_EVER, Keep
from app.storage.retention.pruner import AGAIN, LEAST, MOST, PASS_EVERY, PAUSE, ROWS
from app.storage.sqlite.retention.covering import (
    LONGEST_WAIT,
    CoveringPruner,
    LogInUse,
)
from app.storage.sqlite.retention.stale_bytes import StaleBytes

KEEP = Keep(words=60.0)


class Store:
    """Commits that take as long as they are told to, by a clock that is passed in."""

    def __init__(self):
        self.now, self.takes, self.due, self.seq = 1000.0, 0.01, 0, 0
        self.is_log_free = True

    def commit(self, plan, *, empties_log=False):
        self.now += self.takes
        if empties_log:
            if not self.is_log_free:
                raise LogInUse
            return None
        if not self.due:
            return None
        self.due -= 1
        self.seq += 1
        return GENESIS.__class__(self.seq, bytes(32), 0.0)


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def pruner(store, tmp_path):
    return CoveringPruner(KEEP, tmp_path / "no.db", "w", clock=lambda: store.now)


def test_a_gateway_that_keeps_all_is_never_asked_again(store, tmp_path):
    pruner = CoveringPruner(FOR_EVER, tmp_path / "no.db", "w")

    assert pruner.turn(store.commit, is_idle=True) == inf
    assert pruner.ask_again == inf


def test_batches_take_about_as_long_as_they_should(store, pruner):
    store.due = 100
    store.takes = 0.1
    for _ in range(5):
        pruner.turn(store.commit, is_idle=True)
    assert pruner._rows == LEAST

    store.takes = 0.001
    for _ in range(10):
        pruner.turn(store.commit, is_idle=True)
    assert pruner._rows == MOST > ROWS


def test_chats_under_way_make_pauses_longer_and_so_do_those_of_other_workers(
    store, pruner
):
    store.due = 100
    pruner.turn(store.commit, is_idle=True)

    assert pruner.turn(store.commit, is_idle=True) == pytest.approx(0.01)
    assert pruner.turn(store.commit, is_idle=False) == pytest.approx(0.01 * PAUSE)
    store.seq += 5  # another worker's records
    assert pruner.turn(store.commit, is_idle=True) == pytest.approx(0.01 * PAUSE)


def test_a_pass_ends_when_the_log_is_empty_and_begins_again_after_an_hour(
    store, pruner
):
    store.is_log_free = False
    assert pruner.turn(store.commit, is_idle=True) == AGAIN
    store.is_log_free = True

    assert pruner.turn(store.commit, is_idle=True) == PASS_EVERY
    store.due = 1
    assert pruner.turn(store.commit, is_idle=True) == pytest.approx(PASS_EVERY)
    store.now += PASS_EVERY
    assert pruner.turn(store.commit, is_idle=True) < 1.0
    assert store.due == 0


def test_pages_are_covered_when_there_are_no_chats_or_after_a_while(store, pruner):
    assert pruner.turn(store.commit, is_idle=False) == AGAIN
    store.now += LONGEST_WAIT

    assert pruner.turn(store.commit, is_idle=False) == PASS_EVERY


def test_what_records_that_grew_have_left_in_pages_is_covered(tmp_path):
    path, random = tmp_path / "a.db", Random(1)
    numbers = list(range(2000))
    random.shuffle(numbers)
    words = {n: f"Canary {n} " * random.randint(1, 30) for n in numbers}
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("CREATE TABLE records (rest, words, salt, seq, mac)")
        connection.execute("BEGIN")
        for n in range(len(numbers)):
            row = ("-" * 150, None, None, n)
            connection.execute("INSERT INTO records VALUES (?, ?, ?, ?, NULL)", row)
        for n in numbers:
            grow = "UPDATE records SET words = ? WHERE seq = ?"
            connection.execute(grow, (words[n], n))
        connection.execute("UPDATE records SET words = NULL")
        connection.execute("COMMIT")
        assert b"Canary" in path.read_bytes()  # or there is nothing to be shown
        stale = StaleBytes(path)

        def cover():
            connection.execute("BEGIN")
            covered = stale.cover(connection, 1, len(numbers))
            connection.execute("COMMIT")
            return covered

        assert cover()
        assert b"Canary" not in path.read_bytes()
        assert cover() == 0
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
