"""Lane: the place of one worker in the chain, and how it stays his alone.

The head is the guard. Each write says from where it moves the head and whose lane it
is, so a worker that was frozen while another took his lane over writes nothing. The
head is the receipt, too: after a connection that was lost in the midst of a commit it
tells whether the commit was made. Looking does not settle it, as the lost statement
may still be on its way; sending again under the same guard does.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic, sleep, time
from typing import Any

from app.storage.audit.errors import StoreFailed
from app.storage.audit.rows import Draft, Values
from app.storage.chain.knots import Place
from app.storage.chain.links import GENESIS, ClockWatch, Head, head_mac, is_signed, seal
from app.storage.postgres import statements as sql
from app.storage.postgres.connections import Row, Session
from app.storage.postgres.head_notes import HeadNotes
from app.storage.postgres.past import Past, place_of

log = logging.getLogger(__name__)

# Seconds that a write whose connection was lost may take to be settled, and the pause
# between two tries to connect again.
SETTLE = 1.0
PAUSE = 0.02


class Lane:
    """The lane of the worker `owner`, on his session. It belongs to one thread.

    `name` tells whose lanes are claimed first: those of this host. `about` is told to
    the other hosts. Every method raises StoreFailed, RowRefused and psycopg.Error.
    """

    def __init__(
        self,
        session: Session,
        key: bytes,
        owner: str,
        notes: HeadNotes,
        *,
        name: str,
        about: Callable[[], str] = lambda: "{}",
        watch: ClockWatch | None = None,
    ) -> None:
        self._session, self._key, self._owner = session, key, owner
        self._notes, self._name, self._about = notes, name, about
        self._watch = watch or ClockWatch()
        self._past = Past(session)
        self._id = 0  # 0: none is held
        self._head: Head | None = None  # None: not looked at yet
        # Where the lane may be as well: heads whose commits are not known to us.
        self._attempted: set[Place] = set()

    @property
    def head(self) -> Head:
        """The head as this worker knows it. Raises StoreFailed if it has no lane."""
        if self._head is None:
            raise StoreFailed("unreachable", "no lane is held")
        return self._head

    def open(self) -> None:
        """Find our lane as we left it, behind a new connection, or claim one."""
        if not self._id:
            self._claim()
        else:
            self._find(())

    def append(self, drafts: Sequence[Draft], *, is_knot: bool = False) -> None:
        """Commit drafts at the end of the lane, all or none.

        Where the connection is lost meanwhile, it is found out within a second
        whether they were committed, else StoreFailed is raised.
        """
        until = monotonic() + SETTLE
        tried: list[Head] = []  # commits that may have been made
        while True:
            try:
                if self._is_settled(drafts, tried, is_knot=is_knot):
                    return
            except Exception:
                if not self._session.is_lost or monotonic() > until:
                    raise
                sleep(PAUSE)
            if monotonic() > until:
                raise StoreFailed("unreachable", "a write could not be settled")

    def sealed(
        self, drafts: Sequence[Draft], *, is_knot: bool = False
    ) -> tuple[list[Values], Head]:
        """Give drafts their places behind the head; return rows and new head."""
        before = self.head
        now, step = self._watch.read(before.sealed_at)
        rows, head = seal(drafts, before, self._key, now=now, clock_step=step)
        return rows, replace(head, knotted_at=now) if is_knot else head

    def send(
        self, rows: Sequence[Values], head: Head, drafts: Sequence[Draft] = ()
    ) -> bool:
        """Write rows and head, if the lane is where we left it; return whether.

        With them what the drafts say of kept answers.
        """
        self._attempted.add(place_of(head))
        guard = {**self._mine(), **_where(self.head)}
        values = sql.head_arguments(head, head_mac(self._key, head))
        answers = sql.answers_arguments(drafts)
        arguments = {**guard, **values, **answers, "rows": sql.rows_argument(rows)}
        statement = sql.WRITE_WITH_ANSWERS if answers else sql.WRITE
        return bool(self._session.run(statement, arguments))

    def committed(self, head: Head) -> None:
        """Take note that a head, and what it stands for, is on the disk."""
        if self._head and head.seq != self._head.seq:
            self._watch.marked()
        self._head = head
        self._attempted.clear()
        self._notes.keep(head)

    def beat(self) -> Row | None:
        """Tell that we live; return what BEAT does, None if the lane was elsewhere.

        Then it was found.
        """
        where = {**self._mine(), **_where(self.head), "about": self._about()}
        found = self._session.run(sql.BEAT, where)
        if not found:
            self._find(())
            return None
        return found[0]

    def release(self) -> None:
        """Leave the lane to whoever comes next."""
        if self._id:
            self._session.run(sql.RELEASE, self._mine())

    # ---- where the lane is

    def _is_settled(
        self, drafts: Sequence[Draft], tried: list[Head], *, is_knot: bool
    ) -> bool:
        """Find out whether a try before has worked, else try; return whether."""
        if self._session.is_lost:
            self._session.open()
        if tried:
            # Without a sealed row the head does not tell; to write again is no harm.
            telling = [head for head in tried if head.seq != self.head.seq]
            if self._find(telling):
                self.committed(self.head)
                return True
        rows, head = self.sealed(drafts, is_knot=is_knot)
        tried.append(head)
        if not self.send(rows, head, drafts):
            return False
        self.committed(head)
        return True

    def _find(self, heads: Sequence[Head]) -> bool:
        """Take the lane up as it is, or another; return whether it has one of these.

        Raises StoreFailed where nothing may follow what is there.
        """
        found = self._session.run(sql.LOOK, {"lane": self._id})
        seen = place_of(self._head) if self._head else self._notes.of(self._id)
        if not found:
            self._past.require_never_written(self._id, seen)
            self._claim()
            return False
        owner, *columns = found[0]
        there, mac = sql.head_of(columns)
        if owner == self._owner:
            self._session.run(sql.TAKE_UP, {**self._mine(), "about": self._about()})
        if not is_signed(self._key, there, mac):
            raise StoreFailed("corrupt", f"the head of lane {self._id} is forged")
        self._past.require_successor(there, seen)
        is_there = any(self._past.is_part_of(there, place_of(h)) for h in heads)
        if owner != self._owner:
            log.warning("Audit lane %d was taken over; claiming another", self._id)
            self._claim()
        else:
            self._take(there)
        return is_there

    def _take(self, there: Head) -> None:
        known = self._head is None or place_of(there) in {
            place_of(self._head),
            *self._attempted,
        }
        if not known:
            why = f"somebody else has written to lane {self._id}"
            raise StoreFailed("corrupt", why)
        self._head = there
        self._notes.keep(there)

    # ---- claiming one

    def _claim(self) -> None:
        self._head, self._id = None, 0
        self._attempted.clear()
        claim = {**self._mine(), "name": self._name, "about": self._about()}
        found = self._session.run(sql.CLAIM, claim)
        while not found:
            found = self._begun()
        self._id = found[0][0]
        self._find(())

    def _begun(self) -> list[Row]:
        """Make a lane; nothing is returned if somebody was faster."""
        ((number,),) = self._session.run(sql.NEXT_LANE)
        head = replace(GENESIS, lane=number, knotted_at=time())
        values = sql.head_arguments(head, head_mac(self._key, head))
        facts = {"owner": self._owner, "lane_name": self._name, "about": self._about()}
        return self._session.run(sql.BEGIN, {**values, **facts})

    def _mine(self) -> dict[str, Any]:
        return {"lane": self._id, "owner": self._owner}


def _where(head: Head) -> dict[str, Any]:
    return {"was": head.seq, "was_digest": head.digest}
