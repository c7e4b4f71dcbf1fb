"""AuditBackend: all that a place of audit records offers, as one thing."""

import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from app.gateway.access.hosts import LaneOwner
from app.gateway.access.pools import Pools
from app.gateway.kept.answers import Answers
from app.gateway.kept.claim_table import ClaimTable
from app.gateway.records.activity import Activity
from app.gateway.records.signs import AuditSpace
from app.storage.audit.queued_trail import QueuedTrail
from app.storage.audit.reader import AuditReader
from app.storage.chain.knots import Place
from app.storage.chain.links import Head
from app.storage.chain.retention import FOR_EVER, Erased, Keep, Whose
from app.storage.chain.verification import OnProgress, Verification, ignore

MOST_BYTES = 256 * 1024 * 1024  # of kept answers


@dataclass(frozen=True, slots=True)
class Host:
    """Where a worker runs: the name of its host, its state folder, what is told of it.

    `about` is JSON for the other hosts.
    """

    name: str = platform.node()
    state_dir: Path | None = None
    about: Callable[[], str] = lambda: "{}"


THIS_HOST = Host()


class OpenPools(Pools, Protocol):
    """Pools that are to be started and closed, and the claims beside them."""

    def start(self) -> None:
        """Begin to answer. Raises RuntimeError if no thread is to be had."""
        ...

    @property
    def lanes(self) -> Sequence[LaneOwner]:
        """Whose the lanes of the last day are, as of some seconds ago."""
        ...

    def claims(self, alone: ClaimTable) -> ClaimTable:
        """Return the claims of all hosts; those of `alone` while nobody answers."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class AuditBackend(Protocol):
    """One place of records: its write side, its read sides, its check, its size.

    All of them see the same records. Threads and commands may share it; every method
    that opens something opens a new one.
    """

    @property
    def place(self) -> str:
        """Where the records are, for people; no password is in it."""
        ...

    @property
    def folder(self) -> Path | None:
        """The state folder of an instance that names none; None: it must name one."""
        ...

    def trail(
        self,
        *,
        anchor_file: Path | None = None,
        is_known: bool = False,
        keep_bytes: int = MOST_BYTES,
        may_begin: bool = True,
        newest: str | None = None,
        host: Host = THIS_HOST,
        keep: Keep = FOR_EVER,
    ) -> QueuedTrail:
        """Open the write side, making and migrating the records if need be.

        Raises UnusableDatabase for what must not be written to, which is left as it
        is. Where writing is impossible just now (locked, full, read-only) the trail
        opens, refuses chats, and comes back by itself; StoreFailed is raised only if
        it has never been there and can't be made.

        Without `may_begin` one that is not there is an UnusableDatabase, too.
        Anchors go to the log, and to `anchor_file`. Kept answers take at most
        `keep_bytes`. `newest` is what `newest_head`
        said to somebody who lives longer than a worker: older records are refused.
        In the state folder of `host` a backend without a folder keeps what is this
        host's own.
        Words and records go when they are older than `keep` says.
        With `is_known` somebody has opened it before, so it is never made, and
        whatever is wrong with it, it opens, refuses chats, and comes back once that is
        mended.
        """
        ...

    def newest_head(self, pids: Iterable[int], known: str | None) -> str | None:
        """Return the newest head of those that these workers saw and of `known`.

        Cheap enough for each second. Raises OSError.
        """
        ...

    def require_readable(self) -> None:
        """Raise StoreFailed, with whose they are, if this user may not read them."""
        ...

    def records(self) -> AuditReader:
        """Open the read side."""
        ...

    def activity(self) -> Activity:
        """Open the view of the recent past."""
        ...

    def verify(
        self, *, noted: Iterable[Place] = (), on_progress: OnProgress = ignore
    ) -> Verification:
        """Check the whole chain; works while workers write. Raises StoreFailed.

        `noted` are heads of earlier that were kept elsewhere: each must still be part
        of the chain.
        """
        ...

    def pools(self, state_dir: Path) -> OpenPools | None:
        """Open what hosts that use these records share; None: there is but one host."""
        ...

    def backup(self, folder: Path) -> Verification:
        """Copy the records into a new folder while others write, and check the copy.

        What is returned is of the copy, which stays also if it is not whole. Raises
        StoreFailed if nothing was copied.
        """
        ...

    def restore(self, folder: Path, *, sets_aside: bool = False) -> Verification:
        """Put a copy that `backup` made in the place of the records, if it is whole.

        Records that are there are never overwritten: they are moved into a folder
        beside, if `sets_aside`. Raises StoreFailed, having changed nothing, for that,
        for a copy that is not whole, and while the gateway runs.
        """
        ...

    def look(self) -> list[str]:
        """Return warnings about the place, changing nothing; also while others write.

        Raises StoreFailed for what keeps a gateway from starting there.
        """
        ...

    def erase(
        self, whose: Whose, *, is_rehearsal: bool, on_progress: OnProgress = ignore
    ) -> Erased:
        """Take the words of all records of somebody, and put that on record.

        Works while workers write. A rehearsal only counts. Raises StoreFailed,
        AuditUnavailable or SearchTookTooLong.
        """
        ...

    def answers(self) -> Answers:
        """Open the view of the kept answers, which come with their records."""
        ...

    def space(self) -> AuditSpace:
        """What the records take and have left. Raises OSError."""
        ...


class Moved(NamedTuple):
    """How many records were moved, and the heads of the lanes that they are."""

    records: int
    heads: tuple[Head, ...]


class OneHost:
    """The part of a backend whose records no other host can reach."""

    def pools(self, state_dir: Path) -> None:
        """Nothing: there is nobody to share with."""


@runtime_checkable
class SharedBackend(AuditBackend, Protocol):
    """A place of records that several hosts share."""

    def take_over(
        self, source: AuditBackend, on_progress: OnProgress = ignore
    ) -> Moved:
        """Copy the trail of another backend, which nobody writes to any more.

        Both are verified. Raises StoreFailed; then nothing was moved.
        """
        ...

    def accept_loss(self) -> int:
        """Let all lanes go on from where they end now; return how many they are.

        An event of the chain says so. Raises StoreFailed.
        """
        ...
