"""Entry: one chat in the hands of the trail, and the meeting of two threads.

A request thread waits for its row while the writer commits it. Either the writer
gives its verdict or the waiter gives up, never both.
"""

from _thread import allocate_lock
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from app.gateway.budget import SLICE
from app.gateway.errors import AuditUnavailable
from app.gateway.records.audit import Closing, Intent, new_audit_id, undelivered
from app.storage.audit.rows import (
    Draft,
    Values,
    closed,
    closed_draft,
    open_draft,
    opened,
)

# How long a refused caller is asked to wait: what coming back takes at most.
RETRY_AFTER = 5.0


class CommitResult:
    """The result of a commit: set once by the writer, awaited by one thread.

    Whoever takes `_claim` first has decided. Raw locks, because an Event costs
    several times as much and there is one for every chat.
    """

    __slots__ = ("_claim", "_latch", "_reason", "is_given")

    def __init__(self) -> None:
        self._claim, self._latch = allocate_lock(), allocate_lock()
        self._latch.acquire()
        self._reason: str | None = None
        self.is_given = False

    def wait(self, timeout: float, pulse: Callable[[], None] = lambda: None) -> None:
        """Return when told that the row is committed; see Trail.finish for `pulse`.

        Raises AuditUnavailable when told otherwise, or when the timeout is over.
        """
        if not self._is_told_within(timeout, pulse):
            if self._claim.acquire(blocking=False):
                raise AuditUnavailable("too_slow", retry_after=RETRY_AFTER)
            self._latch.acquire()  # decided just now; the release is on its way
        if self._reason is not None:
            raise AuditUnavailable(self._reason, retry_after=RETRY_AFTER)

    def _is_told_within(self, timeout: float, pulse: Callable[[], None]) -> bool:
        if self._latch.acquire(timeout=max(0.0, min(timeout, SLICE))):
            return True
        until = monotonic() + timeout - SLICE
        while (left := until - monotonic()) > 0:
            with suppress(Exception):
                pulse()
            if self._latch.acquire(timeout=min(left, SLICE)):
                return True
        return False

    def give(self, reason: str | None) -> bool:
        """Tell the waiter; return False if it gave up before. For the writer."""
        self.is_given = True
        if not self._claim.acquire(blocking=False):
            return False
        self._reason = reason
        self._latch.release()
        return True

    @property
    def is_abandoned(self) -> bool:
        """Whether the waiter gave up; asked before the verdict is given."""
        return self._claim.locked() and not self.is_given


class Entry:
    """One chat's record on its way to the disk.

    `due` is the monotonic time from which its intent is worth a row of its own.
    `closing` is None until the chat has ended. `verdict` is None where nobody
    waits.
    """

    __slots__ = (
        "_draft",
        "closing",
        "corrects",
        "due",
        "forgotten",
        "intent",
        "is_undelivered",
        "opening",
        "verdict",
    )

    def __init__(self, intent: Intent, worker: str, due: float = 0.0) -> None:
        self.intent = intent
        self.due = due
        self.opening: Values = opened(intent, worker)
        self.closing: Closing | None = None
        self.corrects: str | None = None
        self.forgotten: tuple[bytes, ...] = ()
        self.verdict: CommitResult | None = None
        self.is_undelivered = False
        self._draft: Draft | None = None

    def close(self, closing: Closing) -> None:
        """Set how the chat ended; the row is built here, in the caller's thread."""
        ending = closed(closing, self.corrects, self.intent.decision)
        draft = closed_draft(self.opening, ending)
        if closing.kept or self.forgotten:
            draft = draft._replace(kept=closing.kept, forgotten=self.forgotten)
        self._draft, self.closing = draft, closing

    def settle(self, reason: str | None = None) -> bool:
        """Tell the waiter, if any: committed, or the reason why not.

        Returns False if it gave up before it was told. Who is told a reason, or
        gave up, does not deliver.
        """
        if self.verdict is None or self.verdict.is_given:
            return True
        self.is_undelivered |= reason is not None
        return self.verdict.give(reason)

    def open_row(self) -> Draft:
        """Return the row of the intent alone."""
        return open_draft(self.opening)

    def closed_row(self) -> Draft:
        """Return the whole row; asked under the write lock, as late as can be.

        A reply that nobody waits for any more is put on record as not delivered.
        """
        if self.closing is None or self._draft is None:
            raise ValueError("the chat has not ended")
        self.is_undelivered |= self.verdict is not None and self.verdict.is_abandoned
        if self.is_undelivered:
            self.close(undelivered(self.closing))
        return self._draft

    @property
    def says_completed(self) -> bool:
        """Whether the record claims that a whole reply went out."""
        return self.closing is not None and self.closing.outcome == "completed"

    @property
    def size(self) -> int:
        """Bytes that the entry holds in memory, about."""
        if self._draft is None:
            return 0
        texts = (len(value) for value in self._draft.values if isinstance(value, str))
        return sum(texts) + sum(len(kept.body or b"") for kept in self._draft.kept)


def correction(entry: Entry, now: float) -> Entry:
    """Make the record which says that a completed reply was not delivered.

    Needed where the waiter gave up between the last look and the commit: a sealed
    row is never changed, so a later one, of route `correction`, corrects it, and
    takes back what was kept of the reply. `now` is Unix time.
    """
    if entry.closing is None:
        raise ValueError("the chat has not ended")
    late = Entry(
        entry.intent._replace(
            id=new_audit_id(now),
            route="correction",
            opened_at=now,
            request="{}",
        ),
        worker=str(entry.opening[-1]),
    )
    late.corrects = entry.intent.id
    late.forgotten = tuple(kept.key for kept in entry.closing.kept)
    closing = entry.closing._replace(outcome="completed", reply="{}", closed_at=now)
    late.close(undelivered(closing))
    return late
