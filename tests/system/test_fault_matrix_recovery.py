"""Outages, and what all workers of a host make of them (docs/faults.md, A and E).

Some of it in this process, on real connections; what is about several workers under
real gunicorn. Time limits are scaled down where that changes nothing.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app import create_app
from app.gateway.guard.prober import LEASE_MARGIN, PROBE_LIMIT, RECHECK, TICK
from app.gateway.records.audit import Query
from app.settings import Settings
from tests.support.stack import TOKEN, Gateway, sandbox, wait_until

MADRE_CONCURRENCY = 4
NOISE = 0.5  # this box is shared; what is not a wait must still be quick
# Until a recovery is noticed, where the worker that had the probe has died.
LONGEST = PROBE_LIMIT + LEASE_MARGIN + RECHECK + TICK + NOISE


@pytest.fixture(scope="module")
def stand_ins():
    with sandbox() as (switch, madre):
        yield switch, madre


@pytest.fixture
def upstreams(stand_ins):
    yield stand_ins
    for upstream in stand_ins:
        upstream.heal()


@pytest.fixture
def switch(upstreams):
    return upstreams[0]


@pytest.fixture
def madre(upstreams):
    return upstreams[1]


class InThisProcess:
    """The whole app behind a test client."""

    def __init__(self, upstreams, folder, **settings):
        switch, madre = upstreams
        app = create_app(
            Settings(
                token=TOKEN,
                switch_url=switch.url,
                madre_url=madre.url,
                audit_url=f"sqlite:///{folder}/audit.db",
                **settings,
            )
        )
        self.services = app.extensions["gateway"]()
        self.client = app.test_client()
        self.verdict = self.services.health.verdict
        wait_until(lambda: all(map(self.verdict, self.services.upstreams)))

    def ask(self):
        """(answer, seconds, faults of the attempts)."""
        started = time.monotonic()
        answer = self.client.post(
            "/operator/api/chat",
            json={"message": "Hello"},
            headers={"X-VX11-Token": TOKEN},
        )
        took = time.monotonic() - started
        record = self.services.records.get(answer.headers["X-Correlation-ID"])
        return answer, took, [a["fault"] for a in json.loads(record.attempts)]

    def provider(self):
        return self.ask()[0].json["provider"]

    def events(self):
        """What circuits did, the newest first."""
        return self.services.records.search(Query(outcome="event"))


@pytest.fixture
def here(upstreams, tmp_path):
    made = []

    def make(**settings):
        made.append(InThisProcess(upstreams, tmp_path, **settings))
        return made[-1]

    yield make
    for one in made:
        one.services.close()


@pytest.fixture(scope="module")
def gunicorn(stand_ins, tmp_path_factory):
    """A gateway of four workers."""
    switch, madre = stand_ins
    with Gateway(
        tmp_path_factory.mktemp("gunicorn"),
        workers=4,
        switch_url=switch.url,
        madre_url=madre.url,
        switch_timeout=4.0,
        madre_concurrency=MADRE_CONCURRENCY,
        hang_check_after=0.4,
    ) as gateway:
        yield gateway


@pytest.fixture
def four_workers(gunicorn, upstreams):
    """The same, once all is well again after the test before."""
    wait_until(lambda: len(gunicorn.workers()) == 4)
    wait_until(lambda: gunicorn.upstreams_are(switch="up", madre="up"))
    wait_until(lambda: gunicorn.chat().json()["provider"] == "switch")
    return gunicorn


def at_once(ask, count):
    """Ask that often at the same time; return what each gave, and the seconds."""

    def timed(_):
        started = time.monotonic()
        return ask(), time.monotonic() - started

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(timed, range(count)))


PASSED_OVER = {"unhealthy", "circuit_open", "resting", "no_slot"}


def attempts_on_switch(gateway, answers):
    """The faults of every real attempt on it, from the answers' records."""
    asked = {answer.headers["X-Correlation-ID"] for answer in answers}
    faults = [
        attempt["fault"]
        for row in gateway.records()
        for attempt in json.loads(row["attempts"] or "[]")
        if row["correlation_id"] in asked and attempt["upstream"] == "switch"
    ]
    return [fault for fault in faults if fault not in PASSED_OVER]


class TestAnOutageMetByFourWorkers:
    """At most 4 attempts on the dead upstream for 15 requests, whoever gets them."""

    @pytest.mark.parametrize(
        ("fault", "recorded"),
        [
            ("refuse", "connect_refused"),
            ("frozen", "silent"),
        ],
    )
    def test_costs_four_attempts(self, four_workers, switch, fault, recorded):
        switch.break_with(fault)

        answers = [a for n in (4, 4, 4, 3) for a in at_once(four_workers.chat, n)]

        assert [a.json()["provider"] for a, _ in answers] == ["madre"] * 15
        later = sorted(took for _, took in answers[4:])
        assert later[8] < NOISE
        made = attempts_on_switch(four_workers, [a for a, _ in answers])
        assert set(made) == {recorded}
        assert len(made) <= 4

    def test_where_its_health_answers_it_takes_twenty_time_limits_in_a_row(
        self, four_workers, switch
    ):
        """A chat that takes too long may be a long one; so many are not."""
        switch.break_with("hang")

        answers = at_once(four_workers.chat, 24)

        assert {a.json()["provider"] for a, _ in answers if a.ok} == {"madre"}
        assert four_workers.services()["switch"]["breaker"] != "closed"

    def test_costs_one_if_they_come_one_after_the_other(self, four_workers, switch):
        """A worker hears of it within a quarter of a second; see the row above."""
        switch.break_with("refuse")

        answers = [four_workers.chat()]
        wait_until(
            lambda: all(
                four_workers.upstreams_are(switch="down", madre="up") for _ in range(16)
            )
        )
        answers += [four_workers.chat() for _ in range(14)]

        assert {a.json()["provider"] for a in answers} == {"madre"}
        assert attempts_on_switch(four_workers, answers) == ["connect_refused"]


class TestAFrozenSwitch:
    def test_with_the_real_numbers_is_given_up_within_six_seconds(self, here, switch):
        gateway = here()
        switch.break_with("frozen")

        first, took, faults = gateway.ask()
        _, later, faults_later = gateway.ask()

        assert (first.json["provider"], faults) == ("madre", ["silent", None])
        assert 5.0 <= took < 6.0
        assert (later < NOISE, faults_later) == (True, ["unhealthy", None])

    def test_that_is_slow_but_healthy_keeps_its_time(self, here, switch):
        """Four inquiries fit into that time, and each is answered."""
        gateway = here(hang_check_after=0.4)
        switch.break_with("slow", seconds=2.5)

        answer, took, faults = gateway.ask()

        assert (answer.json["provider"], faults) == ("switch", [None])
        assert took >= 2.5

    def test_that_only_hangs_in_chats_has_its_full_limit(self, here, switch):
        gateway = here(hang_check_after=0.4, switch_timeout=2.0)
        switch.break_with("hang")

        _, took, faults = gateway.ask()

        assert faults == ["read_timeout", None]
        assert took >= 2.0


def test_row_27_one_429_rests_the_upstream_for_all_workers(here, switch):
    """Two apps on one database and address are two workers of one instance."""
    one, other = here(), here()
    switch.break_with("rate_limited", retry_after="3600")
    before = switch.chats

    faults = [gateway.ask()[2] for gateway in (one, other, one, other)]

    assert faults == [["rate_limited", None], *[["resting", None]] * 3]
    assert switch.chats == before + 1
    assert other.verdict("switch").is_healthy  # full is not out


def test_row_31_a_flapping_upstream_costs_nobody_an_answer(here, switch):
    gateway = here()
    switch.break_with("flap", period=0.5)

    until = time.monotonic() + 6
    answers = [gateway.ask()[0] for _ in iter(lambda: time.monotonic() < until, False)]

    assert {a.status_code for a in answers} == {200}
    assert {a.json["provider"] for a in answers} == {"switch", "madre"}


def test_row_31_what_the_circuit_did_is_on_record_with_who_caused_it(here, switch):
    gateway = here()
    switch.break_with("html")
    for _ in range(5):
        answer, _, _ = gateway.ask()
    caused_by = answer.json["correlation_id"]
    switch.heal()
    wait_until(lambda: gateway.provider() == "switch", every=0.05)

    def of_circuits():
        return [e for e in gateway.events() if e.code.startswith("circuit_")]

    events = wait_until(lambda: len(found := of_circuits()) == 3 and found)

    assert [event.code for event in events[::-1]] == [
        "circuit_open",
        "circuit_half_open",
        "circuit_closed",
    ]
    assert {event.provider for event in events} == {"switch"}
    assert events[-1].correlation_id == caused_by
    chat = gateway.services.records.get(caused_by)
    assert chat.outcome == "completed"  # and not one of the events


class TestRow32Recovery:
    def test_is_noticed_within_five_seconds_without_a_completion(
        self, four_workers, switch
    ):
        """Also when workers die in that moment, one of which may have the probe."""
        switch.break_with("refuse")
        four_workers.chat()
        wait_until(lambda: four_workers.upstreams_are(switch="down"))
        chats = switch.chats

        for worker in four_workers.workers()[:2]:
            worker.kill()
        switch.heal()
        healed = time.monotonic()
        wait_until(lambda: four_workers.upstreams_are(switch="up"), every=0.05)

        assert time.monotonic() - healed < LONGEST < 5
        assert switch.chats == chats
        assert four_workers.chat().json()["provider"] == "switch"

    def test_of_an_outage_ends_the_open_time_of_the_circuit_too(self, here, switch):
        gateway = here(breaker_failures=1, breaker_open=60.0)
        switch.break_with("refuse")
        gateway.ask()
        assert gateway.ask()[2] == ["unhealthy", None]

        switch.heal()
        healed = time.monotonic()
        wait_until(lambda: gateway.provider() == "switch", every=0.05)

        assert time.monotonic() - healed < RECHECK + TICK + 1 + NOISE

    def test_of_a_bad_one_takes_an_open_interval_and_no_more(self, here, switch):
        gateway = here()
        switch.break_with("html")
        for _ in range(5):
            gateway.ask()
        assert gateway.ask()[2] == ["circuit_open", None]

        switch.heal()
        healed = time.monotonic()
        wait_until(lambda: gateway.provider() == "switch", every=0.05)

        assert time.monotonic() - healed < 1 + 1 + NOISE


def test_row_33_slow_answers_are_delivered_and_open_the_circuit(here, switch):
    gateway = here(breaker_slow_call=0.3)
    switch.break_with("slow", seconds=0.4)

    slow = [gateway.provider() for _ in range(5)]
    _, took, faults = gateway.ask()

    assert slow == ["switch"] * 5
    assert (faults, took < NOISE) == (["circuit_open", None], True)


def test_row_35_with_both_circuits_open_the_503_comes_at_once(here, upstreams):
    gateway = here(breaker_failures=2, breaker_open=60.0)
    for upstream in upstreams:
        upstream.break_with("http_status", status=500)
    for _ in range(2):
        gateway.ask()

    answers = [gateway.ask() for _ in range(5)]

    for answer, _, faults in answers:
        asked_after_all = ["http_5xx"] * 2
        assert answer.status_code == 503
        assert faults == ["circuit_open"] * 2 + asked_after_all
        assert int(answer.headers["Retry-After"]) >= 1
    assert sorted(took for _, took, _ in answers)[2] < 0.1


def test_row_84_there_is_one_probe_per_interval_for_the_whole_host(
    four_workers, switch
):
    switch.break_with("refuse")
    at_once(four_workers.chat, 16)  # whoever answers these could want to probe
    switch.break_with("http_status", path="/health", status=500)
    before, started = probes(switch), time.monotonic()

    at_once(four_workers.status, 50)
    wait_until(lambda: probes(switch) - before >= 4)

    took = time.monotonic() - started
    assert probes(switch) - before <= took / (0.9 * RECHECK) + 1


def probes(upstream):
    return sum(r.path == "/health" for r in list(upstream.requests))


def test_row_85_nobody_waits_for_a_probe_that_hangs(here, switch):
    gateway = here()
    switch.break_with("hang", path="/health")
    took = [gateway.ask()[1] for _ in range(10)]

    assert sorted(took)[5] < 0.1 + NOISE
    assert gateway.verdict("switch").is_healthy  # the last one, and how old it is


def test_row_87_madre_has_its_own_places_when_switch_is_dead(
    four_workers, switch, madre
):
    switch.break_with("refuse")
    four_workers.chat()
    madre.break_with("slow", seconds=2.0)
    before = madre.chats

    answers = at_once(four_workers.chat, 12)

    served = [a for a, _ in answers if a.status_code == 200]
    refused = [(a, took) for a, took in answers if a.status_code == 503]
    # They wait for a place for three seconds: one more round of two.
    assert len(served) == 2 * MADRE_CONCURRENCY == madre.chats - before
    assert len(refused) == 12 - 2 * MADRE_CONCURRENCY
    assert max(took for _, took in refused) < 3.0 + NOISE
    assert all(int(a.headers["Retry-After"]) >= 1 for a, _ in refused)
    madre.heal()
    assert four_workers.chat().status_code == 200  # and the places are free again


def test_a_circuit_that_is_open_is_open_in_every_worker(here, switch):
    one, other = here(), here()
    switch.break_with("html")
    for _ in range(5):
        one.ask()

    assert other.ask()[2] == ["circuit_open", None]
