"""Activity: the gateway's recent past in numbers, for those who look after it.

It holds no text and no id, so it may be shown where records may not be read.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

# Bad chats of a kind at most so many seconds apart belong to one window: an outage is
# one event for whoever reads about it, also when nobody asks for a while.
GAP = 60.0

Kind = Literal["degraded", "unanswered", "refused"]


@dataclass(frozen=True, slots=True)
class Moment:
    """One chat as a point in the console's charts.

    `opened_at` is Unix time and `duration` in seconds; `status` is HTTP's. While
    the chat is under way all but `opened_at` and `id` is None. `id` is its record's.
    """

    opened_at: float
    duration: float | None
    outcome: str | None
    status: int | None
    provider: str | None
    degraded_by: str | None
    code: str | None
    id: str


@dataclass(frozen=True, slots=True)
class Window:
    """A period of chats that went wrong in one and the same way.

    `degraded`: another upstream than the first choice answered; `unanswered`: nobody
    did; `refused`: the gateway itself did not take them on. From the first one's
    beginning to the last one's end, in Unix time. `causes` counts the chats by reason,
    in the order in which the reasons appeared: the first one is what began it.
    """

    began: float
    ended: float
    chats: int
    causes: tuple[tuple[str, int], ...]
    kind: Kind = "degraded"


class Activity(Protocol):
    """The port that reads the recent past. Threads may share it."""

    def recent(self, since: float, limit: int) -> tuple[Moment, ...]:
        """Return the newest chats begun since then, at most `limit`, newest first.

        Raises AuditUnavailable when the records can't be read.
        """
        ...

    def windows(self, since: float, limit: int) -> tuple[Window, ...]:
        """Return the newest windows begun since then, at most `limit`, newest first.

        Raises AuditUnavailable when the records can't be read.
        """
        ...
