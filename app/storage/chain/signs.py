"""SignsWatch: what the writer sees of clock and disk, for those who ask how we are."""

from collections.abc import Callable
from contextlib import suppress
from time import monotonic, time

from app.gateway.records.signs import AuditSpace, TrailSigns
from app.storage.chain.links import ClockWatch


class SignsWatch:
    """Looks in one thread, tells in any.

    `space` may be slow, on a disk that is stuck, and may raise OSError. `writing_for`
    is for how many seconds a write goes on.
    """

    def __init__(
        self,
        space: Callable[[], AuditSpace] = AuditSpace,
        writing_for: Callable[[], float] = lambda: 0.0,
        *,
        wall: Callable[[], float] = time,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._space, self._clock, self._writing_for = space, clock, writing_for
        self._watch = ClockWatch(wall, clock)
        self._seen = AuditSpace()
        self._step: tuple[float, float] | None = None  # seconds, and when

    def look(self) -> None:
        """Look once; for the writer's thread."""
        _, step = self._watch.read(0.0)
        if step:
            self._step = step, self._clock()
            self._watch.marked()
        with suppress(OSError):
            self._seen = self._space()

    @property
    def signs(self) -> TrailSigns:
        """What was seen last."""
        writing_for = self._writing_for()
        if self._step is None:
            return TrailSigns(space=self._seen, writing_for=writing_for)
        step, at = self._step
        return TrailSigns(step, self._clock() - at, self._seen, writing_for)
