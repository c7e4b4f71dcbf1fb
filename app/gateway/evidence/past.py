"""Past: what the events say of a time, to be asked why a chat went as it did.

An upstream that is passed over shows why in no attempt: it was out by a verdict, or its
circuit was open, and the events say since when and for what reason.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any, NamedTuple

from app.gateway.evidence.evidence import Evidence
from app.gateway.evidence.words import fault_words
from app.gateway.records import events as names

# Seconds by which an event may be on record later than what it tells of took effect.
SLACK = 2.0
UPSTREAMS = "VX11_UPSTREAMS"  # the name under which the settings list them


class Stretch(NamedTuple):
    """A time in which something held, in Unix time; `word` says what or why.

    `caller` is the one caller for whom it held; None: for all.
    """

    since: float
    until: float
    word: str
    caller: str | None = None

    def meets(self, since: float, until: float) -> bool:
        """Whether it held at some moment between these."""
        return self.since <= until + SLACK and self.until >= since - SLACK


class Happening(NamedTuple):
    """An event as a report lists it; `upstream` is None for one of the gateway."""

    at: float
    kind: str
    upstream: str | None
    sentence: str


class Past:
    """What held when, built of all events in their order. It never changes."""

    def __init__(self, events: Iterable[Evidence]) -> None:
        self._down: dict[str, list[Stretch]] = defaultdict(list)
        self._open: dict[tuple[str, str | None], list[Stretch]] = defaultdict(list)
        self.gaps: list[Stretch] = []
        self.happenings: list[Happening] = []
        self._configs: list[tuple[float, Mapping[str, Any]]] = []
        for event in events:
            self._take(event)

    def verdict(self, upstream: str, since: float, until: float) -> Stretch | None:
        """The latest time, of those that meet this, for which it was said to be out."""
        return _latest(self._down[upstream], since, until)

    def down_at(self, upstream: str, at: float) -> bool:
        """Whether it was said to be out at that very moment."""
        stretches = self._down.get(upstream, ())
        place = bisect_right(stretches, at, key=_since)
        return place > 0 and at < stretches[place - 1].until

    def circuit(
        self, upstream: str, caller: str, since: float, until: float
    ) -> Stretch | None:
        """The same for its circuit, as it was to this caller."""
        of_all = _latest(self._open[upstream, None], since, until)
        return of_all or _latest(self._open[upstream, caller], since, until)

    def gap(self, since: float, until: float) -> Stretch | None:
        """The same for a gap of the audit."""
        return _latest(self.gaps, since, until)

    def timeout(self, upstream: str, at: float) -> float | None:
        """How long a call to it might take then, in seconds; None: it is not known."""
        known = (config for since, config in reversed(self._configs) if since <= at)
        config: Mapping[str, Any] = next(known, {})
        listed = config.get(UPSTREAMS)
        for one in listed if isinstance(listed, list) else ():
            if isinstance(one, dict) and one.get("name") == upstream:
                limit = one.get("timeout")
                return limit if isinstance(limit, int | float) else None
        return None

    def between(self, since: float, until: float) -> list[Happening]:
        """What happened from then to then, in its order."""
        return [one for one in self.happenings if since <= one.at <= until]

    def _take(self, event: Evidence) -> None:
        words = _SENTENCES.get(event.code or "")
        if event.code == names.LOADED:
            settings = event.fact("settings")
            settings = settings if isinstance(settings, dict) else {}
            sentence = self._changed(settings)
            self._configs.append((event.opened_at, settings))
        elif words is not None:
            sentence = words(event)
        else:
            return
        at = event.fact("from") if event.code == names.GAP else event.opened_at
        if not isinstance(at, int | float):
            return
        upstream = event.provider
        self.happenings.append(Happening(at, event.route, upstream, sentence))
        self._hold(event)

    def _hold(self, event: Evidence) -> None:
        at, upstream = event.opened_at, event.provider or ""
        if event.route == names.HEALTH:
            reason = str(event.fact("reason") or "unhealthy")
            _turn(self._down[upstream], at, reason, is_on=event.code == names.DOWN)
        elif event.route == names.BREAKER:
            key = (upstream, event.fact("caller"))
            is_open = event.code != "circuit_closed"
            _turn(self._open[key], at, "circuit_open", is_on=is_open, caller=key[1])
        elif event.code == names.GAP:
            ends = event.fact("until")
            until = ends if isinstance(ends, int | float) else at
            self.gaps.append(Stretch(event.fact("from"), until, event.fact("reason")))

    def _changed(self, settings: Mapping[str, Any]) -> str:
        if not self._configs:
            return "the settings were read"
        before = self._configs[-1][1]
        names_of_all = sorted(before.keys() | settings.keys())
        changed = [n for n in names_of_all if before.get(n) != settings.get(n)]
        if not changed:
            return "the settings were read; they are as before"
        told = "; ".join(
            f"{n}: {_shown(before.get(n))} -> {_shown(settings.get(n))}"
            for n in changed
        )
        return f"the settings were changed: {told}"


_SENTENCES: Mapping[str, Callable[[Evidence], str]] = {
    names.UP: lambda event: f"{event.provider} was up again",
    names.DOWN: lambda event: (
        f"{event.provider} was found to be down: it "
        f"{fault_words(str(event.fact('reason')))}"
    ),
    "circuit_open": lambda event: (
        f"the circuit of {event.provider} opened{_for(event)}"
    ),
    "circuit_half_open": lambda event: (
        f"the circuit of {event.provider} let a call through to try it{_for(event)}"
    ),
    "circuit_closed": lambda event: (
        f"the circuit of {event.provider} closed{_for(event)}"
    ),
    names.STARTED: lambda event: (
        f"the gateway started, version {event.fact('version')}, "
        f"workers: {event.fact('workers')}"
    ),
    names.STOPPED: lambda _: "the gateway was told to stop",
    names.GAP: lambda event: (
        f"no record could be written ({event.fact('reason')}) for "
        f"{_seconds(event):.1f} s; chats not taken on: {event.fact('refused')}, "
        f"answers not delivered: {event.fact('undelivered')}"
    ),
    names.JUMPED: lambda event: f"the clock was set by {event.fact('seconds')} s",
    names.LEFT_OUT: lambda event: (
        f"{event.fact('events')} more events of this kind are not on record"
    ),
}


def _turn(
    stretches: list[Stretch],
    at: float,
    word: str,
    *,
    is_on: bool,
    caller: str | None = None,
) -> None:
    goes_on = bool(stretches) and stretches[-1].until == inf
    if is_on and not goes_on:
        stretches.append(Stretch(at, inf, word, caller))
    elif goes_on and not is_on:
        stretches[-1] = stretches[-1]._replace(until=at)


def _latest(stretches: list[Stretch], since: float, until: float) -> Stretch | None:
    meeting = (one for one in reversed(stretches) if one.meets(since, until))
    return next(meeting, None)


def _since(stretch: Stretch) -> float:
    return stretch.since


def _for(event: Evidence) -> str:
    caller = event.fact("caller")
    return "" if caller is None else f", for caller {caller} alone"


def _seconds(event: Evidence) -> float:
    try:
        return float(event.fact("until")) - float(event.fact("from"))
    except (TypeError, ValueError):
        return 0.0


def _shown(value: Any) -> str:
    return str(value)[:80]
