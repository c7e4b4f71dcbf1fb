"""The server goes away, stops, forgets its standby: what callers are told, and when."""

import signal
import threading

import pytest
import sqlalchemy as sa

from app.gateway.errors import AuditUnavailable, SearchTookTooLong
from app.gateway.records.audit import Query
from app.storage.audit.reader import fetch
from app.storage.trail import open_backend
from tests.storage.making import (
    KEY,
    a_closing,
    an_intent,
    is_refusing,
    record_one,
    until,
)
from tests.support.postgres import PostgresServer
from tests.support.relay import Relay

CANCEL_WAITS = """
SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'
"""
SLEEPING = """
SELECT count(*) FROM pg_stat_activity
WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active' AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
def postgres():
    """A server of this module's own, as it is broken here."""
    with PostgresServer() as server:
        yield server
        server.thaw()


def test_a_trail_comes_back_by_itself_after_a_crash_of_the_server(
    postgres, open_trail, backend
):
    trail = open_trail()
    before = record_one(trail)

    postgres.stop(signal.SIGQUIT)
    assert until(lambda: is_refusing(trail)) == "unreachable"
    with pytest.raises(AuditUnavailable):
        trail.finish(an_intent(), a_closing(), 5.0)
    postgres.start()

    until(lambda: not is_refusing(trail), 5)
    after = record_one(trail)
    check = backend.verify()
    assert check.ok
    assert {before.id, after.id} <= {r.id for r in backend.records().search(Query())}


def test_a_gateway_may_start_before_its_server(postgres, open_trail, backend):
    postgres.stop()
    trail = open_trail()
    assert is_refusing(trail) == "unreachable"

    postgres.start()

    until(lambda: not is_refusing(trail))
    record_one(trail)
    assert backend.verify().rows == 1


def test_a_server_that_hangs_is_stuck_and_loses_nothing(postgres, open_trail, backend):
    trail = open_trail()
    record_one(trail)
    intent = an_intent()

    postgres.freeze()
    with pytest.raises(AuditUnavailable, match="too_slow"):
        trail.finish(intent, a_closing(), 0.5)
    assert until(lambda: is_refusing(trail)) == "stuck"
    postgres.thaw()

    until(lambda: not is_refusing(trail))
    trail.close()
    record = backend.records().get(intent.id)
    corrections = [r for r in backend.records().search(Query()) if r.corrects]
    assert record.outcome == "failed" or corrections
    assert backend.verify().ok


def test_a_reader_is_not_held_up_by_a_server_that_hangs(postgres, open_trail, backend):
    record_one(open_trail())
    reader = backend.records()
    reader.search(Query())
    engine = reader._engine

    with engine.connect():
        postgres.freeze()
    with pytest.raises((AuditUnavailable, SearchTookTooLong)):
        fetch(engine, sa.text("SELECT 1"), limit=0.2)
    postgres.thaw()

    assert until(lambda: reader.search(Query()))


def test_a_cable_that_is_cut_is_noticed_and_the_others_go_on(
    postgres, postgres_url, open_trail, backend
):
    relay = Relay(postgres.port)
    url = postgres_url.replace(str(postgres.port), str(relay.port))
    cut_off, other = open_trail(open_backend(url, KEY)), open_trail()
    record_one(cut_off)
    record_one(other)

    relay.is_silent = relay.is_down = True

    with pytest.raises(AuditUnavailable):
        cut_off.finish(an_intent(), a_closing(), 1.0)
    for _ in range(20):
        record_one(other, timeout=1.0)
    until(lambda: is_refusing(cut_off))
    relay.cut()
    relay.is_silent = relay.is_down = False
    until(lambda: not is_refusing(cut_off))
    record_one(cut_off)
    relay.close()
    assert backend.verify().ok


@pytest.fixture
def standby(postgres):
    """Have commits wait for a standby that is not there, or not any more."""

    def wanted(name):
        with postgres.connect() as connection:
            connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
            connection.execute("SELECT pg_reload_conf()")

    yield wanted
    wanted("")  # else whatever comes next would wait for ever


def test_a_commit_that_no_standby_takes_is_no_commit(
    postgres, open_trail, backend, standby
):
    trail = open_trail()
    record_one(trail)
    standby("nobody")
    told = []

    def chat():
        """Until the server knows by its new configuration whom it waits for."""
        while not told:
            intent = an_intent()
            try:
                trail.finish(intent, a_closing(), 20.0)
            except AuditUnavailable as refusal:
                told.append((intent.id, str(refusal)))

    caller = threading.Thread(target=chat)
    caller.start()
    assert until(lambda: is_refusing(trail)) == "stuck"
    with postgres.connect() as connection:
        # The first that waits may be the writer's own sign of life.
        until(lambda: connection.execute(CANCEL_WAITS) and told)
    caller.join(20)

    ((refused, reason),) = told
    assert reason == "not_replicated"
    standby("")
    until(lambda: not is_refusing(trail))
    trail.close()
    corrected = {r.corrects for r in backend.records().search(Query())}
    assert refused in corrected
    assert backend.verify().ok


def test_a_wait_for_a_standby_ends_when_there_is_one_again(
    open_trail, backend, standby
):
    """Here: when none is asked for any more; the commit that waited is one then."""
    trail = open_trail()
    record_one(trail)
    standby("nobody")
    trail.note(an_intent(), a_closing())
    assert until(lambda: is_refusing(trail)) == "stuck"

    standby("")

    until(lambda: not is_refusing(trail))
    assert backend.verify().ok


def test_hosts_of_a_url_are_tried_in_turn(postgres, postgres_url, open_trail):
    port = postgres.port
    several = postgres_url.replace(f"127.0.0.1:{port}", f"127.0.0.1:1,127.0.0.1:{port}")

    trail = open_trail(open_backend(several, KEY))

    record_one(trail)


def test_a_search_that_takes_too_long_is_ended_at_the_server(open_trail, backend, do):
    record_one(open_trail())
    engine = backend.records()._engine

    with pytest.raises(SearchTookTooLong):
        fetch(engine, sa.text("SELECT pg_sleep(30)"), limit=0.2)

    until(lambda: do(SLEEPING) == [(0,)])


def test_an_open_row_names_its_worker_and_that_its_host(postgres, open_trail, do):
    record_one(open_trail())

    ((worker, owner, name),) = do(
        "SELECT worker, owner, name FROM records JOIN chain ON lane = chain.id"
    )
    assert worker == owner
    assert worker.startswith(name)
