"""MetricRecorder: counting into cells, cheaply enough to be done for every chat.

The cells of a series are looked up once and kept as a Place; after that counting is
an addition in shared memory, where it outlives this process.
"""

from bisect import bisect_left
from collections.abc import Iterable
from math import nan
from threading import Lock
from typing import NamedTuple

from app.telemetry.metrics.directory import Slot
from app.telemetry.metrics.instruments import Counter, Gauge, Histogram, Instrument
from app.telemetry.metrics.metric_memory import SIZE, MetricMemory


class Place(NamedTuple):
    """Where a series is: its first cell, and of a histogram its bounds and sum."""

    first: int
    bounds: tuple[float, ...] = ()
    sum: int = 0


class MetricRecorder:
    """The numbers of one process; in a slot for others to read, or in plain memory.

    A series for which there is no room is not shown to anybody, and `lost` counts
    it. Threads may share it.
    """

    def __init__(self, slot: Slot | None = None) -> None:
        self._slot = slot  # its lock must live as long as we do
        self._memory = slot.memory if slot else bytearray(SIZE)
        self._cells = MetricMemory(self._memory)
        self._known = {(s.name, *s.labels): s for s in self._cells.series()}
        self._places: dict[tuple[str, ...], Place] = {}
        self._lock = Lock()  # guards all of it; an addition is not atomic
        self.lost = 0

    def reset(self, gauges: Iterable[Gauge]) -> None:
        """Forget how things stood with whoever had the slot before."""
        names = {gauge.name for gauge in gauges}
        with self._lock:
            for series in self._known.values():
                if series.name in names:
                    self._cells.numbers[series.first] = nan

    def place(self, instrument: Instrument, *labels: str) -> Place:
        """Look up the cells of a series, and make room for them if need be."""
        key = (instrument.name, *labels)
        place = self._places.get(key)
        if place is None:
            with self._lock:
                place = self._places.get(key)  # somebody else may have come first
                if place is None:
                    place = self._places[key] = self._new_place(instrument, labels)
        return place

    def add(
        self, counters: Iterable[Place], histograms: Iterable[tuple[Place, float]]
    ) -> None:
        """Add one to each counter, and each value to its histogram."""
        numbers = self._cells.numbers
        with self._lock:
            for first, _, _ in counters:
                numbers[first] += 1.0
            for (first, bounds, total), value in histograms:
                numbers[first + bisect_left(bounds, value)] += 1.0
                numbers[total] += value

    def count(self, counter: Counter, *labels: str) -> None:
        """Add one to a counter."""
        self.add((self.place(counter, *labels),), ())

    def raise_by(self, counter: Counter, amount: float, *labels: str) -> None:
        """Add what somebody else has counted since the last time."""
        first = self.place(counter, *labels).first
        with self._lock:
            self._cells.numbers[first] += amount

    def observe(self, histogram: Histogram, value: float, *labels: str) -> None:
        """Add a value to its bucket and to the sum."""
        self.add((), ((self.place(histogram, *labels), value),))

    def set(self, gauge: Gauge, value: float, *labels: str) -> None:
        """Say how something stands; not a number means that it is not known."""
        self._cells.numbers[self.place(gauge, *labels).first] = value

    def copy(self) -> bytes:
        """All of the memory, as `cells.snapshot` reads it."""
        with self._lock:
            return bytes(self._memory)

    def _new_place(self, instrument: Instrument, labels: tuple[str, ...]) -> Place:
        if len(labels) != len(instrument.labels):
            raise ValueError(f"{instrument.name} has labels {instrument.labels}")
        first = self._first_cell(instrument, labels)
        if isinstance(instrument, Histogram):
            return Place(first, instrument.bounds, first + len(instrument.bounds) + 1)
        return Place(first)

    def _first_cell(self, instrument: Instrument, labels: tuple[str, ...]) -> int:
        width = width_of(instrument)
        known = self._known.get((instrument.name, *labels))
        if known is not None and known.width == width:
            return known.first
        first = self._cells.add(instrument.name, labels, width)
        if first is None:
            self.lost += 1
            return self._cells.SCRAP
        return first


def width_of(instrument: Instrument) -> int:
    """How many cells a series of it takes: buckets, the one above all, the sum."""
    return len(instrument.bounds) + 2 if isinstance(instrument, Histogram) else 1
