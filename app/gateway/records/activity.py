"""Activity: the gateway's recent past in numbers, for those who look after it.

It holds no text that anybody wrote.
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
    `attempts` is the JSON text of the record's.
    """

    opened_at: float
    duration: float | None
    outcome: str | None
    status: int | None
    provider: str | None
    degraded_by: str | None
    code: str | None
    id: str
    attempts: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What one caller, or one person of a caller, has used in some stretch of time.

    `chats` are all that were asked for; of these `answered` were answered in full
    (`degraded` of them by another upstream than the first choice), `failed` got no
    whole answer, `refused` were not taken on, `cancelled` were given up by the caller.
    The tokens are those that upstreams have counted.
    """

    caller: str
    person: str | None
    chats: int
    answered: int
    degraded: int
    failed: int
    refused: int
    cancelled: int
    input_tokens: int
    output_tokens: int


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

    def usage(
        self, since: float, until: float, limit: int, *, by_person: bool
    ) -> tuple[Usage, ...]:
        """Return what was used from `since` (included) to `until` (excluded).

        One entry for each caller, or for each person of each caller; who used most
        comes first, and at most `limit` are returned. Raises AuditUnavailable when the
        records can't be read, SearchTookTooLong when there are too many.
        """
        ...
