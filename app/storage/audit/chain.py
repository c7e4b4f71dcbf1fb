"""The keyed hash chain: each sealed row signs the one before it.

    digest(n) = HMAC-SHA256(key, digest(n-1) || seq, clock step || content)

Without the key no row can be edited, deleted, moved or added so that the chain
still fits. The head is signed too, so that rows cut off at the end are missed. A
copy of the whole database, put back later, fits: against that only a head noted
elsewhere helps (`verification.verify` takes one).

A row that is open yet has no place in the chain. It carries a signature of its own,
so that what is read back to be sealed is what we have written.
"""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic, time
from typing import Any

from app.storage.audit.rows import Draft, Values, open_content

# What the signature of an intent begins with; nothing else that this key signs begins
# so: a link begins with a digest, a head with "head", what was said with a brace.
# The number is that of the columns: to be changed with them.
_INTENT = b"intent 1\n"

# Smaller steps are what keeping time looks like (NTP slews, a slow disk).
CLOCK_STEP = 1.0


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain ends; `sealed_at` is Unix time in seconds."""

    seq: int
    digest: bytes
    sealed_at: float


GENESIS = Head(0, bytes(32), 0.0)


def link(
    key: bytes, previous: bytes, seq: int, clock_step: float | None, content: bytes
) -> bytes:
    """Return the digest of the row that follows `previous`."""
    place = b"%d %a\n" % (seq, clock_step)
    return hmac.digest(key, previous + place + content, "sha256")


def head_mac(key: bytes, head: Head) -> bytes:
    """Sign a head, so that it can't be moved back by who lacks the key."""
    text = b"head %d %a\n" % (head.seq, head.sealed_at)
    return hmac.digest(key, text + head.digest, "sha256")


def is_signed(key: bytes, head: Head, mac: bytes) -> bool:
    """Whether whoever signed the head had the key."""
    try:
        return hmac.compare_digest(mac, head_mac(key, head))
    except TypeError:  # a database holds values of any type in any column
        return False


def intent_mac(key: bytes, content: bytes) -> bytes:
    """Sign the row of an intent."""
    return hmac.digest(key, _INTENT + content, "sha256")


def is_signed_intent(key: bytes, opening: Values, mac: Any) -> bool:
    """Whether whoever wrote an open row with these columns had the key."""
    try:
        return hmac.compare_digest(mac, intent_mac(key, open_content(opening)))
    except (TypeError, ValueError):  # of any type, as above
        return False


def seal(
    drafts: Sequence[Draft],
    head: Head,
    key: bytes,
    *,
    now: float,
    clock_step: float | None = None,
) -> tuple[list[Values], Head]:
    """Give the drafts their places in the chain; return the rows and the new head.

    Intents are signed, and stay unsealed. The first sealed row carries the clock
    step, if any.
    """
    rows: list[Values] = []
    seq, digest = head.seq, head.digest
    for draft in drafts:
        if draft.is_open:
            mac = intent_mac(key, draft.content)
            rows.append((*draft.values, None, None, None, mac))
            continue
        seq += 1
        digest = link(key, digest, seq, clock_step, draft.content)
        rows.append((*draft.values, clock_step, seq, digest, None))
        clock_step = None
    return rows, Head(seq, digest, now if seq > head.seq else head.sealed_at)


class ClockWatch:
    """Notices that the wall clock was set. It belongs to one thread.

    A step is seen against the monotonic clock and, backwards only, against the
    time at which the chain was last sealed, by whichever worker.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._wall, self._clock = wall, clock
        self._drift = wall() - clock()
        self._step = 0.0

    def read(self, sealed_at: float) -> tuple[float, float | None]:
        """Return the wall clock's time and the step to be marked, in seconds."""
        now = self._wall()
        drift = now - self._clock()
        self._step += _if_large(drift - self._drift)
        self._drift = drift
        back = min(0.0, now - sealed_at)
        return now, self._step or _if_large(back) or None

    def marked(self) -> None:
        """Forget the step: a row that carries it has been committed."""
        self._step = 0.0


def _if_large(seconds: float) -> float:
    return round(seconds, 3) if abs(seconds) > CLOCK_STEP else 0.0
