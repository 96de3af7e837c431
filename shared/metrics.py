"""The metrics of the catalogue, as prometheus_client has them: for a process that counts in its own objects (an
ingress), and for one that shows what it knows from elsewhere (beat, and a worker's parent)."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.utils import floatToGoString

from shared.catalogue import Kind, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[str, ...]  # the values of a metric's labels, in its order
M = TypeVar("M", Counter, Gauge, Histogram)

disable_created_metrics()  # type: ignore[no-untyped-call] # when a counter began: twice the series, for a format not used


class Registry(CollectorRegistry):
    """Where a process registers the metrics that it counts itself."""

    def __init__(self) -> None:
        super().__init__()
        self._labelled: list[tuple[Metric, Counter | Gauge | Histogram]] = []

    def counter(self, metric: Metric) -> Counter:
        """Raises AssertionError unless the metric is of this kind; so do the two below."""
        return self._kept(metric, Counter(*_described(metric, Kind.COUNTER), registry=self))

    def gauge(self, metric: Metric) -> Gauge:
        """Between processes that share a folder it becomes one as it does between instances."""
        mode: Any = f"live{metric.over}"
        return self._kept(metric, Gauge(*_described(metric, Kind.GAUGE), registry=self, multiprocess_mode=mode))

    def histogram(self, metric: Metric) -> Histogram:
        described = _described(metric, Kind.HISTOGRAM)
        return self._kept(metric, Histogram(*described, registry=self, buckets=metric.buckets))

    def begin(self, sources: Sequence[str]) -> None:
        """Makes every series that is known of these sources: one that appears with its first count never rises."""
        for metric, made in self._labelled:
            for labels in metric.known(sources):
                made.labels(*labels)

    def _kept(self, metric: Metric, made: M) -> M:
        if metric.labels:
            self._labelled.append((metric, made))
        return made


def _described(metric: Metric, kind: Kind) -> tuple[str, str, tuple[str, ...]]:
    assert metric.kind is kind, metric.name  # noqa: S101 - who wrote the call knows
    return metric.name, metric.meaning, tuple(metric.labels)


def family(metric: Metric, values: Mapping[Labels, float]) -> Family:
    """A counter or a gauge with these values."""
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    found = kind(metric.name, metric.meaning, labels=list(metric.labels))
    for labels, value in values.items():
        found.add_metric(labels, value)
    return found


def histogram_family(metric: Metric, values: Mapping[Labels, Sequence[float]]) -> Family:
    """A histogram: of each series how many fell into each bucket and behind the last one, and their sum."""
    found = HistogramMetricFamily(metric.name, metric.meaning, labels=list(metric.labels))
    ends = [*map(floatToGoString, metric.buckets), "+Inf"]
    for labels, (*counts, total) in values.items():
        reached, buckets = 0.0, []
        for end, count in zip(ends, counts, strict=True):
            reached += count
            buckets.append((end, reached))
        found.add_metric(labels, buckets, total)
    return found


def build_info() -> dict[Labels, float]:
    """What this process is made of."""
    return {(version("callbox"), platform.python_version()): 1.0}
