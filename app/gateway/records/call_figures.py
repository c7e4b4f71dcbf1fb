"""Call figures: how the calls to each upstream went lately, by the records of chats."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.gateway.guard.call_history import says_something
from app.gateway.records.activity import Moment


@dataclass(frozen=True, slots=True)
class LastFailure:
    """The newest failed call to an upstream: when its chat began, why, its record."""

    at: float
    fault: str
    record: str


@dataclass(slots=True)
class CallFigures:
    """The calls to one upstream; durations are in seconds.

    What follows from a request alone, and upstreams that were passed over, are no
    calls. `durations` are those of the calls that were answered.
    """

    calls: int = 0
    failures: int = 0
    durations: list[float] = field(default_factory=list)
    last_failure: LastFailure | None = None

    @property
    def error_rate(self) -> float | None:
        """The share of calls that failed, None without any."""
        return self.failures / self.calls if self.calls else None

    def quantile(self, share: float) -> float | None:
        """Within how many seconds this share of the answers came, None without any."""
        ordered = sorted(self.durations)
        return ordered[int(len(ordered) * share)] if ordered else None


def call_figures(moments: Sequence[Moment]) -> Mapping[str, CallFigures]:
    """Return the figures of each upstream that was called; the newest chat is first."""
    figures: dict[str, CallFigures] = {}
    for moment in moments:
        for attempt in _attempts(moment.attempts):
            of_one = figures.setdefault(attempt["upstream"], CallFigures())
            _count(of_one, attempt, moment)
    return figures


def _count(figures: CallFigures, attempt: Mapping[str, Any], moment: Moment) -> None:
    fault = attempt.get("fault")
    if fault is None:
        figures.calls += 1
        figures.durations.append(float(attempt["duration"]))
    elif says_something(fault):
        figures.calls += 1
        figures.failures += 1
        figures.last_failure = figures.last_failure or LastFailure(
            moment.opened_at, fault, moment.id
        )


def _attempts(text: str | None) -> Iterable[Mapping[str, Any]]:
    """The attempts of a record; one that says anything else is passed over."""
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return ()
    if not isinstance(found, list):
        return ()
    return [one for one in found if isinstance(one, dict) and _is_told(one)]


def _is_told(attempt: Mapping[str, Any]) -> bool:
    return isinstance(attempt.get("upstream"), str) and isinstance(
        attempt.get("duration"), int | float
    )
