"""One asks and the others wait, for as long as the one lives."""

import threading

import psycopg
import pytest

from app.gateway.kept.claim_table import LEASE, HostClaimTable
from app.gateway.kept.claims import SharedClaims
from app.gateway.shared import InProcessState
from app.storage.postgres.connections import parameters_of
from app.storage.postgres.shared.pools import PostgresPools
from app.storage.shared.shared_memory import SharedMemory
from tests.support.fakes import FakeClock
from tests.support.stack import wait_until

KEY, OTHER = b"k" * 32, b"o" * 32


class ServersClock:
    """Moves the ends of the claims instead of a server's clock, which nobody sets."""

    def __init__(self, url):
        self._url = url

    def advance(self, seconds):
        with psycopg.connect(self._url) as connection:
            connection.execute(
                "UPDATE claims SET until = until - %s * interval '1 second'",
                (seconds,),
            )


@pytest.fixture(params=["in process", "shared memory", "postgresql"])
def kind(request):
    return request.param


@pytest.fixture
def clock(kind, request):
    if kind == "postgresql":
        return ServersClock(request.getfixturevalue("postgres_url"))
    return FakeClock()


@pytest.fixture
def table(kind, clock, tmp_path, request):
    if kind == "in process":
        yield HostClaimTable(InProcessState(clock))
    elif kind == "shared memory":
        memory = SharedMemory(tmp_path / "memory", clock, wait=60.0)
        yield HostClaimTable(memory)
        memory.close()
    else:
        url = request.getfixturevalue("postgres_url")
        pools = PostgresPools(parameters_of(url), "a host")
        pools.start()
        yield pools.claims(HostClaimTable(InProcessState()))
        pools.close()


@pytest.fixture
def make(table):
    made = []

    def make():
        made.append(SharedClaims(table, pause=lambda _: None))
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
    """A table that counts how often a claim was renewed."""

    def __init__(self, table):
        self._table = table
        self.poll, self.take, self.read = table.poll, table.take, table.read
        self.drop = table.drop
        self.renewals = 0

    def renew(self, key, mine):
        self._table.renew(key, mine)
        self._table.read(key)  # so that it is done
        self.renewals += 1


def test_a_living_process_keeps_its_claims(make, table, clock):
    watched = Watched(table)
    here, there = SharedClaims(watched, renewal=0.01), make()
    here.claim(KEY, b"mark")
    holder = there.claim(KEY, b"mark")

    for _ in range(5):
        clock.advance(LEASE * 0.9)
        before = watched.renewals
        wait_until(lambda before=before: watched.renewals > before + 1)

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


def test_one_that_was_frozen_does_not_take_back_what_is_anothers(make, table, clock):
    other, third = make(), make()
    watched = Watched(table)
    frozen = SharedClaims(watched, renewal=0.01)
    frozen.claim(KEY, b"frozen")
    holder = None
    while holder is None or holder.mark == b"frozen":
        clock.advance(LEASE + 0.1)  # until the renewal comes too late
        holder = other.claim(KEY, b"other") or third.claim(KEY, b"third")
    before = watched.renewals
    wait_until(lambda: watched.renewals > before + 2)

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
