"""BreakerState: an upstream's circuit for all callers, and one for a single suspect.

An upstream has two circuits. One is for everybody; the other one is for the suspect:
the caller whose calls failed last. What a caller asks may be the very reason why it
fails, so failures of one caller alone open the suspect's circuit and no other: they
count for everybody only where another caller's call failed before. A caller can so
take an upstream from itself, and never from the others.

All functions are pure, as those of `circuit` are.
"""

import struct
from dataclasses import dataclass, replace
from typing import NamedTuple
from zlib import crc32

from app.gateway.guard import circuit as circuits
from app.gateway.guard.circuit import NEW, Circuit, Phase, Rules

_TAG = struct.Struct("<I")
NOBODY = 0


def tag_of(caller: str) -> int:
    """A caller's name as the number that is stored of it; never NOBODY."""
    return crc32(caller.encode()) or 1


@dataclass(frozen=True, slots=True)
class BreakerState:
    """The two circuits; `tag` is the suspect's, NOBODY while no call has failed."""

    everybody: Circuit = NEW
    suspect: Circuit = NEW
    tag: int = NOBODY

    def encode(self) -> bytes:
        """The same as bytes, fewer than two hundred."""
        circuits = self.everybody.encode() + self.suspect.encode()
        return circuits + _TAG.pack(self.tag)

    @classmethod
    def decode(cls, raw: bytes | None) -> "BreakerState":
        """What `encode` made; a state that knows nothing if there is none."""
        size = circuits.SIZE
        if raw is None or len(raw) != 2 * size + _TAG.size:
            return UNKNOWN
        everybody, suspect = raw[:size], raw[size : 2 * size]
        (tag,) = _TAG.unpack(raw[2 * size :])
        return cls(Circuit.decode(everybody), Circuit.decode(suspect), tag)

    @property
    def shown(self) -> Circuit:
        """The circuit to show of the two: the suspect's if it alone is not closed."""
        is_closed = self.everybody.phase is Phase.CLOSED
        return self.suspect if is_closed else self.everybody

    def applying_to(self, tag: int) -> tuple[Circuit, ...]:
        """The circuits that a caller's calls go through."""
        if tag == self.tag:
            return self.everybody, self.suspect
        return (self.everybody,)

    def is_closed_to(self, tag: int) -> bool:
        """Whether that caller's calls are let through, all of them."""
        is_closed = self.everybody.phase is Phase.CLOSED
        return is_closed and (tag != self.tag or self.suspect.phase is Phase.CLOSED)

    def is_quiet_for(self, tag: int) -> bool:
        """Whether a success of that caller changes nothing but the count of calls."""
        suspect = self.suspect if tag == self.tag else self.everybody
        return self.is_closed_to(tag) and self.everybody.row == suspect.row == 0


UNKNOWN = BreakerState()


class Permit(NamedTuple):
    """The permission for one call.

    Report its end once: by `succeeded`, `failed` or `dropped` of the breaker. A permit
    of which nothing is heard does no harm. `caller` is who makes the call. With
    `is_extra` the call is made although a circuit is not closed, because nobody else
    has answered: its success closes the circuits, and its failure changes nothing.
    """

    caller: str
    tag: int
    generation: int
    suspect_generation: int
    is_extra: bool = False

    @classmethod
    def of(
        cls, state: BreakerState, caller: str, *, is_extra: bool = False
    ) -> "Permit":
        """Note in which generations a call begins."""
        tag = tag_of(caller)
        own = state.suspect.generation if tag == state.tag else NEW.generation
        return cls(caller, tag, state.everybody.generation, own, is_extra)


def refusal(state: BreakerState, tag: int, now: float) -> tuple[str, float] | None:
    """Why that caller may make no call now and for how long, or None if it may."""
    refused = circuits.refusal(state.everybody, now)
    if refused is None and tag == state.tag:
        return circuits.refusal(state.suspect, now)
    return refused


def admitted(state: BreakerState, tag: int, now: float, lease: float) -> BreakerState:
    """The state after a call was let through; see `circuit.admitted`."""
    everybody = circuits.admitted(state.everybody, now, lease)
    if tag != state.tag:
        return replace(state, everybody=everybody)
    suspect = circuits.admitted(state.suspect, now, lease)
    return replace(state, everybody=everybody, suspect=suspect)


def succeeded(
    state: BreakerState, permit: Permit, now: float, rules: Rules, calls: int
) -> BreakerState:
    """The state after so many calls that went well, the last one by that permit."""
    if permit.is_extra:
        return answered(state, permit.tag, now)
    if permit.generation == state.everybody.generation:
        everybody = circuits.succeeded(state.everybody, now, rules, calls)
        state = replace(state, everybody=everybody)
    if _is_suspects(state, permit):
        suspect = circuits.succeeded(state.suspect, now, rules, calls)
        state = replace(state, suspect=suspect)
    return state


def answered(state: BreakerState, tag: int, now: float) -> BreakerState:
    """The state after an extra call of that caller was answered."""
    everybody, suspect = circuits.closed(state.everybody, now), state.suspect
    if tag == state.tag:
        suspect = circuits.closed(suspect, now)
    return replace(state, everybody=everybody, suspect=suspect)


def failed(
    state: BreakerState,
    permit: Permit,
    now: float,
    rules: Rules,
    draw: float,
    weight: int,
) -> BreakerState:
    """The state after a call failed; see `circuit.failed` for the numbers."""
    if permit.is_extra:
        return state
    is_other = permit.tag != state.tag
    is_second = is_other and state.tag != NOBODY
    is_probe = state.everybody.phase is Phase.HALF_OPEN
    is_current = permit.generation == state.everybody.generation
    if is_current and is_probe and not is_other:
        return _probed_in_vain(state, now, rules, draw)
    if is_current and (is_second or is_probe):
        everybody = circuits.failed(state.everybody, now, rules, draw, weight)
        state = replace(state, everybody=everybody)
    if is_other and is_current:
        suspect = circuits.failed(_new_suspect(state), now, rules, draw, weight)
        return replace(state, suspect=suspect, tag=permit.tag)
    if _is_suspects(state, permit):
        suspect = circuits.failed(state.suspect, now, rules, draw, weight)
        state = replace(state, suspect=suspect)
    return state


def _probed_in_vain(
    state: BreakerState, now: float, rules: Rules, draw: float
) -> BreakerState:
    """The state after the suspect was the probe and failed once more.

    That keeps the suspect away for longer, and nobody else: who asks most often would
    else be the probe each time, and keep all others away.
    """
    everybody = circuits.dropped(state.everybody, now)
    suspect = circuits.tripped_again(state.suspect, now, rules, draw, everybody.trips)
    return replace(state, everybody=everybody, suspect=suspect)


def dropped(state: BreakerState, permit: Permit, now: float) -> BreakerState:
    """The state after a call ended in a way that teaches nothing."""
    if permit.is_extra:
        return state
    if permit.generation == state.everybody.generation:
        state = replace(state, everybody=circuits.dropped(state.everybody, now))
    if _is_suspects(state, permit):
        state = replace(state, suspect=circuits.dropped(state.suspect, now))
    return state


def revived(state: BreakerState, now: float) -> BreakerState:
    """The state after a sign of life from elsewhere: no probe need wait."""
    return replace(
        state,
        everybody=circuits.revived(state.everybody, now),
        suspect=circuits.revived(state.suspect, now),
    )


def rested(state: BreakerState, until: float) -> BreakerState:
    """The state after the upstream asked everybody to be left alone for a time."""
    return replace(state, everybody=circuits.rested(state.everybody, until))


def counted(
    state: BreakerState, now: float, rules: Rules, successes: int
) -> BreakerState:
    """The state after successes that came in before what is told next."""
    return replace(
        state,
        everybody=circuits.counted_before(state.everybody, now, rules, successes),
        suspect=circuits.counted_before(state.suspect, now, rules, successes),
    )


def _new_suspect(state: BreakerState) -> Circuit:
    """The circuit of a caller whose calls went well until now.

    Successes are counted of all callers together, so it begins with those.
    """
    everybody = state.everybody
    good = tuple(n if i % 2 == 0 else 0 for i, n in enumerate(everybody.counts))
    return replace(NEW, bucket=everybody.bucket, counts=good)


def _is_suspects(state: BreakerState, permit: Permit) -> bool:
    is_same = permit.tag == state.tag
    return is_same and permit.suspect_generation == state.suspect.generation
