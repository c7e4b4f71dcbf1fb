"""Reporting: makes a report of what is on record.

It is a fold over the evidence in the order of time: first the events, which say what
held when (`past`), then the chats. Replays, corrections and events count as no chats.
"""

from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from app.gateway.evidence.causes import UNEXPLAINED, Cause, causes_of, kind_of
from app.gateway.evidence.evidence import Beat, Evidence, EvidenceSource
from app.gateway.evidence.past import Happening, Past
from app.gateway.evidence.report import (
    MinuteReport,
    Report,
    Share,
    Stop,
    WindowReport,
)
from app.gateway.records.activity import GAP, Kind
from app.gateway.records.events import CONFIG, PROCESS, STOPPED

MINUTE = 60.0
DAY = 86400.0
# Verdicts and circuits that held before the time that is asked about began earlier.
LOOK_BACK = 7 * DAY
# Knots come once a minute, and a moment late. Two that are farther apart have a time
# between them in which their lane was not written.
SILENCE = 130.0
_GAPS = {"refused": 2 * GAP}  # such refusals are on record once or twice a minute
_AROUND = 60.0  # seconds around a window in which what happened belongs to it


@dataclass(slots=True)
class _Causes:
    """The causes of some chats, added up."""

    shares: dict[tuple[str, str | None, str], tuple[Cause, int]] = field(
        default_factory=dict
    )

    def add(self, causes: Sequence[Cause], chats: int) -> None:
        for cause in causes:
            key = cause[:3]
            first, count = self.shares.get(key, (cause, 0))
            self.shares[key] = (min(first, cause, key=_began), count + chats)

    def in_order(self) -> tuple[Share, ...]:
        shares = (
            Share(one.kind, one.upstream, one.word, one.at, chats, one.sentence)
            for one, chats in self.shares.values()
        )
        return tuple(sorted(shares, key=_began))


@dataclass(slots=True)
class _Minute:
    at: float
    kinds: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    answered_by: Counter[str] = field(default_factory=Counter)
    degraded_by: Counter[str] = field(default_factory=Counter)
    took: list[float] = field(default_factory=list)
    causes: _Causes = field(default_factory=_Causes)

    def told(self) -> MinuteReport:
        took = sorted(self.took)
        return MinuteReport(
            at=self.at,
            chats=self.outcomes.total(),
            degraded=self.kinds["degraded"],
            unanswered=self.kinds["unanswered"],
            refused=self.kinds["refused"],
            outcomes=dict(+self.outcomes),
            answered_by=dict(+self.answered_by),
            degraded_by=dict(+self.degraded_by),
            p50=_share(took, 0.5),
            p95=_share(took, 0.95),
            causes=self.causes.in_order(),
        )


@dataclass(slots=True)
class _Window:
    kind: Kind
    began: float
    ended: float
    newest: float
    chats: int = 0
    causes: _Causes = field(default_factory=_Causes)

    def told(self, past: Past) -> WindowReport:
        around = past.between(self.began - _AROUND, self.ended + _AROUND)
        return WindowReport(
            self.kind,
            self.began,
            self.ended,
            self.chats,
            self._beginnings(around) + self.causes.in_order(),
            tuple(around),
        )

    def _beginnings(self, around: Sequence[Happening]) -> tuple[Share, ...]:
        """A start, or other settings, just before: what changed comes first."""
        return tuple(
            Share(what.kind, None, what.kind, what.at, self.chats, what.sentence)
            for what in around
            if what.kind in (CONFIG, PROCESS) and what.at <= self.began
        )


class _Fold:
    """The chats of a report, taken one after the other."""

    def __init__(self, past: Past) -> None:
        self._past = past
        self._minutes: dict[float, _Minute] = {}
        self._windows: list[_Window] = []
        self._newest: dict[str, _Window] = {}
        self.unexplained = 0

    def take(self, chat: Evidence) -> None:
        if chat.corrects is not None:
            self._correct(chat)
        elif chat.is_chat:
            self._count(chat, _minute_of(chat.opened_at), chat.chats)

    def minutes(self) -> tuple[MinuteReport, ...]:
        return tuple(self._minutes[at].told() for at in sorted(self._minutes))

    def windows(self) -> tuple[WindowReport, ...]:
        windows = sorted(self._windows, key=lambda window: window.began)
        return tuple(window.told(self._past) for window in windows)

    def _count(self, chat: Evidence, at: float, chats: int) -> None:
        minute = self._minutes.setdefault(at, _Minute(at))
        minute.outcomes[chat.outcome or "open"] += chats
        if chat.outcome == "completed":
            minute.answered_by[chat.provider or ""] += chats
            if chat.duration is not None:
                minute.took.append(chat.duration)
        if chat.degraded_by is not None:
            minute.degraded_by[chat.degraded_by] += chats
        if kind := kind_of(chat):
            self._count_bad(chat, kind, minute, chats)

    def _count_bad(
        self, chat: Evidence, kind: Kind, minute: _Minute, chats: int
    ) -> None:
        causes = causes_of(chat, self._past)
        minute.kinds[kind] += chats
        minute.causes.add(causes, chats)
        if any(cause.kind == UNEXPLAINED for cause in causes):
            self.unexplained += chats
        window = self._window(kind, chat)
        window.chats += chats
        window.causes.add(causes, chats)
        window.ended = max(window.ended, chat.over_at)
        window.newest = chat.opened_at

    def _window(self, kind: Kind, chat: Evidence) -> _Window:
        newest, gap = self._newest.get(kind), _GAPS.get(kind, GAP)
        if newest is None or chat.opened_at - newest.newest > gap:
            newest = _Window(kind, chat.opened_at, chat.over_at, chat.opened_at)
            self._newest[kind] = newest
            self._windows.append(newest)
        return newest

    def _correct(self, correction: Evidence) -> None:
        """Take a completed chat for one that failed: its answer did not go out."""
        began = _time_of(correction.corrects or "")
        at = _minute_of(began)
        minute = self._minutes.get(at)
        if minute is None:
            return  # it began before the time that is asked about
        minute.outcomes["completed"] -= 1
        minute.answered_by[correction.provider or ""] -= 1
        if correction.degraded_by is not None:
            minute.kinds["degraded"] -= 1
            minute.degraded_by[correction.degraded_by] -= 1
        self._count(correction._replace(opened_at=began), at, 1)


def report(
    source: EvidenceSource,
    since: float,
    until: float,
    *,
    now: float,
    on_progress: Callable[[float], None] = lambda _: None,
) -> Report:
    """Tell of a time what went wrong, and why. Raises AuditUnavailable.

    `now` is Unix time: nothing can be missed after it. `on_progress` is told how far
    it has come, in Unix time.
    """
    events = list(source.events(since - LOOK_BACK, until + _AROUND))
    past = Past(events)
    fold = _Fold(past)
    for number, chat in enumerate(source.chats(since, until)):
        fold.take(chat)
        if number % 1000 == 0:
            on_progress(chat.opened_at)
    minutes = fold.minutes()
    beats = source.beats(since - DAY, min(until + SILENCE, now))
    return Report(
        since=since,
        until=until,
        chats=sum(minute.chats for minute in minutes),
        degraded=sum(minute.degraded for minute in minutes),
        unanswered=sum(minute.unanswered for minute in minutes),
        refused=sum(minute.refused for minute in minutes),
        unexplained=fold.unexplained,
        minutes=minutes,
        windows=fold.windows(),
        stops=tuple(_stops(beats, events, past, since, min(until, now))),
        happenings=tuple(past.between(since, until)),
        heads=source.tips(),
    )


def _stops(
    beats: Iterator[Beat],
    events: Sequence[Evidence],
    past: Past,
    since: float,
    until: float,
) -> Iterator[Stop]:
    """The times without a knot, but for those in which no record could be written."""
    ends = sorted(one.opened_at for one in events if one.code == STOPPED)
    signs: dict[int, list[float]] = {}
    for beat in beats:
        signs.setdefault(beat.lane, []).append(beat.at)
    for event in events:
        if event.lane in signs and event.opened_at >= since - DAY:
            signs[event.lane].append(event.opened_at)
    for lane, times in sorted(signs.items()):
        for began, ended in _silences(sorted(times), until):
            if ended > since and past.gap(began, ended) is None:
                place = bisect(ends, ended)
                was_told = bool(place) and ends[place - 1] >= began - 1.0
                yield Stop(lane, max(began, since), min(ended, until), was_told)


def _silences(times: Sequence[float], until: float) -> Iterator[tuple[float, float]]:
    ends = [*times[1:], max(until, times[-1])]
    for began, ended in zip(times, ends, strict=True):
        if ended - began > SILENCE:
            yield began, ended


def _minute_of(at: float) -> float:
    return at // MINUTE * MINUTE


def _time_of(audit_id: str) -> float:
    """When the record of that id began (see `new_audit_id`)."""
    try:
        return int(audit_id[:12], 16) / 1000
    except ValueError:
        return 0.0


def _share(ordered: Sequence[float], part: float) -> float | None:
    return ordered[int(len(ordered) * part)] if ordered else None


def _began(one: Cause | Share) -> float:
    return one.at
