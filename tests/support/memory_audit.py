"""MemoryBackend: an audit in no file, to show that nothing but storage knows of files.

Readers get a copy of what was committed last, so they see no half of a write.
"""

import sqlite3
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from math import inf
from threading import Lock
from time import time

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from app.gateway.kept.answers import Kept
from app.gateway.records.signs import AuditSpace
from app.storage.audit.activity import ActivityReader
from app.storage.audit.errors import StoreFailed
from app.storage.audit.orphans import Orphans
from app.storage.audit.queued_trail import QueuedTrail
from app.storage.audit.reader import AuditReader
from app.storage.audit.schema import GUARDS, metadata
from app.storage.chain.anchors import Anchors
from app.storage.chain.knots import is_due, knot
from app.storage.chain.links import GENESIS, ClockWatch, head_mac, seal
from app.storage.chain.verification import ignore, verify
from app.storage.sqlite.answers import FIND, KeptAnswers
from app.storage.sqlite.statements import (
    read_head,
    translated,
    write_head,
    write_rows,
)

_names = (f"memory-{number}" for number in count())


class MemoryBackend:
    """Fulfils AuditBackend. What is in it is gone with it."""

    place, folder = "memory", None

    def __init__(self, url="memory:", key=None):
        self.key = key or b"a key of a test"
        self.living = set()
        self._connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False
        )
        self._lock = Lock()
        self.execute(*_ddl())
        with self.transaction() as connection:
            begin = replace(GENESIS, knotted_at=time())
            write_head(connection, begin, head_mac(self.key, begin))

    def trail(self, *, anchor_file=None, **options):
        return QueuedTrail(
            lambda: MemoryStore(self),
            key=lambda: self.key,
            on_anchor=Anchors(anchor_file),
        )

    def records(self):
        return AuditReader(self._engine())

    def activity(self):
        return ActivityReader(self._engine())

    def answers(self):
        return MemoryBackendAnswers(self)

    def verify(self, *, noted=(), on_progress=ignore):
        return verify(self._engine(), self.key, noted, on_progress)

    def newest_head(self, pids, known):
        return known

    def require_readable(self):
        pass

    def pools(self, state_dir):
        pass

    def look(self):
        return []

    def backup(self, folder):
        raise StoreFailed("unreadable", "memory is not copied")

    def restore(self, folder, *, sets_aside=False):
        raise StoreFailed("unreadable", "memory is not copied")

    def space(self):
        return AuditSpace()

    @contextmanager
    def transaction(self):
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
            self._committed = self._connection.serialize()

    def execute(self, *statements):
        """Do to the records what no gateway does; return the last one's rows."""
        with self.transaction() as connection:
            return [connection.execute(text).fetchall() for text in statements][-1]

    def _engine(self):
        return sa.create_engine("sqlite://", creator=self._copy, poolclass=sa.NullPool)

    def _copy(self):
        copy = sqlite3.connect(":memory:", check_same_thread=False)
        copy.text_factory = lambda raw: raw.decode(errors="backslashreplace")
        copy.deserialize(self._committed)
        return copy


class MemoryBackendAnswers:
    """Fulfils Answers, from a copy of what was committed last."""

    has_records = True

    def __init__(self, backend):
        self._backend = backend

    def find(self, key, now):
        row = self._backend._copy().execute(FIND, (key, now)).fetchone()
        return row and Kept(*row)

    def put(self, kept):
        pass

    def size(self):
        return None

    def close(self):
        pass


class MemoryStore:
    """Fulfils Store; the lock of its backend is the writers' lock."""

    def __init__(self, backend):
        self.instance = next(_names)
        self._backend, self._orphans, self._watch = backend, Orphans(), ClockWatch()
        self._answers = KeptAnswers()

    def open(self):
        self._backend.living.add(self.instance)

    def write(self, compose):
        with translated(), self._backend.transaction() as connection:
            self._append(connection, compose())

    def probe(self):
        return None

    def sweep(self):
        with translated(), self._backend.transaction() as connection:
            drafts = self._orphans.next_page(
                connection, self._backend.key, self._backend.living, time(), tells=True
            )
            self._append(connection, drafts)
        return self._orphans.unsigned

    def tie(self):
        with translated(), self._backend.transaction() as connection:
            if not is_due(read_head(connection)[0], self._watch.now()):
                return None
            drafts = [knot((), self.instance, self._watch.now())]
            return self._append(connection, drafts, is_knot=True)

    def prune(self, *, is_idle):
        return inf

    def maintain(self):
        pass

    def close(self):
        self._backend.living.discard(self.instance)

    def leave_to_parent(self):
        pass

    def _append(self, connection, drafts, *, is_knot=False):
        head, _ = read_head(connection)
        now, step = self._watch.read(head.sealed_at)
        rows, head = seal(drafts, head, self._backend.key, now=now, clock_step=step)
        write_rows(connection, rows)
        self._answers.write(connection, drafts)
        if is_knot:
            head = replace(head, knotted_at=now)
        write_head(connection, head, head_mac(self._backend.key, head))
        return head


def _ddl():
    dialect = sqlite.dialect()
    for table in metadata.sorted_tables:
        yield str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            yield str(CreateIndex(index).compile(dialect=dialect))
    yield from GUARDS.values()
