"""Circuit: the state of one upstream's circuit breaker, and how it moves.

    closed ──(too many failures)──► open ──(its time is over)──► half-open
       ▲                             ▲                             │   │
       │                             └────────(the probe fails)────┘   │
       └──────────────(the probe succeeds)─────────────────────────────┘

Nothing here has a clock, a lock or randomness: all functions are pure.

Every trip and every probe begins a new generation, and a result counts only in the
generation in which its call was admitted. So a call from before a trip, however it
ends, says nothing about the time after it; nor does a probe that outlived its lease.
"""

import struct
from dataclasses import dataclass, replace
from enum import IntEnum

BUCKETS = 10  # pieces of the window; the oldest one is dropped as a whole
FULL = 0xFFFF  # the most that a bucket counts

# How much one failure adds to the row. A failure that may as well be the request's own
# doing, such as a long prompt that meets a time limit, takes four times as many.
SURE, UNSURE = 4, 1

_STATE = struct.Struct(f"<BIHHdddI{2 * BUCKETS}H")
SIZE = _STATE.size


class Phase(IntEnum):
    """The phase of a circuit: it lets all calls through, none, or one."""

    CLOSED = 0
    OPEN = 1
    HALF_OPEN = 2


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules by which a circuit opens, and for how long. Times are in seconds.

    It opens on `failures` in a row, or when at least `ratio` of at least `min_calls`
    calls in `window` failed. A call that takes longer than `slow_call` (None: never)
    is a failure whatever its result. Open periods double from `open_base` up to
    `open_max`, each with full jitter; once the circuit has stayed closed for a
    window they begin anew. An open period is short because an open circuit only
    chooses: a caller whom nobody else answers asks that upstream all the same.
    """

    failures: int = 5
    ratio: float = 0.5
    min_calls: int = 10
    window: float = 30.0
    open_base: float = 1.0
    open_max: float = 20.0
    slow_call: float | None = None


@dataclass(frozen=True, slots=True)
class Circuit:
    """The state of a circuit. Times are on the clock of the shared state.

    `until` is when an open circuit may be probed, or when a probe's lease ends;
    `since` is when the phase was entered; `trips` counts those without a lasting
    recovery in between; `row` adds up the failures in a row, in parts of SURE;
    `counts` (succeeded, failed) by bucket of the window, the newest first, which is
    `bucket`.
    """

    phase: Phase = Phase.CLOSED
    generation: int = 0
    trips: int = 0
    row: int = 0
    until: float = 0.0
    since: float = 0.0
    rests_until: float = 0.0
    bucket: int = 0
    counts: tuple[int, ...] = (0,) * (2 * BUCKETS)

    def encode(self) -> bytes:
        """The same as bytes, fewer than a hundred."""
        return _STATE.pack(
            self.phase,
            self.generation,
            self.trips,
            self.row,
            self.until,
            self.since,
            self.rests_until,
            self.bucket,
            *self.counts,
        )

    @classmethod
    def decode(cls, raw: bytes | None) -> "Circuit":
        """What `encode` made; a circuit that knows nothing if there is none."""
        if raw is None or len(raw) != _STATE.size:
            return NEW
        phase, generation, trips, row, until, since, rests, bucket, *counts = (
            _STATE.unpack(raw)
        )
        return cls(
            phase=Phase(phase),
            generation=generation,
            trips=trips,
            row=row,
            until=until,
            since=since,
            rests_until=rests,
            bucket=bucket,
            counts=tuple(counts),
        )


NEW = Circuit()


def refusal(circuit: Circuit, now: float) -> tuple[str, float] | None:
    """Why no call may be made now and for how long, or None if one may."""
    if now < circuit.rests_until:
        return "resting", circuit.rests_until - now
    if circuit.phase is not Phase.CLOSED and now < circuit.until:
        return "circuit_open", circuit.until - now
    return None


def admitted(circuit: Circuit, now: float, lease: float) -> Circuit:
    """The state after a call was let through, which is a probe unless all is well.

    A probe that is never heard of again is given up when its lease ends.
    """
    if circuit.phase is Phase.CLOSED:
        return circuit
    probing = _entered(circuit, Phase.HALF_OPEN, now)
    return replace(probing, generation=_next(circuit), until=now + lease)


def succeeded(circuit: Circuit, now: float, rules: Rules, calls: int = 1) -> Circuit:
    """The state after so many calls of this generation that went well."""
    if circuit.phase is Phase.HALF_OPEN:
        circuit = replace(_entered(circuit, Phase.CLOSED, now), until=0.0)
    return _counted(replace(circuit, row=0), now, rules, calls, 0)


def failed(
    circuit: Circuit, now: float, rules: Rules, draw: float, weight: int = SURE
) -> Circuit:
    """The state after a call of this generation that failed.

    `draw` is a random number from 0 to 1, for the jitter. `weight` is SURE or UNSURE;
    the share of failures counts those that are sure alone.
    """
    if circuit.phase is Phase.OPEN:
        return circuit
    row = min(circuit.row + weight, FULL)
    bad = 1 if weight == SURE else 0
    circuit = _counted(replace(circuit, row=row), now, rules, 0, bad)
    if circuit.phase is Phase.HALF_OPEN or _has_failed_enough(circuit, rules):
        return _tripped(circuit, now, rules, draw)
    return circuit


def tripped_again(
    circuit: Circuit, now: float, rules: Rules, draw: float, trips: int
) -> Circuit:
    """The state after a probe failed, of a circuit that is open at least so often."""
    probing = _entered(circuit, Phase.HALF_OPEN, now)
    trips = max(circuit.trips, trips)
    return _tripped(replace(probing, trips=trips), now, rules, draw)


def dropped(circuit: Circuit, now: float) -> Circuit:
    """The state after a call of this generation that taught nothing.

    If it was the probe, the next caller is.
    """
    if circuit.phase is Phase.HALF_OPEN:
        return replace(circuit, until=now)
    return circuit


def closed(circuit: Circuit, now: float) -> Circuit:
    """The state after an upstream answered although its circuit was not closed."""
    if circuit.phase is Phase.CLOSED:
        return circuit
    entered = _entered(circuit, Phase.CLOSED, now)
    return replace(entered, generation=_next(circuit), until=0.0)


def revived(circuit: Circuit, now: float) -> Circuit:
    """The state after a sign of life from elsewhere: the probe need not wait."""
    if circuit.phase is Phase.OPEN and circuit.until > now:
        return replace(circuit, until=now)
    return circuit


def rested(circuit: Circuit, until: float) -> Circuit:
    """The state after the upstream asked to be left alone for a time."""
    return replace(circuit, rests_until=max(circuit.rests_until, until))


def counted_before(
    circuit: Circuit, now: float, rules: Rules, successes: int
) -> Circuit:
    """The state after successes that came in before the last failures in a row."""
    return _counted(circuit, now, rules, successes, 0)


def _tripped(circuit: Circuit, now: float, rules: Rules, draw: float) -> Circuit:
    has_recovered = (
        circuit.phase is Phase.CLOSED and now - circuit.since >= rules.window
    )
    trips = 0 if has_recovered else circuit.trips
    longest = min(rules.open_max, rules.open_base * 2.0 ** min(trips, 64))
    return replace(
        _entered(circuit, Phase.OPEN, now),
        generation=_next(circuit),
        trips=min(trips + 1, FULL),
        until=now + draw * longest,
    )


def _entered(circuit: Circuit, phase: Phase, now: float) -> Circuit:
    """In another phase nothing is counted yet."""
    return replace(circuit, phase=phase, since=now, row=0, counts=NEW.counts)


def _next(circuit: Circuit) -> int:
    return (circuit.generation + 1) % 2**32


def _has_failed_enough(circuit: Circuit, rules: Rules) -> bool:
    good, bad = sum(circuit.counts[::2]), sum(circuit.counts[1::2])
    enough = good + bad >= rules.min_calls
    return circuit.row >= rules.failures * SURE or (
        enough and bad >= rules.ratio * (good + bad)
    )


def _counted(
    circuit: Circuit, now: float, rules: Rules, good: int, bad: int
) -> Circuit:
    """Add to the newest bucket of the window, once those that are over are dropped."""
    bucket = int(now / rules.window * BUCKETS)
    passed = min(max(0, bucket - circuit.bucket), BUCKETS)
    kept = (0, 0) * passed + circuit.counts[: 2 * (BUCKETS - passed)]
    newest = (min(kept[0] + good, FULL), min(kept[1] + bad, FULL))
    bucket = max(bucket, circuit.bucket)
    return replace(circuit, bucket=bucket, counts=newest + kept[2:])
