"""CircuitBreaker: keeps calls from a failing upstream, and lets single probes test it.

What follows from what is in `breaker_state` and `circuit`, which are pure. This module
keeps the state where all workers of the host see it, and tells of its transitions.
"""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from app.gateway.errors import NeverSent
from app.gateway.guard import breaker_state as states
from app.gateway.guard.breaker_state import BreakerState, Permit, tag_of
from app.gateway.guard.circuit import SURE, Circuit, Phase, Rules
from app.gateway.shared import SharedState

log = logging.getLogger(__name__)

# Successes of a closed circuit only matter for the rate of failures, so each process
# adds its own up and hands them in that often (seconds): a chat that goes well then
# takes no lock that other processes take. What is not yet handed in when a failure
# comes from another process makes that rate too high by a thirtieth at most.
HAND_IN = 1.0
NAMES = {phase: phase.name.lower().replace("_", "-") for phase in Phase}


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of an upstream's circuit from one phase to another.

    `until` is when it may be probed, for an open one, on the shared clock. `caller` is
    the one caller whose circuit it is; None where it is everybody's.
    """

    upstream: str
    before: Phase
    after: Phase
    until: float
    caller: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason against a call: `resting` or `circuit_open`; `wait` is in seconds.

    `is_for_one` tells that it is the suspect's circuit alone which is not closed.
    """

    reason: str
    wait: float
    is_for_one: bool = False


Listener = Callable[[Transition], None]
Change = Callable[[BreakerState, float], BreakerState]


class CircuitBreaker:
    """The breaker of one upstream. Threads and, by `shared`, processes share it.

    `listener` is told of each transition by the process that caused it, in the
    thread of the caller who did; it must not wait. One that `is_simulated` is nobody's
    news, and not logged as any.
    """

    def __init__(
        self,
        upstream: str,
        shared: SharedState,
        rules: Rules | None = None,
        *,
        draw: Callable[[], float] = random.random,
        listener: Listener = lambda _: None,
        is_simulated: bool = False,
    ) -> None:
        self._upstream = upstream
        self._key = f"circuit:{upstream}"
        self._shared = shared
        self._rules = rules or Rules()
        self._draw = draw
        self._listener = listener
        self._level = logging.DEBUG if is_simulated else logging.WARNING
        self._seen: tuple[bytes | None, BreakerState] = (None, states.UNKNOWN)
        self._lock = Lock()  # guards the successes that are not handed in yet
        self._good = _Successes()

    @property
    def phase(self) -> Phase:
        """The phase as the whole host sees it now, of the circuit that is to show."""
        return self._state().shown.phase

    def refusal(self, caller: str | None = None) -> Refusal | None:
        """Why that caller may make no call now, or None if it may; takes nothing.

        Without a caller, it is the reason that holds for all. While a probe is running,
        the wait is an estimate: probes usually take this long.
        """
        state = self._state()
        tag = state.tag if caller is None else tag_of(caller)
        return self._refusal(state, tag)

    def admit(self, caller: str, lease: float) -> Permit:
        """Return if a call may start now, which must be over in `lease` seconds.

        Raises NeverSent, with the time after which to try again, if it may not.
        """
        state, tag = self._state(), tag_of(caller)
        self._require(state, tag)
        if state.is_closed_to(tag):
            return Permit.of(state, caller)
        return self._admit_probe(caller, tag, lease)

    def admit_if_closed(self, caller: str) -> Permit | None:
        """Admit a call of that caller, or return None where it would be a probe.

        Raises NeverSent as `admit` does, for an upstream that asked to be left alone.
        """
        state, tag = self._state(), tag_of(caller)
        if not state.is_closed_to(tag):
            return None
        self._require(state, tag)
        return Permit.of(state, caller)

    def is_closed_to(self, caller: str) -> bool:
        """Whether that caller's calls are let through, all of them."""
        return self._state().is_closed_to(tag_of(caller))

    def admit_extra(self, caller: str) -> Permit:
        """Let a call start although a circuit is not closed.

        Raises NeverSent for an upstream that asked to be left alone.
        """
        state, tag = self._state(), tag_of(caller)
        refused = self._refusal(state, tag)
        if refused is not None and refused.reason == "resting":
            raise NeverSent(refused.reason, retry_after=refused.wait)
        return Permit.of(state, caller, is_extra=not state.is_closed_to(tag))

    def began(self, permit: Permit) -> Permit:
        """A reply has begun; that of an extra call closes the circuits.

        Returns the permit by which the call's end is to be reported: what has begun may
        still break, and that counts as any failure does.
        """
        if not permit.is_extra:
            return permit
        _, after = self._change(
            lambda was, now: states.answered(was, permit.tag, now), permit.caller
        )
        return Permit.of(after, permit.caller)

    def succeeded(self, permit: Permit, took: float) -> None:
        """A call went well; `took` is in seconds, until its reply began."""
        slow = self._rules.slow_call
        if slow is not None and took > slow:
            self.failed(permit)
            return
        state = self._state()
        if permit.generation != state.everybody.generation and not permit.is_extra:
            return
        if state.is_quiet_for(permit.tag) and self._add_up(permit):
            return
        good = self._handed_in(permit)
        self._change(
            lambda was, now: states.succeeded(was, permit, now, self._rules, good + 1),
            permit.caller,
        )

    def failed(self, permit: Permit, weight: int = SURE) -> None:
        """A call failed, and it is held against the upstream."""
        draw, good, rules = self._draw(), self._handed_in(permit), self._rules

        def change(was: BreakerState, now: float) -> BreakerState:
            if good and permit.generation == was.everybody.generation:
                was = states.counted(was, now, rules, good)
            return states.failed(was, permit, now, rules, draw, weight)

        self._change(change, permit.caller)

    def dropped(self, permit: Permit) -> None:
        """A call ended in a way that says nothing about the upstream."""
        circuits = self._state().applying_to(permit.tag)
        if any(circuit.phase is Phase.HALF_OPEN for circuit in circuits):
            self._change(
                lambda was, now: states.dropped(was, permit, now), permit.caller
            )

    def revive(self) -> None:
        """There is a sign of life: let the next caller probe."""
        state = self._state()
        if Phase.OPEN in (state.everybody.phase, state.suspect.phase):
            self._change(states.revived)

    def rest(self, seconds: float) -> None:
        """The upstream asked to be left alone for so long."""
        self._change(lambda was, now: states.rested(was, now + seconds))

    def _state(self) -> BreakerState:
        raw = self._shared.read(self._key)
        seen, state = self._seen
        if raw != seen:
            state = BreakerState.decode(raw)
            self._seen = raw, state
        return state

    def _refusal(self, state: BreakerState, tag: int) -> Refusal | None:
        refused = states.refusal(state, tag, self._shared.now())
        if refused is None:
            return None
        reason, wait = refused
        if reason == "resting":
            return Refusal(reason, wait)
        if state.shown.phase is Phase.HALF_OPEN:
            wait = min(wait, self._rules.open_base)  # most probes are over sooner
        return Refusal(reason, wait, state.everybody.phase is Phase.CLOSED)

    def _require(self, state: BreakerState, tag: int) -> None:
        if refused := self._refusal(state, tag):
            raise NeverSent(refused.reason, retry_after=refused.wait)

    def _admit_probe(self, caller: str, tag: int, lease: float) -> Permit:
        """Become the probe, unless another caller was quicker."""

        def change(was: BreakerState, now: float) -> BreakerState:
            if states.refusal(was, tag, now):
                return was
            return states.admitted(was, tag, now, lease)

        before, after = self._change(change, caller)
        if before is after:
            self._require(after, tag)
        return Permit.of(after, caller)

    def _add_up(self, permit: Permit) -> bool:
        """Count a success for later; False if it is time to hand in."""
        with self._lock:
            return self._good.add(permit.generation, self._shared.now())

    def _handed_in(self, permit: Permit) -> int:
        with self._lock:
            return self._good.take(permit.generation, self._shared.now())

    def _change(
        self, change: Change, caller: str = ""
    ) -> tuple[BreakerState, BreakerState]:
        now = self._shared.now()

        def change_raw(
            raw: bytes | None,
        ) -> tuple[bytes | None, tuple[BreakerState, BreakerState]]:
            before = BreakerState.decode(raw)
            after = change(before, now)
            return (raw if after == before else after.encode()), (before, after)

        before, after = self._shared.update(self._key, change_raw)
        self._tell(before.everybody, after.everybody, now, None)
        if before.tag == after.tag:
            self._tell(before.suspect, after.suspect, now, caller)
        return before, after

    def _tell(
        self, before: Circuit, after: Circuit, now: float, caller: str | None
    ) -> None:
        if before.phase is after.phase:
            return
        wait = f" for {after.until - now:.1f} s" if after.phase is Phase.OPEN else ""
        whose = "" if caller is None else f", for caller {caller or '?'} alone"
        what = f"{NAMES[after.phase]}{wait}{whose}"
        log.log(self._level, "The circuit of %s is now %s", self._upstream, what)
        moved = Transition(
            self._upstream, before.phase, after.phase, after.until, caller
        )
        self._listener(moved)


class _Successes:
    """How many calls went well in one generation since they were last handed in."""

    def __init__(self) -> None:
        self._generation = 0
        self._count = 0
        self._due = 0.0

    def add(self, generation: int, now: float) -> bool:
        """Count one; False, and it is not counted, if they must be handed in."""
        if generation != self._generation:
            self._generation, self._count = generation, 0
        if now >= self._due:
            return False
        self._count += 1
        return True

    def take(self, generation: int, now: float) -> int:
        """Return those of a generation and forget all."""
        count = self._count if generation == self._generation else 0
        self._count, self._due = 0, now + HAND_IN
        return count
