"""The hash chain: each sealed row names the one before it, and the head is signed.

    digest(n) = SHA-256(digest(n-1) || lane, n, clock step || digest of the row)
    head      = HMAC-SHA256(key, lane, n, digest(n), floor, times)

So no row can be edited, deleted, moved or added so that the chain still fits, and who
has no key can check that (docs/verify.py). Only the head is keyed: without the key
nobody can move it to where a chain of his own ends. A copy of the whole database, put
back later, fits: against that only a head noted elsewhere helps (`anchors`).

A lane is a place to write, with a chain of its own; a SQLite file has one. Its floor
is where it begins once its oldest records were pruned.

A row that is open yet has no place in the chain. It carries a signature of its own,
so that what is read back to be sealed is what we have written.
"""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from operator import index
from time import monotonic, time
from typing import Any

from app.storage.audit.rows import Draft, Values, open_content

# What a signature of our key begins with; nothing else that this key signs begins so:
# what was said begins with a brace. The numbers are those of the formats: to be
# changed with the columns.
_INTENT = b"intent 1\n"
_HEAD = b"head 2 "
_FINGERPRINT = b"fingerprint 1\n"

LANE = 1  # of a backend that has only one

# Smaller steps are what keeping time looks like (NTP slews, a slow disk).
CLOCK_STEP = 1.0


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain of a lane ends, and where it begins: behind its floor.

    `sealed_at` is Unix time in seconds, as is `knotted_at`, when the last knot was
    tied (`knots`).
    """

    seq: int
    digest: bytes
    sealed_at: float
    lane: int = LANE
    floor_seq: int = 0
    floor_digest: bytes = bytes(32)
    knotted_at: float = 0.0

    def __str__(self) -> str:
        return f"{self.lane}:{self.seq}:{self.digest.hex()}"


GENESIS = Head(0, bytes(32), 0.0)


def link(
    previous: bytes, lane: int, seq: int, clock_step: float | None, row: bytes
) -> bytes:
    """Return the digest of the row that follows `previous`, given its own."""
    place = b"%d %d %a\n" % (lane, seq, clock_step)
    return sha256(previous + place + row).digest()


def head_mac(key: bytes, head: Head) -> bytes:
    """Sign a head, so that it can't be moved by who lacks the key."""
    text = b"%b%d %d %d %a %a\n%b%b" % (
        _HEAD,
        index(head.lane),  # %d would take 3.5 for 3
        index(head.seq),
        index(head.floor_seq),
        head.sealed_at,
        head.knotted_at,
        head.digest,
        head.floor_digest,
    )
    return hmac.digest(key, text, "sha256")


def is_signed(key: bytes, head: Head, mac: bytes) -> bool:
    """Whether whoever signed the head had the key."""
    try:
        return hmac.compare_digest(mac, head_mac(key, head))
    except (TypeError, ValueError, OverflowError):  # columns hold values of any type
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


def key_fingerprint(key: bytes) -> str:
    """Return what tells one key from another, and nothing of either; "" for none."""
    if not key:
        return ""
    return hmac.digest(key, _FINGERPRINT, "sha256")[:8].hex()


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
    seq, digest, lane = head.seq, head.digest, head.lane
    for draft in drafts:
        if draft.is_open:
            mac = intent_mac(key, draft.content)
            rows.append((*draft.values, lane, None, None, None, None, mac))
            continue
        seq += 1
        digest = link(digest, lane, seq, clock_step, draft.content)
        place = (lane, draft.salt, clock_step, seq, digest, None)
        rows.append(draft.values + place)
        clock_step = None
    if seq == head.seq:
        return rows, head
    return rows, replace(head, seq=seq, digest=digest, sealed_at=now)


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

    def now(self) -> float:
        """Return the wall clock's time."""
        return self._wall()

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
