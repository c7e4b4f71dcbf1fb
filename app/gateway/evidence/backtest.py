"""Backtest: the chats of a time, decided once more under other settings.

Two simulations go through the same records: one with the settings of now, one with the
others. What differs between them is what the settings change; how far the first differs
from what happened says how far to trust it. No upstream is asked.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from app.gateway.errors import GatewayError
from app.gateway.evidence.evidence import Evidence, EvidenceSource
from app.gateway.evidence.past import Past
from app.gateway.evidence.reporting import LOOK_BACK
from app.gateway.evidence.seen import Case, Seen
from app.gateway.evidence.simulation import Choice, Configuration, Simulation

# Waiting that differs by less is no difference: another share of it, and of a second.
SAME_SHARE, SAME_SECONDS = 0.1, 0.05
EXAMPLES = 10
REFUSED = Choice(None, 0.0)
# Settings that decide whom a chat asks; the others that differ are told of.
SIMULATED = (
    "VX11_UPSTREAMS",
    "VX11_ROUTES",
    "VX11_SWITCH_",
    "VX11_MADRE_",
    "VX11_BREAKER_",
    "VX11_CHAT_DEADLINE",
    "VX11_SLOTS",
    "VX11_WORKERS",
)


class Trip(NamedTuple):
    """A circuit that had opened: when, in Unix time, and of which upstream."""

    at: float
    upstream: str


class Change(NamedTuple):
    """A chat whose answer had come from somebody else; None: from nobody.

    `verdict` is better, worse, same or unknown. `calls` is of how many calls of others
    the guess is made; 0: of none, since this chat asked that upstream itself.
    """

    id: str
    at: float
    before: str | None
    after: str | None
    verdict: str
    calls: int


@dataclass(frozen=True, slots=True)
class Backtest:
    """What the other settings had changed, and what cannot be said.

    `as_recorded` counts the chats whose answer comes, with the settings of now, from
    whom it came in truth; it says how far to trust the rest. `guessed` are changes that
    rest on calls of others. Seconds are those that chats had waited less or more, where
    both are known. `crowded` counts chats that found all places of the gateway taken,
    with the settings of now and with the others.
    """

    since: float
    until: float
    chats: int
    as_recorded: int
    changed: int
    better: int
    worse: int
    unknown: int
    guessed: int
    seconds_saved: float
    seconds_added: float
    answered_by: dict[str, int]
    answered_by_then: dict[str, int]
    trips: tuple[Trip, ...]
    trips_then: tuple[Trip, ...]
    crowded: int
    crowded_then: int
    examples: tuple[Change, ...]
    cannot_know: tuple[str, ...]


@dataclass(slots=True)
class _Sum:
    """The chats of a backtest, added up."""

    chats: int = 0
    as_recorded: int = 0
    guessed: int = 0
    saved: float = 0.0
    added: float = 0.0
    verdicts: Counter[str] = field(default_factory=Counter)
    answered_by: Counter[str] = field(default_factory=Counter)
    answered_by_then: Counter[str] = field(default_factory=Counter)
    digests: Counter[str] = field(default_factory=Counter)
    examples: list[Change] = field(default_factory=list)
    undecided: int = 0
    refused: int = 0

    def told(self) -> dict[str, Any]:
        """What a Backtest has of it by the same name."""
        return {
            "chats": self.chats,
            "as_recorded": self.as_recorded,
            "guessed": self.guessed,
            "changed": self.verdicts.total(),
            **{name: self.verdicts[name] for name in ("better", "worse", "unknown")},
            "seconds_saved": round(self.saved, 3),
            "seconds_added": round(self.added, 3),
            "answered_by": dict(self.answered_by),
            "answered_by_then": dict(self.answered_by_then),
            "examples": tuple(self.examples),
        }

    def take(self, case: Case, before: Choice, after: Choice) -> None:
        chat = case.chat
        self.chats += 1
        answered = chat.provider if chat.outcome == "completed" else None
        self.as_recorded += before.upstream == answered
        self.answered_by[before.upstream or ""] += 1
        self.answered_by_then[after.upstream or ""] += 1
        self.digests[str(case.decision.get("config"))] += 1
        if before.is_known and after.is_known:
            self.saved += max(0.0, before.seconds - after.seconds)
            self.added += max(0.0, after.seconds - before.seconds)
        if before.upstream == after.upstream:
            return
        verdict = _verdict(before, after)
        self.verdicts[verdict] += 1
        self.guessed += after.calls > 0
        if len(self.examples) < EXAMPLES:
            self.examples.append(
                Change(
                    chat.id,
                    chat.opened_at,
                    before.upstream,
                    after.upstream,
                    verdict,
                    after.calls,
                )
            )


def backtest(
    source: EvidenceSource,
    now: Configuration,
    then: Configuration,
    since: float,
    until: float,
    on_progress: Callable[[float], None] = lambda _: None,
) -> Backtest:
    """Decide the chats of a time as with `now` and as with `then`.

    Raises AuditUnavailable.
    """
    past = Past(source.events(since - LOOK_BACK, until))
    seen, total = Seen(), _Sum()
    for chat in source.chats(since, until):
        seen.add(chat)
    before, after = (Simulation(one, seen, past) for one in (now, then))
    crowds = _Crowd(now.slots), _Crowd(then.slots)
    for case in _decided(source.chats(since, until), total):
        total.take(case, _choice(before, case), _choice(after, case))
        for crowd in crowds:
            crowd.take(case.chat)
        if total.chats % 1000 == 0:
            on_progress(case.chat.opened_at)
    return Backtest(
        since=since,
        until=until,
        trips=tuple(Trip(*trip) for trip in before.trips),
        trips_then=tuple(Trip(*trip) for trip in after.trips),
        crowded=crowds[0].crowded,
        crowded_then=crowds[1].crowded,
        cannot_know=tuple(_unknowns(total, now, then)),
        **total.told(),
    )


class _Crowd:
    """Counts chats that begin while as many as there are places are under way."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._ends: list[float] = []
        self.crowded = 0

    def take(self, chat: Evidence) -> None:
        self._ends = [end for end in self._ends if end > chat.opened_at]
        self.crowded += len(self._ends) >= self._slots
        self._ends.append(chat.over_at)


def _decided(chats: Iterator[Evidence], total: _Sum) -> Iterator[Case]:
    """The chats that were taken on, and of which it is on record what was decided."""
    for chat in chats:
        if not chat.is_chat or chat.outcome is None or chat.is_repeat:
            continue
        if chat.outcome == "refused":
            total.refused += chat.chats
            continue
        case = Case.of(chat)
        if case.decision:
            yield case
        else:
            total.undecided += 1


def _choice(simulation: Simulation, case: Case) -> Choice:
    try:
        return simulation.choose(case)
    except GatewayError:  # no upstream serves that model, or can do what it needs
        return REFUSED


def _verdict(before: Choice, after: Choice) -> str:
    if not (before.is_known and after.is_known):
        return "unknown"
    if before.upstream is None or after.upstream is None:
        return "worse" if after.upstream is None else "better"
    difference = after.seconds - before.seconds
    if abs(difference) <= max(SAME_SECONDS, SAME_SHARE * before.seconds):
        return "same"
    return "worse" if difference > 0 else "better"


def _unknowns(total: _Sum, now: Configuration, then: Configuration) -> Iterator[str]:
    yield (
        "How upstreams would have answered calls that nobody made: such a call is "
        "guessed from calls of others within 30 s, or unknown."
    )
    yield (
        "How long a circuit had stayed open: that is drawn at random in production, "
        "and is half of the longest here. The length of a rest that an upstream asked "
        "for is not on record, so none is kept here."
    )
    yield (
        "Whether an answer had been as good: another upstream says something else, and "
        "a slower one changes what callers ask next."
    )
    if total.refused:
        yield (
            f"What had become of {total.refused} chats that were refused: whom they "
            "would have asked is not on record."
        )
    if total.undecided:
        yield (
            f"Whom {total.undecided} chats could ask: it is not on record, so they are "
            "left out."
        )
    others = total.chats - total.digests[now.digest]
    if others:
        yield (
            f"How {others} chats had gone with the settings of their time, which were "
            "others than those of now: both sides of the comparison are newer."
        )
    if names := _others(now, then):
        yield f"What these settings change, which differ too: {', '.join(names)}."


def _others(now: Configuration, then: Configuration) -> list[str]:
    """Settings that differ and decide nothing here."""
    names = sorted(now.settings.keys() | then.settings.keys())
    return [
        name
        for name in names
        if now.settings.get(name) != then.settings.get(name)
        and not name.startswith(SIMULATED)
    ]
