"""CircuitBreaker: leave a failing upstream alone; later let one caller probe it.

What follows from what is in `circuit`, which is pure. This module keeps the state
where all workers of the host see it, and tells of its transitions.
"""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from app.gateway import circuit as circuits
from app.gateway.circuit import Circuit, Phase, Rules
from app.gateway.errors import NeverSent
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
    """An upstream's circuit went from one phase to another.

    `until` is when it may be probed, for an open one, on the shared clock.
    """

    upstream: str
    before: Phase
    after: Phase
    until: float


@dataclass(frozen=True, slots=True)
class Permit:
    """One call may be made.

    Report its end once: by `succeeded`, `failed` or `dropped`. A permit of which
    nothing is heard does no harm.
    """

    generation: int


Listener = Callable[[Transition], None]


class CircuitBreaker:
    """The breaker of one upstream. Threads and, by `shared`, processes share it.

    `listener` is told of each transition by the process that caused it, in the
    thread of the caller who did; it must not wait.
    """

    def __init__(
        self,
        upstream: str,
        shared: SharedState,
        rules: Rules | None = None,
        *,
        draw: Callable[[], float] = random.random,
        listener: Listener = lambda _: None,
    ) -> None:
        self._upstream = upstream
        self._key = f"circuit:{upstream}"
        self._shared = shared
        self._rules = rules or Rules()
        self._draw = draw
        self._listener = listener
        self._seen: tuple[bytes | None, Circuit] = (None, circuits.NEW)
        self._lock = Lock()  # guards the successes that are not handed in yet
        self._good = _Successes()

    @property
    def phase(self) -> Phase:
        """The phase as the whole host sees it now."""
        return self._circuit().phase

    def refusal(self) -> tuple[str, float] | None:
        """Why no call may start now and for how long, or None; takes nothing.

        What it says of a probe under way is how long most of them take.
        """
        return self._refusal(self._circuit())

    def admit(self, lease: float) -> Permit:
        """Return if a call may start now, which must be over in `lease` seconds.

        Raises NeverSent, with the time after which to try again, if it may not.
        """
        circuit = self._circuit()
        self._require(circuit)
        if circuit.phase is Phase.CLOSED:
            return Permit(circuit.generation)
        return self._admit_probe(lease)

    def succeeded(self, permit: Permit, took: float) -> None:
        """A call went well; `took` is in seconds, until its reply began."""
        slow = self._rules.slow_call
        if slow is not None and took > slow:
            self.failed(permit)
            return
        circuit = self._circuit()
        if circuit.generation != permit.generation:
            return
        if circuit.phase is Phase.CLOSED and circuit.row == 0 and self._add_up(permit):
            return
        good = self._handed_in(permit)
        self._record(
            permit,
            lambda was, now: circuits.succeeded(was, now, self._rules, good + 1),
        )

    def failed(self, permit: Permit) -> None:
        """A call failed, and it is held against the upstream."""
        draw, good, rules = self._draw(), self._handed_in(permit), self._rules

        def change(was: Circuit, now: float) -> Circuit:
            was = circuits.counted_before(was, now, rules, good)
            return circuits.failed(was, now, rules, draw)

        self._record(permit, change)

    def dropped(self, permit: Permit) -> None:
        """A call ended in a way that says nothing about the upstream."""
        circuit = self._circuit()
        is_probe = circuit.phase is Phase.HALF_OPEN
        if is_probe and circuit.generation == permit.generation:
            self._record(permit, circuits.dropped)

    def revive(self) -> None:
        """There is a sign of life: let the next caller probe."""
        if self._circuit().phase is Phase.OPEN:
            self._change(circuits.revived)

    def rest(self, seconds: float) -> None:
        """The upstream asked to be left alone for so long."""
        self._change(lambda was, now: circuits.rested(was, now + seconds))

    def _circuit(self) -> Circuit:
        raw = self._shared.read(self._key)
        seen, circuit = self._seen
        if raw != seen:
            circuit = Circuit.decode(raw)
            self._seen = raw, circuit
        return circuit

    def _refusal(self, circuit: Circuit) -> tuple[str, float] | None:
        refused = circuits.refusal(circuit, self._shared.now())
        if refused and refused[0] == "circuit_open" and circuit.phase is not Phase.OPEN:
            fault, wait = refused
            return fault, min(wait, self._rules.open_base)  # most are over sooner
        return refused

    def _require(self, circuit: Circuit) -> None:
        if refused := self._refusal(circuit):
            fault, wait = refused
            raise NeverSent(fault, retry_after=wait)

    def _admit_probe(self, lease: float) -> Permit:
        """Become the probe, unless another caller was quicker."""

        def change(was: Circuit, now: float) -> Circuit:
            if circuits.refusal(was, now):
                return was
            return circuits.admitted(was, now, lease)

        before, after = self._change(change)
        if before is after:
            self._require(after)
        return Permit(after.generation)

    def _add_up(self, permit: Permit) -> bool:
        """Count a success for later; False if it is time to hand in."""
        with self._lock:
            return self._good.add(permit.generation, self._shared.now())

    def _handed_in(self, permit: Permit) -> int:
        with self._lock:
            return self._good.take(permit.generation, self._shared.now())

    def _record(
        self, permit: Permit, change: Callable[[Circuit, float], Circuit]
    ) -> None:
        def change_if_current(was: Circuit, now: float) -> Circuit:
            return change(was, now) if was.generation == permit.generation else was

        self._change(change_if_current)

    def _change(
        self, change: Callable[[Circuit, float], Circuit]
    ) -> tuple[Circuit, Circuit]:
        now = self._shared.now()

        def change_raw(
            raw: bytes | None,
        ) -> tuple[bytes | None, tuple[Circuit, Circuit]]:
            before = Circuit.decode(raw)
            after = change(before, now)
            return (raw if after is before else after.encode()), (before, after)

        before, after = self._shared.update(self._key, change_raw)
        if before.phase is not after.phase:
            self._tell(before, after, now)
        return before, after

    def _tell(self, before: Circuit, after: Circuit, now: float) -> None:
        wait = f" for {after.until - now:.1f} s" if after.phase is Phase.OPEN else ""
        log.warning(
            "The circuit of %s is now %s%s", self._upstream, NAMES[after.phase], wait
        )
        self._listener(
            Transition(self._upstream, before.phase, after.phase, after.until)
        )


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
