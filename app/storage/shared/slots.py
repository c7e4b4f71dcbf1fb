"""Slots: a table of small values in a piece of memory that processes share.

It is made of buckets of one page. A key may lie in any slot of its bucket and nowhere
else, so looking for it is bounded, and changing it needs the lock of that bucket
only. Every slot carries a checksum: one that a killed process left half written is
empty.

Buckets are found by a hash under a random key, which lies in the last one: else whoever
chooses keys could choose some that share a bucket with another one, and push it out.
"""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from math import inf
from zlib import crc32

from app.gateway.shared import STRANGERS
from app.host.files import Memory

SLOT = 512  # bytes, of which the head takes 32
BUCKET = 8 * SLOT
BUCKETS = 512  # so 4096 slots in 2 MiB
FOR_STRANGERS = 64  # of the buckets, next to the last one
OF_KEY = BUCKETS - 1  # the last one
FOR_OTHERS = OF_KEY - FOR_STRANGERS

_HEAD = struct.Struct("<I16sId")  # checksum, digest of the key, length, expiry
_SIGNED_AT = 4
EMPTY = bytes(SLOT)
# A reader takes no lock, so it may look while a slot is being written: some 50 ns.
LOOKS = 4
KEY_BYTES = 32
KEPT = 8192  # keys whose place is remembered


@dataclass(frozen=True, slots=True)
class Place:
    """The address of a key: its digest, its bucket, and the slots of that.

    Of each slot: the offset, and those between which the digest lies.
    """

    digest: bytes
    bucket: int
    slots: tuple[tuple[int, int, int], ...]


_Slot = tuple[bytes, float, bytes]  # the digest, when it expires, the value


def _place(digest: bytes, bucket: int) -> Place:
    begins = range(bucket * BUCKET, (bucket + 1) * BUCKET, SLOT)
    return Place(digest, bucket, tuple((at, at + 4, at + 20) for at in begins))


def _placed(hash_key: bytes, key: str) -> Place:
    digest = blake2b(key.encode(), digest_size=16, key=hash_key).digest()
    number = int.from_bytes(digest[:4], "little")
    if key.startswith(STRANGERS):
        return _place(digest, FOR_OTHERS + number % FOR_STRANGERS)
    return _place(digest, number % FOR_OTHERS)


# Where the processes leave the hash key for each other.
PLACE_OF_KEY = _place(b"the key of hashes"[:16], OF_KEY)


class SlotTable:
    """The table at the beginning of `memory`.

    `load` may be called at any time; `store` and `agree_on_key`, which comes before
    the first `place_of`, only under the lock of the bucket.
    """

    SIZE = BUCKETS * BUCKET

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.place_of: Callable[[str], Place]  # finds the place of a key

    def agree_on_key(self) -> None:
        """Hash under the key that all processes use; the first one draws it."""
        key = self.load(PLACE_OF_KEY, 0.0)
        if key is None:
            key = os.urandom(KEY_BYTES)
            self.store(PLACE_OF_KEY, key, 0.0, None)
        self.place_of = lru_cache(maxsize=KEPT)(partial(_placed, key))

    def load(self, place: Place, now: float) -> bytes | None:
        """Return the value, or None if there is none or it has expired."""
        at = self._find(place)
        slot = None if at is None else self._slot(at)
        if slot is None:
            return None
        digest, expires_at, value = slot
        return value if digest == place.digest and expires_at > now else None

    def store(
        self, place: Place, value: bytes | None, now: float, ttl: float | None
    ) -> bool:
        """Put a value in place, or None in order to remove it.

        Returns False if every slot of the bucket holds something that must be kept.
        """
        at = self._find(place)
        if value is None:
            if at is not None:
                self._memory[at : at + SLOT] = EMPTY
            return True
        if at is None:
            at = self._room(place, now)
        if at is not None:
            expires_at = inf if ttl is None else now + ttl
            self._write(at, place.digest, expires_at, value)
        return at is not None

    def _find(self, place: Place) -> int | None:
        memory, digest = self._memory, place.digest
        for at, begin, end in place.slots:
            if memory[begin:end] == digest:
                return at
        return None

    def _slot(self, at: int) -> _Slot | None:
        """What the slot holds, or None if that is nothing whole."""
        for _ in range(LOOKS):
            raw = self._memory[at : at + SLOT]
            checksum, digest, length, expires_at = _HEAD.unpack_from(raw)
            end = _HEAD.size + length
            if end <= SLOT and checksum == crc32(raw[_SIGNED_AT:end]):
                return digest, expires_at, raw[_HEAD.size : end]
        return None

    def _room(self, place: Place, now: float) -> int | None:
        """A slot to use: a free one, else the one that would expire first."""
        best, soonest = None, inf
        for at, _, _ in place.slots:
            slot = self._slot(at)
            if slot is None or slot[1] <= now:
                return at
            if slot[1] < soonest:
                best, soonest = at, slot[1]
        return best

    def _write(self, at: int, digest: bytes, expires_at: float, value: bytes) -> None:
        head = _HEAD.pack(0, digest, len(value), expires_at)
        signed = head[_SIGNED_AT:] + value
        checksum = crc32(signed).to_bytes(_SIGNED_AT, "little")
        self._memory[at : at + len(signed) + _SIGNED_AT] = checksum + signed
