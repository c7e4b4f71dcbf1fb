"""Inbox: what request threads hand to the writer, and how it waits for them."""

from collections import deque
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from time import monotonic, sleep

from app.storage.audit.entry import Entry

BATCH = 500
# With that many chats under way, waiting a little saves most of them a commit of
# their own: measured at 32 connections, 9 rows a commit become 17 and a chat costs
# 40 us less CPU. A lone caller is never kept waiting.
SIBLINGS = 8
GATHER = 0.003


class Inbox:
    """Endings, which are urgent, and intents, which may wait until they are due.

    Any thread may put in; only the writer's takes out. `siblings` tells how many
    chats are under way.
    """

    def __init__(
        self,
        siblings: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._siblings, self._clock = siblings, clock
        self._endings: SimpleQueue[Entry | None] = SimpleQueue()
        self._intents: deque[Entry] = deque()
        self._is_dozing = False

    def __len__(self) -> int:
        return self._endings.qsize()

    @property
    def is_empty(self) -> bool:
        """Whether neither endings nor intents are left."""
        return not (self._endings.qsize() or self._intents)

    def put(self, entry: Entry) -> None:
        """Hand over an entry that is closed, and wake the writer."""
        self._endings.put(entry)

    def expect(self, entry: Entry) -> None:
        """Hand over one that has begun, without waking the writer if possible."""
        self._intents.append(entry)
        if self._is_dozing:
            self.wake()

    def wake(self) -> None:
        """Let the writer look around."""
        self._is_dozing = False
        self._endings.put(None)

    def take_endings(self, until: float, *, heed_intents: bool = True) -> list[Entry]:
        """Wait for endings, or for an intent to be due, until a monotonic time."""
        batch: list[Entry] = []
        self._take(batch, self._patience(until, heed_intents))
        if batch and self._siblings() >= SIBLINGS:
            sleep(GATHER)
        while len(batch) < BATCH and self._endings.qsize():
            self._take(batch, 0.0)
        return batch

    def take_intents(self, *, all_of_them: bool = False) -> list[Entry]:
        """Return the intents that are due, or any; never those that have ended."""
        now = self._clock()
        due: list[Entry] = []
        while self._intents and len(due) < BATCH:
            entry = self._intents[0]
            if not (all_of_them or entry.closing or entry.due <= now):
                break
            self._intents.popleft()
            if entry.closing is None:
                due.append(entry)
        return due

    def put_back(self, intents: Iterable[Entry]) -> None:
        """Return intents that could not be written, in their order."""
        self._intents.extendleft(reversed(list(intents)))

    def _take(self, batch: list[Entry], timeout: float) -> None:
        try:
            entry = self._endings.get(timeout > 0.0, timeout)
        except Empty:
            return
        finally:
            self._is_dozing = False
        if entry is not None:
            batch.append(entry)

    def _patience(self, until: float, heed_intents: bool) -> float:
        # Said before looking: whoever begins a chat after this look wakes us.
        self._is_dozing = heed_intents
        if heed_intents and self._intents:
            self._is_dozing = False
            until = min(until, self._intents[0].due)
        return max(0.0, until - self._clock())
