"""Usage by day: who used how much, counted day by day from the newest one back."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from app.gateway.errors import SearchTookTooLong
from app.gateway.records.activity import Activity, Usage

DAY = 86400.0  # seconds
WITHIN = 5.0  # seconds; what is not counted by then is told as not counted
CALLERS_MAX = 1000  # entries of one day


@dataclass(frozen=True, slots=True)
class UsageOfDay:
    """What was used on one day of UTC; `began` is Unix time."""

    began: float
    usage: tuple[Usage, ...]


def usage_by_day(
    activity: Activity,
    now: float,
    days: int,
    *,
    by_person: bool,
    clock: Callable[[], float] = monotonic,
) -> tuple[UsageOfDay, ...]:
    """Return the newest days, the present one first, as far as time allows.

    There are fewer than `days` if counting them took too long. Raises AuditUnavailable
    when the records can't be read, SearchTookTooLong if even today's are too many.
    """
    deadline, today = clock() + WITHIN, now - now % DAY
    counted: list[UsageOfDay] = []
    for ago in range(days):
        began = today - ago * DAY
        try:
            used = activity.usage(began, began + DAY, CALLERS_MAX, by_person=by_person)
        except SearchTookTooLong:
            if not counted:
                raise
            break
        counted.append(UsageOfDay(began, used))
        if clock() >= deadline:
            break
    return tuple(counted)
