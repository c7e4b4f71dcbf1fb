"""QueuedTrail: the core's audit trail, on top of one writer thread per process."""

import atexit
import logging
from collections.abc import Callable
from threading import Lock
from time import monotonic

from app.gateway.errors import AuditUnavailable
from app.gateway.records.audit import Closing, Intent
from app.gateway.records.signs import AuditSpace, TrailSigns
from app.host.forks import at_fork
from app.storage.audit.backlog import ROWS, Backlog
from app.storage.audit.entry import RETRY_AFTER, CommitResult, Entry
from app.storage.audit.incidents import WriterEvents
from app.storage.audit.store import Store
from app.storage.audit.writer import Writer
from app.storage.chain.links import Head, key_fingerprint
from app.storage.chain.signs import SignsWatch

log = logging.getLogger(__name__)

MakeStore = Callable[[], Store]

# An intent whose ending comes sooner than this (in seconds) needs no row of its own.
INTENT_DELAY = 0.05
# How long the end of the process waits for the last records.
CLOSE_TIMEOUT = 5.0


class QueuedTrail:
    """Fulfils the port `Trail` (see there); threads share it.

    The writer starts at first use. A child process that is forked off gets a store
    and a writer of its own; what was under way belongs to the parent. `fault` is a
    reason why writing does not work from the start, `key` returns the chain's key,
    b"" while there is none to be had, `on_anchor` is told, in the writer's thread, each
    head that is to be kept outside, `backlog_rows` how many records are kept
    while writing does not work, and `space` tells of the room that there is. `events`
    is told of incidents; set it before `start`.
    """

    def __init__(
        self,
        make_store: MakeStore,
        *,
        key: Callable[[], bytes] = bytes,
        fault: str | None = None,
        on_anchor: Callable[[Head], None] = lambda _: None,
        backlog_rows: int = ROWS,
        clock: Callable[[], float] = monotonic,
        space: Callable[[], AuditSpace] = AuditSpace,
    ) -> None:
        self.key = key
        self._space = space
        self.key_id = lambda: key_fingerprint(key())
        self.signs: Callable[[], TrailSigns] = lambda: (
            self._writer.watch.signs if self._writer else TrailSigns()
        )
        self._make_store, self._clock = make_store, clock
        self._on_anchor = on_anchor
        self._fault, self._backlog_rows = fault, backlog_rows
        self.events: WriterEvents | None = None
        self._is_closed = False
        self._inherited: list[Writer] = []  # a parent's, kept from being collected
        self._writer: Writer | None = None
        self._held: Writer | None = None  # stands still while we fork
        self._begin_afresh()
        at_fork(
            before=self._hold_still,
            in_parent=self._go_on,
            in_child=self._leave_to_parent,
        )

    # ---- the port

    def check(self) -> None:
        """Raise AuditUnavailable if new chats can't be put on record."""
        trouble = (self._writer or self.start()).trouble()
        if trouble is not None:
            raise AuditUnavailable(trouble, retry_after=RETRY_AFTER)

    def begin(self, intent: Intent) -> None:
        """Queue the intent. Raises AuditUnavailable; never waits."""
        try:
            self.check()
        except AuditUnavailable:
            if self._writer is not None:
                self._writer.incidents.refused()
            raise
        entry = Entry(intent, self._instance, self._clock() + INTENT_DELAY)
        self._open[intent.id] = entry
        (self._writer or self.start()).expect(entry)

    def finish(
        self,
        intent: Intent,
        closing: Closing,
        timeout: float,
        pulse: Callable[[], None] = lambda: None,
    ) -> float:
        """Wait until the record is committed; return the seconds waited.

        While writing does not work it raises at once. See `writer` for what
        becomes of the record then.
        """
        began = self._clock()
        writer = self._writer or self.start()
        entry = self._closed(intent, closing)
        verdict = entry.verdict = CommitResult()
        writer.put(entry)
        verdict.wait(timeout, pulse)
        return self._clock() - began

    def note(self, intent: Intent, closing: Closing) -> None:
        """Queue a record that nobody waits for; dropped if thousands wait already."""
        try:
            writer = self._writer or self.start()
            writer.offer(self._closed(intent, closing))
        except AuditUnavailable:
            pass  # it says so to those who ask
        except Exception:
            log.exception("Audit record %s was not noted", intent.id)

    @property
    def unsigned(self) -> int:
        """See Trail."""
        return self._writer.unsigned if self._writer else 0

    # ---- its life

    def start(self) -> Writer:
        """Start the writer if it is not running.

        Raises AuditUnavailable if the trail is closed or no thread can be had.
        """
        with self._lock:
            if self._is_closed:
                raise AuditUnavailable("closed")
            if self._writer is None:
                self._writer = self._started()
            return self._writer

    def close(self, timeout: float = CLOSE_TIMEOUT) -> bool:
        """Write what is queued and stop; return whether all of it was written.

        Chats still open stay without an ending; the next start seals them.
        """
        gap = self._writer and self._writer.incidents.take_gap(at_once=True)
        if gap and self.events:
            self.events.audit_gap(gap)
        with self._lock:
            writer, self._writer = self._writer, None
            self._is_closed = True
        atexit.unregister(self.close)
        return writer is None or (writer.stop(timeout) and not writer.lost)

    @property
    def lost(self) -> int:
        """Records that could not be kept until writing worked again."""
        return self._writer.lost if self._writer else 0

    def _started(self) -> Writer:
        store = self._make_store()
        self._instance = store.instance
        writer = Writer(
            store,
            fault=self._fault,
            backlog=Backlog(self._backlog_rows),
            siblings=self._open.__len__,
            on_anchor=self._on_anchor,
            clock=self._clock,
        )
        writer.watch = SignsWatch(
            self._space, lambda: writer.writing_for, clock=self._clock
        )
        writer.events = self.events
        try:
            writer.start()
        except RuntimeError as no_thread:
            raise AuditUnavailable("no_thread", retry_after=1.0) from no_thread
        atexit.register(self.close)
        return writer

    def _closed(self, intent: Intent, closing: Closing) -> Entry:
        """Close the entry of a chat that has begun, or a new one if it was refused.

        If that breaks, the chat is still under way and can be closed another way.
        """
        entry = self._open.get(intent.id) or Entry(intent, self._instance)
        entry.close(closing)
        self._open.pop(intent.id, None)
        return entry

    def _begin_afresh(self) -> None:
        self._lock = Lock()  # guards the starting and stopping of the writer
        self._open: dict[str, Entry] = {}
        self._writer = None
        self._instance = ""

    # ---- forking

    def _hold_still(self) -> None:
        self._held = (
            self._writer if self._writer and self._writer.hold_still() else None
        )

    def _go_on(self) -> None:
        if self._held is not None:
            self._held.go_on()

    def _leave_to_parent(self) -> None:
        """Begin afresh in a child; SQLite must not touch the parent's connection.

        A child that was forked off in the midst of a write would share a broken
        state of the library, so it gets no trail at all.
        """
        if self._writer is not None:
            self._writer.leave_to_parent()
            self._inherited.append(self._writer)
            self._is_closed |= self._held is None
        self._begin_afresh()
