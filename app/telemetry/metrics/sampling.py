"""Sampling: how things stand, asked once a second, so that no chat pays for it."""

import logging
from collections.abc import Callable, Mapping
from math import nan
from threading import Event, Thread

from app.telemetry.metrics.instruments import Counter, Gauge
from app.telemetry.metrics.recorder import MetricRecorder

log = logging.getLogger(__name__)

EVERY = 1.0  # seconds; Prometheus comes every 15

# What one look finds: by labels, None for what is not known at the moment.
GaugeValues = Mapping[tuple[str, ...], float | None]
GaugeReaders = Mapping[Gauge, Callable[[], GaugeValues]]
# What this process has counted elsewhere, since its start.
Totals = Mapping[Counter, Callable[[], float]]


def alone(value: Callable[[], float | None]) -> Callable[[], GaugeValues]:
    """Make a look of a gauge without labels."""
    return lambda: {(): value()}


class Sampler:
    """Sets gauges to what its looks find, in a thread of its own.

    Counters grow by what their totals have grown; what is counted there stays when
    the process ends, as all counts do. A look that breaks makes its gauge unknown
    and is logged, once in a row.
    """

    def __init__(
        self,
        tally: MetricRecorder,
        looks: GaugeReaders,
        totals: Totals | None = None,
        every: float = EVERY,
    ) -> None:
        self._tally = tally
        self._looks = looks
        self._totals = totals or {}
        self._seen = dict.fromkeys(self._totals, 0.0)
        self._every = every
        self._broken: set[str] = set()
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        """Look now, and from now on; call it after the fork."""
        self.sample()
        self._thread.start()

    def stop(self) -> None:
        """Look no more, but once at what is to be counted."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(1.0)
        self._count()

    def sample(self) -> None:
        """Ask every look once."""
        for gauge, look in self._looks.items():
            for labels, value in self._ask(gauge, look).items():
                self._tally.set(gauge, nan if value is None else value, *labels)
        self._count()

    def _count(self) -> None:
        for counter, total in self._totals.items():
            now = total()
            self._tally.raise_by(counter, now - self._seen[counter])
            self._seen[counter] = now

    def _ask(self, gauge: Gauge, look: Callable[[], GaugeValues]) -> GaugeValues:
        try:
            found = look()
        except Exception:
            if gauge.name not in self._broken:
                log.exception("%s cannot be told", gauge.name)
            self._broken.add(gauge.name)
            return {}
        self._broken.discard(gauge.name)
        return found

    def _run(self) -> None:
        while not self._stopping.wait(self._every):
            self.sample()
