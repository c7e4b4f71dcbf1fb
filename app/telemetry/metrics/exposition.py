"""Exposition: the numbers of all workers as one page for Prometheus."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isnan

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.telemetry.metrics.instruments import (
    INSTRUMENTS,
    Gauge,
    Histogram,
    Instrument,
    Merge,
)
from app.telemetry.metrics.metric_memory import snapshot
from app.telemetry.metrics.recorder import width_of

# Copies of the workers' memories, and whether each worker lives.
Source = Callable[[], Iterable[tuple[bytes, bool]]]
Labels = tuple[str, ...]
Merged = dict[str, dict[Labels, list[float]]]

KNOWN = {instrument.name: instrument for instrument in INSTRUMENTS}
GAUGES: dict[Merge, Callable[[Iterable[float]], float]] = {
    Merge.SUM: sum,
    Merge.MAX: max,
    Merge.MIN: min,
}


def render(memories: Iterable[tuple[bytes, bool]]) -> bytes:
    """Merge the workers' numbers and write them in Prometheus' text format."""
    return generate_latest(_Families(merged(memories)))


def merged(memories: Iterable[tuple[bytes, bool]]) -> Merged:
    """Counters and histograms of all, gauges of those that live, by name and labels."""
    found: dict[str, dict[Labels, list[list[float]]]] = {}
    for memory, lives in memories:
        for series, numbers in snapshot(memory):
            if _counts(KNOWN.get(series.name), numbers, lives=lives):
                by_labels = found.setdefault(series.name, {})
                by_labels.setdefault(series.labels, []).append(numbers)
    return {
        name: {labels: _merge(KNOWN[name], all_) for labels, all_ in by_labels.items()}
        for name, by_labels in found.items()
    }


def _counts(
    instrument: Instrument | None, numbers: Sequence[float], *, lives: bool
) -> bool:
    """Whether numbers are to be merged; other releases may have left other series."""
    if instrument is None or len(numbers) != width_of(instrument):
        return False
    return not isinstance(instrument, Gauge) or (lives and not isnan(numbers[0]))


def _merge(instrument: Instrument, numbers: list[list[float]]) -> list[float]:
    how = GAUGES[instrument.merge] if isinstance(instrument, Gauge) else sum
    return [how(column) for column in zip(*numbers, strict=True)]


class _Families(Collector):
    """What prometheus_client's encoders read; it stands in for a registry."""

    def __init__(self, numbers: Merged) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[Metric]:
        for instrument in INSTRUMENTS:
            by_labels = self._numbers.get(instrument.name, {})
            if not instrument.labels and not by_labels:
                by_labels = _nothing_yet(instrument)
            yield _family(instrument, by_labels)


def _nothing_yet(instrument: Instrument) -> dict[Labels, list[float]]:
    """Zero for a counter without labels, so that its first increase is seen."""
    if isinstance(instrument, Gauge):
        return {}
    return {(): [0.0] * width_of(instrument)}


def _family(instrument: Instrument, by_labels: dict[Labels, list[float]]) -> Metric:
    if isinstance(instrument, Histogram):
        histogram = HistogramMetricFamily(
            instrument.name, instrument.help, labels=instrument.labels
        )
        for labels, numbers in by_labels.items():
            histogram.add_metric(labels, _buckets(instrument, numbers), numbers[-1])
        return histogram
    kind = GaugeMetricFamily if isinstance(instrument, Gauge) else CounterMetricFamily
    family = kind(instrument.name, instrument.help, labels=instrument.labels)
    for labels, (value,) in by_labels.items():
        family.add_metric(labels, value)
    return family


def _buckets(histogram: Histogram, numbers: Sequence[float]) -> list[tuple[str, float]]:
    """Prometheus' buckets hold all that is below their bound."""
    below, buckets = 0.0, []
    bounds = [*map(str, histogram.bounds), "+Inf"]
    for bound, count in zip(bounds, numbers, strict=False):
        below += count
        buckets.append((bound, below))
    return buckets
