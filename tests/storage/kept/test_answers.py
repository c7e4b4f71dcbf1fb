"""Kept answers come with their record, last for their time, and never for longer."""

import time
from contextlib import contextmanager, suppress

import psycopg
import pytest
from alembic import command
from alembic.config import Config

from app.gateway.errors import AuditUnavailable
from app.gateway.kept.answers import Kept
from app.storage.kept.memory import AROUND, MemoryAnswers
from app.storage.postgres.shared.answers import PostgresAnswers
from app.storage.sqlite.migrate import MIGRATIONS, transactional_engine
from app.storage.trail import open_backend
from tests.storage.back_door import postgres_sql
from tests.storage.making import KEY as SECRET
from tests.storage.making import a_closing, an_intent, record_one, until
from tests.support.memory_audit import MemoryBackend

KEY = b"k" * 32


def a_kept(key=KEY, **changes):
    now = changes.get("said_at") or time.time()
    facts = {
        "mark": b"m" * 32,
        "record": "r-1",
        "said_at": now,
        "until": now + 60,
        "body": b"sealed",
    }
    return Kept(key, **facts | changes)


@pytest.fixture(params=["sqlite", "memory", "postgresql"])
def backend(request, url):
    if request.param == "memory":
        return MemoryBackend()
    return opened(request, url)


def opened(request, url):
    """A backend of this kind, whose answers survive the process."""
    if request.param == "sqlite":
        return open_backend(url)
    return open_backend(request.getfixturevalue("postgres_url"), SECRET)


@pytest.fixture
def answers(backend):
    answers = backend.answers()
    yield answers
    answers.close()


def keep(trail, *kept, **changes):
    """Put a chat on record, with these answers; return its intent."""
    intent = an_intent()
    trail.begin(intent)
    trail.finish(intent, a_closing(kept=kept, **changes), 10.0)
    return intent


def now():
    return time.time()


class TestWithTheRecords:
    """Where they lie with the records, of whatever backend."""

    def test_one_is_there_once_its_record_is(self, trail, answers):
        record_one(trail)
        assert answers.find(KEY, now()) is None

        kept = a_kept()
        keep(trail, kept)

        assert answers.find(KEY, now()) == kept
        assert answers.find(b"o" * 32, now()) is None

    def test_it_lasts_for_its_time(self, trail, answers):
        keep(trail, a_kept())

        assert answers.find(KEY, now() + 59)
        assert answers.find(KEY, now() + 61) is None

    def test_that_there_was_one_can_be_kept_without_its_words(self, trail, answers):
        keep(trail, a_kept(body=None))

        assert answers.find(KEY, now()).body is None

    def test_two_of_one_record_are_kept(self, trail, answers):
        keep(trail, a_kept(), a_kept(b"o" * 32, mark=b""))

        assert answers.find(KEY, now())
        assert answers.find(b"o" * 32, now())

    def test_the_first_answer_of_a_key_counts(self, trail, answers):
        keep(trail, a_kept(record="first"))
        keep(trail, a_kept(record="second"))

        assert answers.find(KEY, now()).record == "first"

    def test_until_it_has_expired(self, trail, answers):
        keep(trail, a_kept(record="first", said_at=now() - 61))
        keep(trail, a_kept(record="second"))

        assert answers.find(KEY, now()).record == "second"

    def test_a_cached_one_is_replaced_by_a_newer_one(self, trail, answers):
        for record in ("first", "second"):
            keep(trail, a_kept(record=record, mark=b""))

        assert answers.find(KEY, now()).record == "second"

    def test_a_reply_that_was_not_delivered_is_not_kept(self, trail, answers):
        intent = an_intent()
        trail.begin(intent)
        with pytest.raises(AuditUnavailable):
            trail.finish(intent, a_closing(kept=(a_kept(),)), -1.0)
        keep(trail, a_kept(b"o" * 32))  # whatever was queued before is done

        trail.close()
        assert answers.find(KEY, now()) is None

    def test_the_chain_is_sound_with_them_and_says_who_repeats_whom(
        self, trail, backend
    ):
        first = keep(trail, a_kept())
        again = keep(trail, reuse="cache", source=first.id)

        record = backend.records().get(again.id)
        assert (record.reuse, record.source) == ("cache", first.id)
        assert backend.verify().ok


class TestForGood:
    """Where they survive their process."""

    @pytest.fixture(params=["sqlite", "postgresql"])
    def backend(self, request, url):
        return opened(request, url)

    @pytest.fixture
    def sql(self, request, backend, sql):
        if backend.folder is None:
            return postgres_sql(request.getfixturevalue("postgres_url"))
        return sql

    def test_they_survive_a_restart(self, open_a_trail, backend):
        trail = open_a_trail()
        keep(trail, a_kept())
        trail.close()

        assert backend.answers().find(KEY, now())

    def test_size_is_known_once_one_was_looked_for(self, trail, answers):
        assert answers.size() is None
        keep(trail, a_kept(body=b"x" * 1000))
        answers.find(KEY, now())

        assert 1000 < answers.size() < 2000

    def test_what_has_expired_is_deleted(self, open_a_trail, sql, backend):
        trail = open_a_trail()
        keep(trail, a_kept(said_at=now() - 61), a_kept(b"o" * 32))
        trail.close()

        trail = open_a_trail()  # a worker tidies up when it starts
        record_one(trail)
        trail.close()

        assert sql("SELECT key FROM answers") == [(b"o" * 32,)]
        assert backend.verify().ok

    def test_there_is_a_most_of_them_and_the_soonest_go_first(self, open_a_trail, sql):
        trail = open_a_trail()
        several = [
            a_kept(bytes([n]) * 32, until=now() + 100 + n, body=b"x" * 1000)
            for n in range(10)
        ]
        keep(trail, *reversed(several))
        trail.close()

        trail = open_a_trail(keep_bytes=5000)
        record_one(trail)
        trail.close()

        left = sql("SELECT key FROM answers ORDER BY until")
        assert left == [(bytes([n]) * 32,) for n in range(6, 10)]

    def test_who_keeps_most_makes_room(self, open_a_trail, sql):
        trail = open_a_trail()
        few = [a_kept(b"few." + bytes([n]) * 28, until=now() + 50) for n in range(2)]
        flood = [
            a_kept(b"many" + bytes([n]) * 28, until=now() + 100 + n, body=b"x" * 1000)
            for n in range(20)
        ]
        keep(trail, *few, *flood)
        trail.close()

        trail = open_a_trail(keep_bytes=5000)
        record_one(trail)
        trail.close()

        left = [key for (key,) in sql("SELECT key FROM answers ORDER BY until")]
        assert left == [one.key for one in (*few, *flood[-3:])]

    def test_of_two_in_one_batch_the_first_counts_and_of_cached_ones_the_last(
        self, trail, answers
    ):
        first, last = b"f" * 32, b"l" * 32
        keep(
            trail,
            *(a_kept(first, record=name) for name in ("one", "two")),
            *(a_kept(last, record=name, mark=b"") for name in ("one", "two")),
        )

        assert answers.find(first, now()).record == "one"
        assert answers.find(last, now()).record == "two"


class TestInTheFile:
    """What only a file can show."""

    @pytest.fixture
    def backend(self, url):
        return open_backend(url)

    def test_who_repeats_whom_cannot_be_changed(self, open_a_trail, sql, url):
        trail = open_a_trail()
        keep(trail, reuse="cache", source="a" * 32)
        trail.close()

        sql(
            "DROP TRIGGER records_sealed",
            "UPDATE records SET source = 'b', reuse = NULL",
        )

        assert not open_backend(url).verify().ok

    def test_without_a_file_nobody_can_tell(self, answers):
        with pytest.raises(AuditUnavailable):
            answers.find(KEY, now())

    def test_a_file_that_was_replaced_is_opened_anew(
        self, trail, answers, path, tmp_path
    ):
        keep(trail, a_kept())
        assert answers.find(KEY, now())
        trail.close()
        other = tmp_path / "other" / "audit.db"
        open_backend(f"sqlite:///{other}").trail().close()

        other.replace(path)

        assert answers.find(KEY, now()) is None

    def test_a_database_of_before_takes_them(self, url, path):
        path.parent.mkdir(parents=True)
        path.touch(mode=0o600)
        with transactional_engine(path).begin() as connection:
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS))
            config.attributes["connection"] = connection
            command.upgrade(config, "2_0002")

        trail = open_backend(url).trail()
        keep(trail, a_kept(), reuse="cache", source="a" * 32)
        trail.close()

        assert open_backend(url).answers().find(KEY, now())
        assert open_backend(url).verify().ok


class TestOnAServer:
    """What only a server can show."""

    @pytest.fixture
    def backend(self, postgres_url):
        return open_backend(postgres_url, SECRET)

    def test_a_connection_that_is_lost_is_made_anew(
        self, trail, answers, postgres_url, postgres
    ):
        keep(trail, a_kept())
        assert answers.find(KEY, now())
        with postgres.connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'chat-gateway answers'"
            )

        assert answers.find(KEY, now())

    def test_nobody_waits_for_a_server_that_hangs(self, trail, backend, do):
        keep(trail, a_kept())
        answers = PostgresAnswers(backend._parameters, wait=0.2)
        assert answers.find(KEY, now())

        with do("LOCK TABLE answers IN ACCESS EXCLUSIVE MODE"):
            for _ in range(2):
                with pytest.raises(AuditUnavailable, match="stuck"):
                    answers.find(KEY, now())

        until(lambda: found_again(answers))
        answers.close()

    @pytest.fixture
    def do(self, postgres_url):
        """Do something in a transaction that lasts as long as the block."""

        @contextmanager
        def transaction(text):
            with psycopg.connect(postgres_url) as connection:
                connection.execute(text)
                yield

        return transaction

    def test_after_its_end_nobody_can_tell(self, answers):
        answers.close()

        with pytest.raises(AuditUnavailable, match="closed"):
            answers.find(KEY, now())


def found_again(answers):
    with suppress(AuditUnavailable):
        return answers.find(KEY, now())


class TestInMemory:
    """Where no words go to disk."""

    def test_it_lasts_for_its_time(self):
        answers, kept = MemoryAnswers(), a_kept()
        answers.put(kept)

        assert answers.find(KEY, kept.until - 1) == kept
        assert answers.find(KEY, kept.until) is None
        assert answers.size() == 0

    def test_those_that_nobody_asks_for_go_first(self):
        answers = MemoryAnswers(most_bytes=3 * (AROUND + 100))
        for n in range(3):
            answers.put(a_kept(bytes([n]), body=b"x" * 100))
        answers.find(bytes([0]), now())

        answers.put(a_kept(bytes([3]), body=b"x" * 100))

        there = [n for n in range(4) if answers.find(bytes([n]), now())]
        assert there == [0, 2, 3]
        assert answers.size() <= 3 * (AROUND + 100)

    def test_one_that_has_no_room_is_not_kept(self):
        answers = MemoryAnswers(most_bytes=1000)
        answers.put(a_kept(body=b"x" * 2000))

        assert answers.find(KEY, now()) is None
