"""Writer: the one thread of a process that writes records.

Group commit: while one batch is being committed the next one gathers. All state
below is changed by the writer's thread only; others read it, or put entries into
the queue.

What happens to a record when writing fails: its waiter is told at once, and the
record is kept in memory as not delivered, up to a bound, until writing works
again. So an answer without a row is impossible, and a row without an answer says
so; where it could not be known in time, a correction follows it.
"""

import logging
from collections.abc import Callable, Iterable
from threading import Event, Lock, Thread
from time import monotonic, time

from app.storage.audit.backlog import Backlog
from app.storage.audit.entry import Entry, correction
from app.storage.audit.errors import RowRefused, StoreFailed
from app.storage.audit.inbox import Inbox
from app.storage.audit.incidents import REFUSE_AFTER, STUCK, Incidents, WriterEvents
from app.storage.audit.rows import Draft
from app.storage.audit.store import Store
from app.storage.chain.idle_work import IdleWork
from app.storage.chain.links import Head
from app.storage.chain.signs import SignsWatch

log = logging.getLogger(__name__)

PROBE_INTERVAL, SWEEP_INTERVAL, RETRY_INTERVAL = 1.0, 3.0, 0.5  # seconds
HOLD_STILL = 1.0  # seconds that a fork waits for the write that is going on


class Writer:
    """The thread that takes entries from the inbox and commits them in batches."""

    def __init__(
        self,
        store: Store,
        *,
        fault: str | None = None,
        backlog: Backlog | None = None,
        siblings: Callable[[], int] = lambda: 0,
        on_anchor: Callable[[Head], None] = lambda _: None,
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], float] = time,
    ) -> None:
        self.watch = SignsWatch()  # whoever made us may have given another one
        self.fault, self._dropped, self._on_anchor = fault, 0, on_anchor
        self.unsigned = 0  # open rows that we did not write, of dead workers
        self._store, self._clock, self._wall = store, clock, wall
        self.events: WriterEvents | None = None  # set before the start
        self.incidents = Incidents(clock, wall)
        self._inbox = Inbox(siblings, clock)
        self._backlog = Backlog() if backlog is None else backlog
        self._shortage: str | None = None
        self._busy_since: float | None = None
        self._probe_at = self._sweep_at = self._retry_at = 0.0
        self._siblings, self._idle_work = siblings, IdleWork(store, clock)
        self._is_stopping, self._ready = False, Event()
        self._quiet = Lock()  # held while the store is at work
        self._thread = Thread(target=self._run, name="audit-writer", daemon=True)

    # ---- asked by any thread

    def start(self) -> None:
        """Start the thread and let it have its first look.

        Raises RuntimeError if the system gives no thread.
        """
        self._thread.start()
        self._ready.wait(STUCK)

    def trouble(self) -> str | None:
        """Return why new chats should be refused, or None; no system call."""
        shortage = self.fault or self._shortage
        return "stuck" if self.writing_for > REFUSE_AFTER else shortage

    @property
    def writing_for(self) -> float:
        """Seconds for which the work that goes on has lasted; no system call."""
        since = self._busy_since
        return 0.0 if since is None else self._clock() - since

    @property
    def lost(self) -> int:
        """How many records could not be kept until writing worked again."""
        return self._backlog.lost + self._dropped

    def put(self, entry: Entry) -> None:
        """Hand over an entry that is closed."""
        self._inbox.put(entry)

    def offer(self, entry: Entry) -> None:
        """Hand over an entry that is dropped if too much is waiting already."""
        if len(self._inbox) + len(self._backlog) < self._backlog.rows:
            self._inbox.put(entry)
        else:
            self._dropped += 1

    def expect(self, entry: Entry) -> None:
        """Take note of a chat that has begun."""
        self._inbox.expect(entry)

    def hold_still(self) -> bool:
        """Keep away from the store until `go_on`, so that the process may fork.

        Returns whether it does; one that is stuck can't be waited for.
        """
        return self._quiet.acquire(timeout=HOLD_STILL)

    def go_on(self) -> None:
        """End what `hold_still` began."""
        self._quiet.release()

    def leave_to_parent(self) -> None:
        """Let go of the parent's locks, in a forked child, and touch nothing else."""
        self._store.leave_to_parent()

    def stop(self, timeout: float) -> bool:
        """Write what there is and end; return whether that worked in time."""
        self._is_stopping = True
        self._inbox.wake()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # ---- the thread

    def _run(self) -> None:
        self._do(self._recover)
        self._ready.set()
        self._turn()
        while not (self._is_stopping and self._is_done()):
            self._turn()
        self._do(self._store.close)
        self._give_up()

    def _is_done(self) -> bool:
        return bool(self.fault) or self._inbox.is_empty  # or the last turn has tried

    def _turn(self) -> None:
        until = (
            self._retry_at if self.fault else min(self._probe_at, self._idle_work.at)
        )
        endings = self._inbox.take_endings(
            0.0 if self._is_stopping else until, heed_intents=self.fault is None
        )
        self._do(lambda: self._work(endings))

    def _do(self, work: Callable[[], None]) -> None:
        with self._quiet:
            self._busy_since = self._clock()
            try:
                work()
            except Exception as error:
                self._fail(error)  # a defect must not silence the trail
            took = self._clock() - self._busy_since
            self.incidents.looked(self.fault or self._shortage, took)
            self._busy_since = None

    def _work(self, endings: list[Entry]) -> None:
        if self.fault:
            self._put_aside(endings, self.fault)
            self._recover()
            return
        intents = self._inbox.take_intents(all_of_them=self._is_stopping)
        if endings or intents:
            self._write(endings, intents)
        if not self.fault:
            self._keep_house()

    def _write(self, endings: list[Entry], intents: list[Entry]) -> bool:
        """Commit a batch; return whether writing worked, if not for each row."""

        def compose() -> list[Draft]:
            rows = [entry.open_row() for entry in intents]
            return rows + [entry.closed_row() for entry in endings]

        try:
            self._store.write(compose)
        except RowRefused as refusal:
            return self._write_singly(endings, intents, refusal)
        except Exception as error:
            self._fail(error)
            self._put_aside(endings, self.fault)
            self._inbox.put_back(intents)
            return False
        self._settle(endings)
        return True

    def _write_singly(
        self, endings: list[Entry], intents: list[Entry], refusal: RowRefused
    ) -> bool:
        """Find the row that spoils the batch, so that it costs itself only."""
        if len(endings) + len(intents) == 1:
            self._refuse([*endings, *intents][0], refusal)
            return True
        for position, entry in enumerate(endings):
            if not self._write([entry], []):
                self._put_aside(endings[position + 1 :], self.fault)
                self._inbox.put_back(intents)
                return False
        for position, entry in enumerate(intents):
            if not self._write([], [entry]):
                self._inbox.put_back(intents[position + 1 :])
                return False
        return True

    def _refuse(self, entry: Entry, refusal: RowRefused) -> None:
        log.error("Audit record %s was refused: %s", entry.intent.id, refusal)
        if entry.is_undelivered and entry.corrects is None:
            # Most likely it was committed by an attempt that looked failed.
            self.put(correction(entry, self._wall()))
        entry.settle("refused")

    def _settle(self, endings: list[Entry]) -> None:
        for entry in endings:
            if entry.settle():
                continue
            self.incidents.gave_up(self.writing_for)
            if entry.says_completed:
                self.put(correction(entry, self._wall()))

    def _put_aside(self, endings: Iterable[Entry], reason: str | None) -> None:
        for entry in endings:
            if entry.says_completed:
                self.incidents.undelivered()
            entry.settle(reason)
            self._backlog.add(entry)

    # ---- health

    def _keep_house(self) -> None:
        now = self._clock()
        if self.events is not None:
            self.incidents.tell(self.events)
        try:
            self._store.maintain()
            if now >= self._probe_at:
                self._probe_at = now + PROBE_INTERVAL
                self.watch.look()
                self._note_shortage(self._store.probe())
            if now >= self._sweep_at:
                self._sweep_at = now + SWEEP_INTERVAL
                self.unsigned = self._store.sweep()
                if head := self._store.tie():
                    self._on_anchor(head)
        except Exception as error:
            self._fail(error)
            return
        if not len(self._inbox):
            self._idle_work.turn(is_idle=not self._siblings())

    def _note_shortage(self, shortage: str | None) -> None:
        if shortage and not self._shortage:
            log.error("Audit refuses new chats: %s", shortage)
        self._shortage = shortage

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, StoreFailed):
            log.error("The audit store broke", exc_info=error)
            error = StoreFailed("internal_error")
        if self.fault != error.reason:
            log.error("Audit trail unavailable: %s", error)
        self.fault = error.reason
        self._retry_at = self._clock() + RETRY_INTERVAL

    def _recover(self) -> None:
        """Try again if it is time.

        A fault is over when a write has worked and what was put aside is written.
        """
        if self._clock() < self._retry_at and not self._is_stopping:
            return
        try:
            self._store.open()
            self._note_shortage(self._store.probe())
            if self.fault:
                self._store.write(list)  # no row, but it has to reach the disk
        except Exception as error:
            self._fail(error)
            return
        while self._backlog:
            if not self._write(self._backlog.take(), []):
                return
        if self.fault:
            log.warning("Audit trail available again")
        self.fault = None
        self._probe_at = self._clock() + PROBE_INTERVAL
        self._sweep_at = 0.0

    def _give_up(self) -> None:
        """Tell whoever still waits; say what is lost with this process."""
        while len(self._inbox):
            self._put_aside(self._inbox.take_endings(0.0), "closed")
        if self._backlog:
            self._dropped += len(self._backlog)
            log.error("Audit closed with %d records unwritten", len(self._backlog))
