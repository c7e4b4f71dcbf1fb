"""Shared memory: the state that all workers of a host share, without any server.

A value is a slot of a mapped file (see `region` and `slots`). Reading it takes no
lock and no system call; changing it takes two, and no disk is ever waited for.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from time import monotonic

from app.gateway.budget import Clock
from app.gateway.shared import (
    Change,
    InProcessState,
    SharedState,
    T,
    check_size,
)
from app.host.files import instance_name
from app.host.forks import at_fork
from app.storage.shared.region import STRIPES, Region, open_region
from app.storage.shared.slots import PLACE_OF_KEY, Place

log = logging.getLogger(__name__)

MEMORY = Path("/dev/shm")  # noqa: S108  # a file there is private, see `region`

OPEN_LIMIT = 2.0  # seconds; the key is agreed on in some microseconds
WAIT = 0.05  # seconds for the others' changes (docs/faults.md, row 81)
# Seconds for which a stripe that could not be had is hardly waited for: most likely
# whoever holds it was frozen in these 10 microseconds, and stays so until it is killed.
SHUN = 1.0
SHUNNED_WAIT = 0.002
ALONE_TTL = 5.0  # seconds that what was changed alone is believed, at most
LOOK_INTERVAL = 2.0  # seconds between two looks whether the file is still in place


class SharedMemory:
    """Fulfils `SharedState`. Threads may share it; a forked child goes on alone.

    `path` is the file; the last of its users removes it. A change that cannot be made
    within `wait` seconds, for the others' changes, is made alone. Raises OSError if
    the file can't be had.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock = monotonic,
        *,
        wait: float = WAIT,
        look_interval: float = LOOK_INTERVAL,
    ) -> None:
        self.alone = 0
        self._clock = clock
        self.now = clock  # CLOCK_MONOTONIC is the same in all processes
        self._region: Region | None = _opened(path)
        self._wait, self._look_interval = wait, look_interval
        self._look_at = monotonic() + look_interval
        self._own = InProcessState(clock)
        self._own_until = 0.0  # when the last of what was changed alone is forgotten
        self._shunned: dict[int, float] = {}
        self._lock = Lock()  # guards what this process counts; never held in a wait
        at_fork(in_child=self._leave_to_parent)

    def read(self, key: str) -> bytes | None:
        """See SharedState."""
        region, now = self._region, self._clock()
        if self._own_until > now and (own := self._own.read(key)) is not None:
            return own
        if region is None:
            return None
        return region.table.load(region.table.place_of(key), now)

    def update(self, key: str, change: Change[T], ttl: float | None = None) -> T:
        """See SharedState."""
        region = self._current()
        if region is None:
            return self._change_alone(key, change, ttl)
        place = region.table.place_of(key)
        if not self._locked(region, place):
            return self._change_alone(key, change, ttl)
        try:
            now = self._clock()
            before = region.table.load(place, now)
            after, result = change(before)
            check_size(after)
            is_kept = region.table.store(place, after, now, ttl)
        finally:
            region.unlock(place.bucket)
        if not is_kept:
            return self._change_alone(key, change, ttl)
        if self._own_until > now:
            self._own.update(key, lambda _: (None, None))  # the others' counts again
        return result

    def close(self) -> None:
        """Part with the others; calls that are still made go on alone."""
        region, self._region = self._region, None
        if region is not None:
            region.file.leave()

    def _locked(self, region: Region, place: Place) -> bool:
        stripe = place.bucket % STRIPES
        is_shunned = self._shunned.get(stripe, 0.0) > monotonic()
        if region.lock(place.bucket, SHUNNED_WAIT if is_shunned else self._wait):
            if is_shunned:
                self._shunned.pop(stripe, None)  # it was only slow
            return True
        if not is_shunned:
            self._shunned[stripe] = monotonic() + SHUN
            log.warning("The memory shared by workers is held by one that is stuck")
        return False

    def _change_alone(self, key: str, change: Change[T], ttl: float | None) -> T:
        """Change this process's copy only; it is forgotten soon."""
        known = self.read(key)
        with self._lock:
            self.alone += 1
            self._own_until = self._clock() + ALONE_TTL
        return self._own.update(
            key,
            lambda own: change(known if own is None else own),
            min(ALONE_TTL, ttl or ALONE_TTL),
        )

    def _current(self) -> Region | None:
        """The region, opened anew where somebody has removed or replaced the file."""
        region = self._region
        if region is None or monotonic() < self._look_at:
            return region
        self._look_at = monotonic() + self._look_interval
        if not region.file.is_in_place():
            log.warning("The memory shared by workers was removed; making it anew")
            try:
                self._region = region = _opened(region.file.path)
            except OSError:
                log.exception("The memory shared by workers can't be made anew")
        return region

    def _leave_to_parent(self) -> None:
        self._region = None  # its descriptors in this process are closed with it
        self._lock = Lock()  # whoever held the old one did not survive the fork
        self._own = InProcessState(self._clock)


def _opened(path: Path) -> Region:
    """Map the file, and agree with its other users on the key of its hashes."""
    region = open_region(path)
    if not region.lock(PLACE_OF_KEY.bucket, OPEN_LIMIT):
        raise TimeoutError(f"{path} is held by a process that is stuck")
    try:
        region.table.agree_on_key()
    finally:
        region.unlock(PLACE_OF_KEY.bucket)
    return region


def open_shared(
    identity: str, folders: Iterable[Path] = (), clock: Clock = monotonic
) -> SharedState:
    """Open the state that everybody with this identity shares on this host.

    The first of the folders that will have the file is used. Where none will, each
    process goes on by itself, which is logged: that costs the dead upstream a few
    more calls, and no caller his answer.
    """
    name = instance_name("vx11", identity)
    for folder in folders:
        try:
            return SharedMemory(folder / name, clock)
        except OSError as error:
            log.warning("No shared memory in %s: %s", folder, error)
    log.error("The workers share nothing: breakers, verdicts and limits are for each")
    return InProcessState(clock)
