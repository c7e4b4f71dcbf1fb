"""One asks and the others wait, for as long as the one lives."""

import threading

import pytest

from app.gateway.kept.claims import LEASE, SharedClaims
from app.gateway.shared import InProcessState
from app.storage.shared.shared_memory import SharedMemory
from tests.support.fakes import FakeClock
from tests.support.stack import wait_until

KEY, OTHER = b"k" * 32, b"o" * 32


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(params=["in process", "shared memory"])
def shared(request, clock, tmp_path):
    if request.param == "in process":
        yield InProcessState(clock)
        return
    memory = SharedMemory(tmp_path / "memory", clock, wait=60.0)
    yield memory
    memory.close()


@pytest.fixture
def make(shared):
    made = []

    def make():
        made.append(SharedClaims(shared, pause=lambda _: None))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_the_first_one_has_it_until_it_lets_go(make):
    here, there = make(), make()

    assert here.claim(KEY, b"mark") is None
    holder = there.claim(KEY, b"other")
    assert holder.mark == b"mark"
    assert there.is_held(KEY, holder)
    assert there.claim(OTHER, b"other") is None

    here.release(KEY)

    assert not there.is_held(KEY, holder)
    assert there.claim(KEY, b"other") is None


def test_a_claim_that_follows_is_another_one(make):
    here, there = make(), make()
    here.claim(KEY, b"mark")
    first = there.claim(KEY, b"mark")
    here.release(KEY)

    here.claim(KEY, b"mark")

    assert not there.is_held(KEY, first)
    assert there.claim(KEY, b"mark").name != first.name


def test_nobody_ends_the_claim_of_another(make):
    here, there = make(), make()
    here.claim(KEY, b"mark")

    there.release(KEY)

    assert there.claim(KEY, b"mark") is not None


def test_who_waits_in_the_same_process_is_woken(make):
    here = make()
    here.claim(KEY, b"mark")
    woken = threading.Event()
    twin = threading.Thread(target=lambda: (here.wait(KEY, 60), woken.set()))
    twin.start()

    here.release(KEY)

    assert woken.wait(30)
    twin.join(30)


class Watched:
    """A state that counts who looks, and who changes anything."""

    def __init__(self, state):
        self._state = state
        self.looks = self.changes = 0

    def read(self, key):
        self.looks += 1
        return self._state.read(key)

    def update(self, key, change, ttl=None):
        result = self._state.update(key, change, ttl)
        self.changes += 1
        return result


def test_a_living_process_keeps_its_claims(make, shared, clock):
    watched = Watched(shared)
    here, there = SharedClaims(watched, renewal=0.01), make()
    here.claim(KEY, b"mark")
    holder = there.claim(KEY, b"mark")

    for _ in range(5):
        clock.advance(LEASE * 0.9)
        before = watched.changes
        wait_until(lambda before=before: watched.changes > before + 1)

    assert there.claim(KEY, b"mark") == holder
    here.close()


def test_a_dead_one_loses_them_within_the_lease(make, clock):
    here, there = make(), make()
    here.claim(KEY, b"mark")
    here.close()
    holder = there.claim(KEY, b"mark")

    clock.advance(LEASE + 0.1)

    assert not there.is_held(KEY, holder)
    assert there.claim(KEY, b"mark") is None


def test_one_that_was_frozen_does_not_take_back_what_is_anothers(make, shared, clock):
    other, third = make(), make()
    watched = Watched(shared)
    frozen = SharedClaims(watched, renewal=0.01)
    frozen.claim(KEY, b"frozen")
    holder = None
    while holder is None or holder.mark == b"frozen":
        clock.advance(LEASE + 0.1)  # until the renewal comes too late
        holder = other.claim(KEY, b"other") or third.claim(KEY, b"third")
    before = watched.looks
    wait_until(lambda: watched.looks > before + 2)

    frozen.release(KEY)

    assert third.claim(KEY, b"third") == holder
    frozen.close()
    for one in (other, third):
        one.close()
    clock.advance(LEASE + 0.1)
    assert not third.is_held(KEY, holder), "it was made to last for ever"


def test_of_many_at_once_one_has_it(make):
    every = [make() for _ in range(16)]
    start, won = threading.Barrier(16), []

    def run(one):
        start.wait()
        if one.claim(KEY, b"mark") is None:
            won.append(one)

    threads = [threading.Thread(target=run, args=(one,)) for one in every]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(won) == 1
