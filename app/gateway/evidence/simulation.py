"""Simulation: whom a gateway with these settings had asked, with nobody being asked.

Routes, circuits, shares of time and places are those of production: the same classes
and functions, given a clock that shows the time of the record. What an upstream would
have said is taken from what it said (`seen`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from itertools import count
from typing import Any, NamedTuple

from app.gateway.abilities import CHAT
from app.gateway.chat import ChatRequest
from app.gateway.errors import GatewayError, NeverSent, UpstreamError
from app.gateway.evidence.evidence import decision_of
from app.gateway.evidence.past import Past
from app.gateway.evidence.seen import Case, Result, Seen
from app.gateway.guard.blame import weight_of
from app.gateway.guard.breaker import CircuitBreaker, Transition
from app.gateway.guard.circuit import Phase, Rules
from app.gateway.guard.concurrency import ConcurrencyLimit
from app.gateway.routing.failover import KEPT_FOR, share
from app.gateway.routing.routes import RouteTable
from app.gateway.shared import InProcessState

JITTER = 0.5  # of the longest open period; in production it is drawn
MARGIN = 1.0  # seconds that a lease outlives its call
KEPT = 4096  # decisions whose upstreams are kept at hand


class Known(NamedTuple):
    """An upstream as a configuration has it; `places` None: any number of calls."""

    name: str
    timeout: float
    rules: Rules
    places: int | None


@dataclass(frozen=True, slots=True)
class Configuration:
    """As much of the settings as decides whom a chat asks. Times are in seconds.

    `settings` is all of them, without secrets, by the names of their variables.
    """

    table: RouteTable[Known]
    upstreams: tuple[Known, ...]
    deadline: float
    slots: int
    settings: Mapping[str, object]
    digest: str


class Choice(NamedTuple):
    """Who had answered; None: nobody. `seconds` until then.

    `calls` as in Result; `is_known` is False where nothing on record says how the last
    upstream that would have been asked had answered.
    """

    upstream: str | None
    seconds: float
    calls: int = 0
    is_known: bool = True


class Simulation:
    """One configuration that goes through a time, chat by chat, oldest first."""

    def __init__(self, configuration: Configuration, seen: Seen, past: Past) -> None:
        self.configuration = configuration
        self.trips: list[tuple[float, str]] = []
        self._seen, self._past = seen, past
        self._began: float | None = None
        self._now = 0.0
        self._results: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._candidates = lru_cache(KEPT)(self._found)
        shared = InProcessState(self._steady)
        self._breakers = {
            one.name: CircuitBreaker(
                one.name,
                shared,
                one.rules,
                draw=lambda: JITTER,
                listener=self._moved,
                is_simulated=True,
            )
            for one in configuration.upstreams
        }
        self._places = {
            one.name: ConcurrencyLimit(one.name, shared, one.places)
            for one in configuration.upstreams
        }

    def choose(self, case: Case) -> Choice:
        """Tell who had answered this chat. Raises GatewayError for one refused."""
        chat, decision = case.chat, case.decision
        self._come_to(chat.opened_at)
        candidates = self._candidates(chat.decision)
        walk = _Walk(case, self._deadline(decision))
        for place, one in enumerate(candidates):
            behind = [other.timeout for other in candidates[place + 1 :]]
            if self._is_passed_over(one, chat.caller):
                walk.passed_over.append(one)
            elif choice := self._ask(one, walk, behind):
                return choice
        for place, one in enumerate(walk.passed_over):
            behind = [other.timeout for other in walk.passed_over[place + 1 :]]
            if choice := self._ask(one, walk, behind, is_extra=True):
                return choice
        return Choice(None, walk.spent, walk.calls)

    def _found(self, decision: str | None) -> tuple[Known, ...]:
        return self.configuration.table.upstreams_for(_wish(decision_of(decision)))

    def _deadline(self, decision: Mapping[str, object]) -> float:
        """What the caller allowed; where he said nothing, what the settings do."""
        asked, limit = decision.get("deadline"), self.configuration.deadline
        return min(asked, limit) if isinstance(asked, int | float) else limit

    def _is_passed_over(self, one: Known, caller: str) -> bool:
        down = self._past.down_at(one.name, self._now)
        return down or self._breakers[one.name].refusal(caller) is not None

    def _ask(
        self,
        one: Known,
        walk: "_Walk",
        behind: Sequence[float],
        *,
        is_extra: bool = False,
    ) -> Choice | None:
        """Make the call, as far as it can be; None: the next one is to be asked."""
        limit = share(one.timeout, behind[:KEPT_FOR], walk.deadline - walk.spent)
        chat, breaker = walk.case.chat, self._breakers[one.name]
        result = self._seen.result(walk.case, one.name, limit)
        if result is None:
            return Choice(one.name, walk.spent, is_known=False)
        try:
            lease = limit + MARGIN
            admit = breaker.admit_extra if is_extra else None
            permit = admit(chat.caller) if admit else breaker.admit(chat.caller, lease)
            self._places[one.name].acquire(result.seconds, chat.caller)
        except NeverSent:
            return None
        walk.spent += result.seconds
        walk.calls = max(walk.calls, result.calls)

        def report() -> None:
            weight = weight_of(_error(result), result.seconds, one.timeout)
            if result.fault is None:
                breaker.succeeded(permit, result.seconds)
            elif weight:
                breaker.failed(permit, weight)
            else:
                breaker.dropped(permit)

        self._later(chat.opened_at + walk.spent, report)
        if result.fault is None:
            return Choice(one.name, walk.spent, walk.calls)
        return None

    def _later(self, at: float, report: Callable[[], None]) -> None:
        heappush(self._results, (at, next(self._numbers), report))

    def _steady(self) -> float:
        """The shared clock: like every steady one it counts from some beginning."""
        return 1.0 + self._now - (self._began or self._now)

    def _come_to(self, at: float) -> None:
        """Let time pass, and let those calls end that are over by then."""
        self._began = at if self._began is None else self._began
        while self._results and self._results[0][0] <= at:
            self._now, _, report = heappop(self._results)
            report()
        self._now = max(self._now, at)

    def _moved(self, transition: Transition) -> None:
        if transition.after is Phase.OPEN:
            self.trips.append((self._now, transition.upstream))


class _Walk:
    """One chat on its way along the upstreams; `spent` is in seconds."""

    def __init__(self, case: Case, deadline: float) -> None:
        self.case, self.deadline = case, deadline
        self.passed_over: list[Known] = []
        self.spent, self.calls = 0.0, 0


def _wish(decision: Mapping[str, Any]) -> ChatRequest:
    """As much of the request as a route looks at."""
    return ChatRequest(
        (),
        "",
        "",
        model=decision.get("model"),
        task=decision.get("task", CHAT),
        needs=frozenset(decision.get("needs", ())),
        wants=frozenset(decision.get("wants", ())),
    )


def _error(result: Result) -> GatewayError | None:
    return None if result.fault is None else UpstreamError(result.fault)
