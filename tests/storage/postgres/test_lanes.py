"""Lanes: each writer has one of its own, and nobody writes into another's."""

import os
import random
import threading

import psycopg
import pytest

from app.gateway.errors import AuditUnavailable
from app.gateway.records.audit import Query
from app.storage.audit.errors import UnusableDatabase
from app.storage.audit.scan import scan
from app.storage.backend import Host
from app.storage.chain.verification import ignore
from app.storage.trail import open_backend
from tests.storage.making import (
    KEY,
    a_closing,
    an_intent,
    is_refusing,
    record_one,
    run_python,
    until,
)
from tests.support.relay import Relay


def test_writers_have_lanes_of_their_own_and_knots_tie_them(open_trail, backend):
    trails = [open_trail() for _ in range(3)]
    chats = [
        threading.Thread(target=lambda t=t: [record_one(t) for _ in range(20)])
        for t in trails
    ]
    for chat in chats:
        chat.start()
    for chat in chats:
        chat.join()

    check = backend.verify()
    assert (check.ok, check.rows) == (True, 60)
    assert [head.lane for head in check.heads] == [1, 2, 3]
    assert {head.seq for head in check.heads} == {20}


def test_a_restart_adds_no_lane(open_trail, backend):
    for _ in range(3):
        trail = open_trail()
        record_one(trail)
        trail.close()

    (head,) = backend.verify().heads
    assert (head.lane, head.seq) == (1, 3)


def test_who_lost_its_lane_writes_nothing_there_and_claims_another(
    open_trail, backend, do
):
    trail = open_trail()
    record_one(trail)

    do("UPDATE chain SET owner = 'another', alive_until = now() + interval '1 hour'")
    late = record_one(trail)

    check = backend.verify()
    assert check.ok
    assert {head.lane: head.seq for head in check.heads} == {1: 1, 2: 1}
    assert backend.records().get(late.id).seq == 1


def test_a_chat_that_was_closed_for_a_worker_believed_dead_is_refused_to_it(
    postgres, postgres_url, open_trail, backend
):
    relay = Relay(postgres.port)
    url = postgres_url.replace(str(postgres.port), str(relay.port))
    cut_off, other = open_trail(open_backend(url, KEY)), open_trail()
    intent = an_intent()
    cut_off.begin(intent)
    record_one(other)
    until(lambda: backend.records().get(intent.id))

    relay.is_down = True
    relay.cut()
    until(lambda: backend.records().get(intent.id).outcome == "interrupted", 30)
    relay.is_down = False
    until(lambda: not is_refusing(cut_off))

    with pytest.raises(AuditUnavailable, match="refused"):
        cut_off.finish(intent, a_closing(), 10.0)
    assert backend.records().get(intent.id).outcome == "interrupted"
    relay.close()
    assert backend.verify().ok


def test_the_open_chats_of_a_killed_worker_are_closed_by_the_others(
    postgres_url, open_trail, backend
):
    code = """
import os, signal, sys
from app.storage.audit.scan import scan
from app.storage.chain.verification import ignore
from app.storage.trail import open_backend
from tests.storage.making import KEY, an_intent
trail = open_backend(sys.argv[1], KEY).trail()
intent = an_intent()
trail.begin(intent)
print(intent.id, flush=True)
signal.pause()  # until it is killed
"""
    living = open_trail()
    record_one(living)
    with run_python(code, postgres_url) as worker:
        orphan = worker.stdout.readline().strip()
        until(lambda: backend.records().get(orphan))
        worker.kill()

    until(lambda: backend.records().get(orphan).outcome == "interrupted")
    assert backend.verify().ok


def cut_often(relay, chance, times):
    """Cut connections before, within and after statements."""
    for _ in range(times):
        threading.Event().wait(chance.uniform(0.02, 0.25))
        # The server may hear of it later, while the client connects anew.
        relay.cut(both=chance.random() < 0.5)


def test_connections_that_are_cut_around_commits_cost_no_record_and_double_none(
    postgres, postgres_url, open_trail, backend
):
    relay, over = Relay(postgres.port), threading.Event()
    url = postgres_url.replace(str(postgres.port), str(relay.port))
    trail = open_trail(open_backend(url, KEY))
    answered, refused = [], []

    def chat():
        while not over.is_set():
            intent = an_intent()
            try:
                trail.finish(intent, a_closing(), 5.0)
                answered.append(intent.id)
            except AuditUnavailable:
                refused.append(intent.id)
                over.wait(0.05)

    record_one(trail)
    chats = [threading.Thread(target=chat) for _ in range(4)]
    for one in chats:
        one.start()
    cut_often(relay, random.Random(13), 40)
    over.set()
    for one in chats:
        one.join()
    until(lambda: not is_refusing(trail))
    trail.close()
    relay.close()

    found = all_of(backend)
    completed = {r.id for r in found if r.outcome == "completed"}
    corrected = {r.corrects for r in found if r.corrects}
    assert set(answered) <= completed - corrected
    assert completed & set(refused) <= corrected
    assert len(answered) > 40
    check = backend.verify()
    assert (check.ok, check.rows) == (True, len(found))


def all_of(backend):
    return list(scan(backend.records(), Query(limit=10**6), ignore))


def test_a_lane_that_went_back_is_refused_until_an_operator_accepts_it(
    open_trail, backend, do
):
    trail = open_trail()
    for _ in range(3):
        record_one(trail)
    (head,) = do("SELECT seq, digest, sealed_at, knotted_at, mac FROM chain")
    for _ in range(4):
        record_one(trail)
    trail.close()
    # What a standby that got the last records too late looks like.
    do("ALTER TABLE records DISABLE TRIGGER USER")
    do("DELETE FROM records WHERE seq > 3")
    do("ALTER TABLE records ENABLE TRIGGER USER")
    do(
        "UPDATE chain SET seq=%s, digest=%s, sealed_at=%s, knotted_at=%s, mac=%s",
        *head,
    )

    later = open_trail()

    assert until(lambda: is_refusing(later)) == "replaced"
    assert backend.accept_loss() >= 1
    until(lambda: not is_refusing(later))
    record_one(later)
    assert backend.verify().ok
    (loss,) = backend.records().search(Query(outcome="event"))
    assert loss.route == "loss"


@pytest.mark.parametrize(
    "setting", ["synchronous_commit = off", "synchronous_commit = local"]
)
def test_a_role_whose_commits_may_be_lost_is_refused(
    setting, postgres_url, backend, do
):
    name = postgres_url.rpartition("/")[2]
    do(f"ALTER DATABASE {name} SET {setting}")

    with pytest.raises(UnusableDatabase, match="synchronous_commit"):
        backend.trail()


def test_another_key_is_refused(open_trail, postgres_url):
    record_one(open_trail())

    with pytest.raises(UnusableDatabase, match="wrong_key"):
        open_backend(postgres_url, b"the key of somebody else").trail()


def test_a_database_of_something_else_is_left_alone(empty_url):
    def tables(connection):
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        return connection.execute(query).fetchall()

    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE of_others (id int)")

        with pytest.raises(UnusableDatabase, match="something else"):
            open_backend(empty_url, KEY).trail()

        assert tables(connection) == [("of_others",)]


def test_a_read_only_database_is_told_so_and_comes_back(postgres_url, open_trail, do):
    trail = open_trail()
    record_one(trail)
    name = postgres_url.rpartition("/")[2]

    do(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
       f"'{name}' AND pid <> pg_backend_pid()")  # fmt: skip

    until(lambda: is_refusing(trail) == "read_only")
    reset = f"ALTER DATABASE {name} RESET default_transaction_read_only"
    do(f"BEGIN; SET TRANSACTION READ WRITE; {reset}; COMMIT")
    until(lambda: not is_refusing(trail))


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM records",
        "UPDATE records SET reply = ''",
        "TRUNCATE records",
    ],
)
def test_sealed_records_are_guarded(statement, open_trail, do):
    record_one(open_trail())

    with pytest.raises(psycopg.errors.CheckViolation):
        do(statement)


@pytest.mark.parametrize(
    "tampering",
    [
        "DROP TRIGGER records_sealed ON records",
        "ALTER TABLE records DISABLE TRIGGER records_stay",
        "CREATE RULE none AS ON INSERT TO chain DO ALSO NOTHING",
        "ALTER TABLE records ENABLE ROW LEVEL SECURITY",
    ],
)
def test_what_hides_or_changes_records_shows(tampering, open_trail, backend, do):
    trail = open_trail()
    record_one(trail)
    trail.close()

    do(tampering)

    assert "the schema is not ours" in backend.verify().reason
    later = open_trail(is_known=True)
    assert until(lambda: is_refusing(later)) == "corrupt"


def test_neither_reason_nor_log_tells_the_password(caplog, tmp_path):
    url = "postgresql://gateway:a-secret-word@127.0.0.1:1/audit"
    backend = open_backend(url, KEY)

    trail = backend.trail(host=Host(state_dir=tmp_path))

    assert until(lambda: is_refusing(trail)) == "unreachable"
    trail.close()
    assert backend.place == "postgresql://127.0.0.1:1/audit"
    assert "a-secret-word" not in caplog.text


def test_the_driver_is_loaded_where_a_url_asks_for_it_only(tmp_path):
    code = """
import sys
from app.storage.audit.scan import scan
from app.storage.chain.verification import ignore
from app.storage.trail import open_backend
trail = open_backend(f"sqlite:///{sys.argv[1]}/audit.db").trail()
trail.check()
print([name for name in sys.modules if name.startswith("psycopg")])
trail.close()
"""
    said, _ = run_python(code, tmp_path).communicate(timeout=60)

    assert said.split() == ["[]"]


def test_a_forked_child_leaves_its_parents_connection_alone(open_trail, backend):
    trail = open_trail()
    record_one(trail)

    child = os.fork()
    if child == 0:
        try:
            record_one(trail)
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    record_one(trail)
    check = backend.verify()
    assert (check.ok, check.rows) == (True, 3)
