"""Incidents: times in which a process could put no chat on record, and set clocks.

What was refused in such a gap is nowhere on record, so the gap itself is, afterwards:
from when, until when, why, and how many chats it cost.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic, time
from typing import Any, Protocol

from app.storage.chain.links import ClockWatch

# Faults with less than this many seconds between them are one gap, and it is told so
# long after its end: one that comes and goes must not write a record each time.
QUIET = 10.0
# Seconds of a write: after the first it is called stuck (lock, disk), which is told,
# and after the second new chats are refused. A disk that stalls for less, as many do
# behind a snapshot or a big install, costs nobody an answer (decision 98).
STUCK = 1.5
REFUSE_AFTER = 4.0


class WriterEvents(Protocol):
    """What is told of incidents; it must not wait, and may put a record in the queue.

    The writer's thread calls it.
    """

    def audit_gap(self, gap: Mapping[str, Any]) -> None:
        """There was a time in which no record could be written."""
        ...

    def clock_jumped(self, seconds: float) -> None:
        """The wall clock was set."""
        ...


@dataclass(slots=True)
class _Gap:
    reason: str
    began: float  # Unix time, as `ended`
    ended: float
    over_at: float  # monotonic time of its end


class Incidents:
    """The gap that goes on, or that has just ended. The writer's thread has it.

    Other threads may call `refused`, whose count may then miss one or two.
    """

    def __init__(
        self,
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], float] = time,
    ) -> None:
        self._clock, self._wall = clock, wall
        self._watch = ClockWatch(wall, clock)
        self._gap: _Gap | None = None
        self._goes_on = False
        # Chats that were not taken on; answers that were made and not delivered.
        self._refused = self._undelivered = 0

    def refused(self) -> None:
        """Count a chat that was not taken on, for want of a record."""
        self._refused += 1

    def undelivered(self) -> None:
        """Count an answer that was made, and could not be delivered."""
        self._undelivered += 1

    def gave_up(self, ago: float) -> None:
        """Count one whose chat did not wait any longer: writing is too slow.

        The write that it waited for began so many seconds ago.
        """
        self._undelivered += 1
        self._begin("too_slow", ago)

    def looked(self, fault: str | None, took: float) -> None:
        """Note how the writer is after a turn that took so many seconds."""
        if fault is not None:
            self._begin(fault, took)
            return
        if took > STUCK:
            self._begin("stuck", took)
        if self._gap is not None and self._goes_on:
            self._goes_on = False
            self._gap.ended, self._gap.over_at = self._wall(), self._clock()

    def take_gap(self, *, at_once: bool = False) -> dict[str, Any] | None:
        """Return the gap that is over, once, as its record tells it; or None.

        With `at_once` also one that may not be over for good.
        """
        gap = self._gap
        if gap is None or self._goes_on:
            return None
        if not at_once and self._clock() - gap.over_at < QUIET:
            return None
        told = {
            "reason": gap.reason,
            "from": round(gap.began, 3),
            "until": round(gap.ended, 3),
            "refused": self._refused,
            "undelivered": self._undelivered,
        }
        self._gap, self._refused, self._undelivered = None, 0, 0
        return told

    def tell(self, events: WriterEvents) -> None:
        """Tell of a gap that is over, and of a clock that was set."""
        if gap := self.take_gap():
            events.audit_gap(gap)
        _, step = self._watch.read(0.0)
        if step:
            self._watch.marked()
            events.clock_jumped(step)

    def _begin(self, reason: str, ago: float) -> None:
        if self._gap is None:
            began = self._wall() - ago
            self._gap = _Gap(reason, began, began, self._clock())
        self._goes_on = True
