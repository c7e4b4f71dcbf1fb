"""Words and records that are over their time go, on record, and out of the file."""

import subprocess
import sys
from contextlib import closing

import pytest

from app.gateway.records.audit import RETENTION, Query
from app.storage.audit.rows import closed, closed_draft, open_draft, opened
from app.storage.chain.retention import Keep, Whose
from app.storage.sqlite.backend import SqliteBackend
from app.storage.sqlite.files import AuditFiles
from app.storage.sqlite.statements import connect_reader
from app.storage.sqlite.store import SqliteStore
from app.storage.trail import open_backend
from tests.storage.making import (
    ROOT,
    a_chat,
    record_one,
    run_python,
    until,
)

KEY = b"a key of a test, long enough"
HOUR, DAY = 3600.0, 86400.0


@pytest.fixture
def backend(url):
    return open_backend(url, KEY)


@pytest.fixture
def begun(backend):
    backend.trail().close()
    return backend


def write(path, *chats, intents_first=False):
    """Write chats, many at once; return their ids."""
    store = SqliteStore(AuditFiles(path), KEY)
    store.open()
    worker = store.instance
    if intents_first:
        for intent, _ in chats:
            store.write(lambda intent=intent: [open_draft(opened(intent, worker))])
    for begin in range(0, len(chats), 200):
        drafts = [
            closed_draft(opened(intent, worker), closed(closing))
            for intent, closing in chats[begin : begin + 200]
        ]
        if intents_first:
            for draft in drafts:
                store.write(lambda draft=draft: [draft])
        else:
            store.write(lambda drafts=drafts: drafts)
    store.close()
    return [intent.id for intent, _ in chats]


def events(backend, code):
    found = backend.records().search(Query(outcome="event", limit=500))
    return [one for one in found if one.route == RETENTION and one.code == code]


def verdict_of_a_stranger(path):
    script = [sys.executable, "-I", ROOT / "docs/verify.py", path]
    return subprocess.run(script, capture_output=True, text=True, check=False).stdout


def bytes_of(path):
    files = [path, path.with_name(path.name + "-wal")]
    return b"".join(one.read_bytes() for one in files if one.exists())


def assert_sound(backend, path):
    assert backend.verify().reason is None
    assert verdict_of_a_stranger(path).startswith("Sound: ")


@pytest.mark.parametrize("intents_first", [False, True])
def test_erased_words_are_nowhere_in_the_file(intents_first, begun, path, open_a_trail):
    """Rows that grow leave copies in the free parts of pages."""
    chats = [a_chat(n, 2 * DAY) for n in range(400)]
    write(path, *chats, intents_first=intents_first)
    write(path, a_chat(1000, HOUR))
    assert b"Canary-7-of" in bytes_of(path)
    trail = open_a_trail(KEY, keep=Keep(words=DAY))
    trail.start()

    until(lambda: b"Canary-" not in bytes_of(path).replace(b"Canary-1000", b""), 30)
    trail.close()

    assert b"Canary-1000" in bytes_of(path)
    assert_sound(begun, path)


def test_a_gateway_that_is_killed_while_records_go_leaves_a_sound_trail(
    begun, path, url
):
    write(path, *(a_chat(n, 3 * DAY) for n in range(600)))
    write(path, *(a_chat(n, 1.5 * DAY) for n in range(600)))
    code = """
import sys
from threading import Event
from app.storage.chain.retention import Keep
from app.storage.trail import open_backend
trail = open_backend(sys.argv[1], sys.argv[2].encode()).trail(
    keep=Keep(words=86400.0, records=2 * 86400.0))
trail.start()
Event().wait()
"""
    reader = begun.records()

    def has_moved(before):
        return reader.heads()[0].seq > before

    for _ in range(2):
        before = reader.heads()[0].seq
        gateway = run_python(code, url, KEY.decode())
        until(lambda before=before: has_moved(before), 30)
        gateway.kill()
        gateway.wait()
        gateway.stdout.close()
        assert_sound(begun, path)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM records WHERE seq = 2",
        "UPDATE records SET caller = 'eve' WHERE seq = 2",
        "UPDATE records SET request = NULL WHERE seq = 2",
        "UPDATE records SET reply = 'other' WHERE seq = 2",
        "UPDATE records SET request = NULL, reply = NULL, salt = NULL WHERE seq = 2",
        "UPDATE records SET seq = 9 WHERE seq = 2",
        "REPLACE INTO records SELECT * FROM records WHERE seq = 2",
    ],
)
def test_no_accident_takes_a_record_or_its_words(statement, begun, path, sql):
    write(path, a_chat(1, 1), a_chat(2, 1))

    with pytest.raises(Exception, match=r"do not change|not deleted"):
        sql("PRAGMA recursive_triggers=ON", statement)


def test_a_reader_that_holds_on_to_the_log_is_told_of(begun, path, url):
    write(path, a_chat(1, 1, person="ada"))
    with closing(connect_reader(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM records").fetchone()
        hasty = SqliteBackend(url, KEY, patience=0.1)
        done = hasty.erase(Whose(person="ada"), is_rehearsal=False)
    assert (done.records, bool(done.left)) == (1, True)

    assert not begun.erase(Whose(person="ada"), is_rehearsal=False).left
    assert b"Canary" not in bytes_of(path)


def test_forged_words_stop_nothing(begun, path, open_a_trail, sql):
    ids = write(path, *(a_chat(n, 2 * DAY) for n in range(3)))
    (guard,) = sql("SELECT sql FROM sqlite_master WHERE name = 'records_sealed'")[0]
    sql(
        "DROP TRIGGER records_sealed",
        "UPDATE records SET reply = x'00ff' WHERE seq = 2",
        guard,
    )
    trail = open_a_trail(KEY, keep=Keep(words=DAY))
    trail.start()

    until(lambda: begun.records().get(ids[2]).request is None, 30)
    record_one(trail)
    trail.close()

    assert begun.verify().first_bad_seq == 2
