"""What hosts share: quotas taken in pieces, places held with a lease, and no engine."""

import threading

import pytest

from app.gateway.access.hosts import HostFacts
from app.gateway.access.pools import LEASE, PooledRateLimits, Wish
from app.gateway.access.rate_limits import WINDOW, FailedAuth
from app.gateway.budget import Budget
from app.gateway.errors import NeverSent
from app.gateway.guard.concurrency import ConcurrencyLimit
from app.gateway.guard.host_places import HostPlaces
from app.gateway.shared import InProcessState
from app.storage.backend import Host
from app.storage.postgres.connections import parameters_of
from app.storage.postgres.shared.pools import PostgresPools
from app.storage.shared.rate_limits import SlidingRateLimits
from app.storage.trail import open_backend
from tests.storage.making import KEY, record_one, until
from tests.support.postgres import PostgresServer

QUOTA = 1000


def open_pools(url, host, wait=30.0):
    """Pools whose answers are waited for, on a machine however busy."""
    pools = PostgresPools(parameters_of(url), host, wait=wait)
    pools.start()
    return pools


class Process:
    """A worker of a host: its limits, on a clock that the test sets."""

    def __init__(self, url, host="a", wait=30.0):
        self.now = 100.0
        self.pools = open_pools(url, host, wait)
        self.asked = 0
        own = SlidingRateLimits(InProcessState(self.clock), clock=self.clock)
        self.limits = PooledRateLimits(self, own, clock=self.clock)

    def clock(self):
        return self.now

    @property
    def sharers(self):
        return 4

    def take(self, wish, late):
        self.asked += 1
        self.pools.sharers = 4
        return self.pools.take(wish, late)

    def hold(self, *args):
        return self.pools.hold(*args)

    def flood(self, times, quota=QUOTA, every=0.001):
        """Ask so often; return how many were let in."""
        let_in = 0
        for _ in range(times):
            self.now += every
            let_in += self.limits.take("token:busy", quota).is_within
        return let_in


@pytest.fixture
def processes(postgres_url):
    found = [Process(postgres_url, host) for host in ("a", "a", "b", "b")]
    yield found
    for process in found:
        process.pools.close()


def test_an_even_flood_uses_the_quota_up_and_not_one_more(processes):
    let_in = [0] * len(processes)

    def run(number):
        let_in[number] = processes[number].flood(600)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert QUOTA * 0.95 <= sum(let_in) <= QUOTA


def test_a_lopsided_flood_uses_it_up_as_well(processes):
    busy, *others = processes
    for process in others:
        process.flood(2)

    total = 6 + busy.flood(1500)

    assert QUOTA * 0.95 <= total <= QUOTA


def test_a_hot_token_asks_four_times_a_second_at_most(processes):
    busy = processes[0]
    busy.flood(1000, quota=10**6)
    busy.asked = 0

    busy.flood(4000, quota=10**6)  # four seconds

    assert busy.asked <= 4 * 5


def test_what_was_not_spent_is_given_back(processes):
    one, other = processes[0], processes[2]
    one.flood(500)
    one.now += 2  # its piece is too old to be spent
    one.flood(1)

    assert other.flood(1000) + 501 >= QUOTA * 0.95


def test_failed_logins_of_a_source_are_counted_together(processes):
    doors = [FailedAuth(process.limits) for process in processes]
    heard = 0
    for number in range(40):
        door = doors[number % 4]
        if door.look("192.0.2.1").is_within:
            heard += 1
            door.note("192.0.2.1", "wrong")

    # The tenth is the last; each process learns it by one guess of its own.
    assert 10 <= heard <= 10 + len(doors)
    assert doors[0].look("192.0.2.2").is_within


def test_without_the_engine_the_sum_stays_within_the_quota():
    with PostgresServer() as server, server.database(server.prepared()) as name:
        found = [Process(server.url(name)) for _ in range(4)]
        let_in = found[0].flood(300, quota=400) + found[1].flood(20, quota=400)
        server.freeze()
        for process in found:
            process.pools._wait = 0.05
        try:
            let_in += sum(p.flood(200, quota=400) for p in found)
            for process in found:
                process.now += WINDOW + 1  # nothing of before is in this minute
            later = sum(p.flood(200, quota=400) for p in found)
        finally:
            server.thaw()
            for process in found:
                process.pools.close()

    assert let_in <= 400
    assert 0 < later <= 400


def test_an_engine_that_hangs_is_waited_for_by_one_request():
    with PostgresServer() as server, server.database(server.prepared()) as name:
        one = Process(server.url(name))
        one.flood(1)
        server.freeze()
        one.pools._wait = 0.05
        one.flood(1)  # it waits as long as was promised
        one.pools._wait = 3600.0

        one.flood(1000)  # nobody else does, or this would take hours

        server.thaw()
        until(lambda: one.flood(1))
        one.pools.close()


def a_limit(url, host, limit=8):
    state, pools = InProcessState(), open_pools(url, host)
    places = HostPlaces("places:madre", limit, state, pools)
    return ConcurrencyLimit("madre", state, limit, places=places), places, pools


def taken(limit, times):
    slots = []
    for _ in range(times):
        try:
            slots.append(limit.acquire(30.0))
        except NeverSent:
            break
    return slots


def test_two_hosts_never_have_more_places_than_there_are(postgres_url):
    (first, _, a), (second, _, b) = (a_limit(postgres_url, host) for host in "ab")

    six = taken(first, 6)
    rest = taken(second, 8)

    assert (len(six), len(rest)) == (6, 2)
    a.close()
    b.close()


def test_a_host_that_has_all_gives_way_to_one_that_has_none(postgres_url):
    (first, places, a), (second, _, b) = (a_limit(postgres_url, host) for host in "ab")
    all_of_them = taken(first, 8)
    assert taken(second, 1) == []

    for slot in all_of_them[:3]:
        first.release(slot)
    places._hold(first.running, first.running)

    got = until(lambda: taken(second, 8))
    assert first.running + len(got) <= 8
    a.close()
    b.close()


def test_what_a_dead_host_held_is_free_after_the_lease(postgres_url, do):
    (first, _, a), (second, _, b) = (a_limit(postgres_url, host) for host in "ab")
    assert len(taken(first, 8)) == 8
    a.close()

    do("UPDATE holdings SET until = until - %s * interval '1 second'", LEASE)

    assert until(lambda: len(taken(second, 8)) == 8)
    b.close()


def test_one_host_has_all_places_without_a_question_each_time(postgres_url):
    limit, _, pools = a_limit(postgres_url, "a")
    first = taken(limit, 3)
    pools.close()  # whoever asks from now on gets no answer

    for _ in range(50):
        limit.release(first.pop())
        first += taken(limit, 1)

    assert len(first) == 3


def test_living_writers_are_the_sharers(open_trail, postgres_url):
    for _ in range(3):
        record_one(open_trail())
    pools = open_pools(postgres_url, "a")

    pools.take(Wish("any", 1, 1, 1), print)

    assert pools.sharers == 3
    pools.close()


def test_a_wait_for_a_place_ends_when_another_host_has_one(postgres_url):
    (first, _, a), (second, _, b) = (a_limit(postgres_url, host, 1) for host in "ab")
    (slot,) = taken(first, 1)
    threading.Timer(0.3, first.release, [slot]).start()
    beat = threading.Timer(0.5, lambda: first._places.beat(first.running))
    beat.start()

    assert second.wait_for(1.0, Budget(20.0)) is not None
    beat.join()
    a.close()
    b.close()


def test_it_is_known_whose_the_lanes_are(postgres_url, tmp_path):
    """What a host tells is told anew each second, and stays a day behind its end."""
    told = [HostFacts("1", "a")]

    def about():
        return told[-1].to_json()

    backend = open_backend(postgres_url, KEY)
    here = Host(state_dir=tmp_path, about=about)
    trail = backend.trail(host=here)
    record_one(trail)
    pools = open_pools(postgres_url, "a")

    def versions():
        pools._lanes_at = 0.0  # at the next beat
        return {lane.facts.version: lane.silent for lane in pools.lanes}

    until(lambda: versions() == {"1": 0})
    told.append(HostFacts("2", "a"))
    until(lambda: versions() == {"2": 0})
    trail.close()
    until(lambda: versions().get("2", 0) > 0 or not versions(), 20)
    pools.close()
