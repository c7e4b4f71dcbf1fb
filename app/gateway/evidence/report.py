"""Report: every minute in which a fallback answered, or nobody did, and why.

These are its values; `reporting` makes one.
"""

from dataclasses import dataclass
from typing import NamedTuple

from app.gateway.evidence.past import Happening
from app.gateway.records.activity import Kind


class Share(NamedTuple):
    """A cause, and how many chats it touched; the first of them was at `at`."""

    kind: str
    upstream: str | None
    word: str
    at: float
    chats: int
    sentence: str


@dataclass(frozen=True, slots=True)
class MinuteReport:
    """One minute in which somebody asked; `at` is its beginning in Unix time.

    `outcomes`, `answered_by` and `degraded_by` count its chats; `p50` and `p95` are
    seconds in which they were answered, None if none was. `causes` are in order.
    """

    at: float
    chats: int
    degraded: int
    unanswered: int
    refused: int
    outcomes: dict[str, int]
    answered_by: dict[str, int]
    degraded_by: dict[str, int]
    p50: float | None
    p95: float | None
    causes: tuple[Share, ...]

    @property
    def is_bad(self) -> bool:
        """Whether somebody was not answered by the first choice."""
        return bool(self.degraded or self.unanswered or self.refused)


@dataclass(frozen=True, slots=True)
class WindowReport:
    """A stretch of chats that went wrong in one way: why, and what happened meanwhile.

    From the first one's beginning to the last one's end, in Unix time; `causes` in the
    order in which they began.
    """

    kind: Kind
    began: float
    ended: float
    chats: int
    causes: tuple[Share, ...]
    happenings: tuple[Happening, ...]


class Stop(NamedTuple):
    """A time in which a lane was not written: whoever writes it was not running.

    `was_told` is whether the gateway was told to stop; else it died, or the host did.
    """

    lane: int
    since: float
    until: float
    was_told: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What is on record of a time, from `since` to `until` in Unix time.

    `minutes` are those in which somebody asked, oldest first, as all else here.
    `unexplained` counts chats with no cause on record. `heads` are those of the chain
    when the report was made: who keeps it has an anchor.
    """

    since: float
    until: float
    chats: int
    degraded: int
    unanswered: int
    refused: int
    unexplained: int
    minutes: tuple[MinuteReport, ...]
    windows: tuple[WindowReport, ...]
    stops: tuple[Stop, ...]
    happenings: tuple[Happening, ...]
    heads: tuple[str, ...]

    @property
    def bad_minutes(self) -> tuple[MinuteReport, ...]:
        """The minutes in which somebody was not answered by the first choice."""
        return tuple(minute for minute in self.minutes if minute.is_bad)
