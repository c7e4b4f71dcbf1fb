"""Store: what the writer asks of a database backend.

SQLite fulfils it today (`sqlite/store.py`); another backend is another module.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from app.storage.audit.rows import Draft
from app.storage.chain.links import Head

Compose = Callable[[], Sequence[Draft]]


class Store(Protocol):
    """A database that makes rows durable. It belongs to one thread.

    Every method may raise StoreFailed, which says why in one word.
    """

    @property
    def instance(self) -> str:
        """Name of this worker in the records that it is responsible for."""
        ...

    def open(self) -> None:
        """Connect, afresh if it was connected. Raises UnusableDatabase too."""
        ...

    def write(self, compose: Compose) -> None:
        """Append what `compose` returns, all of it or nothing, and commit it.

        The rows are asked for when the write lock is held, so that they can take
        account of what happened while it was waited for. Without rows it still
        is a write that reaches the disk. Raises RowRefused.
        """
        ...

    def probe(self) -> str | None:
        """Look whether a write would work now; write nothing.

        Returns why new chats should be refused though those in flight can still
        be put on record (space runs short), else None.
        """
        ...

    def sweep(self) -> int:
        """Seal the open rows of dead workers as interrupted, where we signed them.

        The others are logged as `corrupt` and left. Returns how many they are.
        """
        ...

    def tie(self) -> Head | None:
        """Append a knot to the lane of this worker if its last one is a minute old.

        Returns the head to be told outside as an anchor, None if none was due.
        """
        ...

    def prune(self, *, is_idle: bool) -> float:
        """Erase words, or prune records, whose time is over: one small batch of them.

        Called where nobody waits for a record; `is_idle` says that no chat is under
        way either. Returns after how many seconds to ask again.
        """
        ...

    def maintain(self) -> None:
        """Do the house work that a write left behind, if it is time."""
        ...

    def close(self) -> None:
        """Let go of everything; never raises."""
        ...

    def leave_to_parent(self) -> None:
        """In a forked child: let go of the locks, change nothing else."""
        ...
