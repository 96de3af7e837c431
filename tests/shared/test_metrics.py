"""The metrics of the catalogue, as prometheus_client has them."""

from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from shared import metrics
from shared.catalogue import (
    ACKNOWLEDGE_SECONDS,
    CONNECTIONS,
    REQUESTS,
    STORED_SECONDS,
    Kind,
    Metric,
    Place,
    metrics_of,
)
from shared.metrics import Registry, family, histogram_family


def shown(*families: Family) -> dict[tuple[str, tuple[str, ...]], float]:
    """The samples of these families in the text that Prometheus reads, by name and the values of their labels."""
    return samples(SimpleNamespace(collect=lambda: families))


def samples(collector: Any) -> dict[tuple[str, tuple[str, ...]], float]:
    found = text_string_to_metric_families(generate_latest(collector).decode())
    return {
        (each.name, tuple(value for _, value in sorted(each.labels.items()))): each.value
        for metric in found
        for each in metric.samples
    }


def test_the_series_of_a_source_are_there_before_anything_is_counted() -> None:
    registry = Registry()
    registry.counter(REQUESTS)
    registry.histogram(ACKNOWLEDGE_SECONDS)
    registry.gauge(CONNECTIONS)
    registry.begin(["fleet"])
    found = samples(registry)
    assert found["callbox_requests_total", ("accepted", "fleet")] == 0
    assert found["callbox_acknowledge_seconds_count", ("fleet",)] == 0
    assert found["callbox_open_connections", ()] == 0
    assert not [name for name, _ in found if name.endswith("_created")]


def test_a_metric_of_another_kind_is_refused() -> None:
    with pytest.raises(AssertionError, match="callbox_requests_total"):
        Registry().gauge(REQUESTS)


@pytest.mark.parametrize("metric", [each for each in metrics_of(Place.INGRESS) if each.kind is Kind.GAUGE])
def test_the_gauges_of_processes_become_one_as_those_of_instances_do(metric: Metric) -> None:
    assert Registry().gauge(metric)._multiprocess_mode == f"live{metric.over}"


def test_a_source_cannot_break_out_of_its_label() -> None:
    name = 'a"}\nb\\'
    assert shown(family(REQUESTS, {(name, "accepted"): 10})) == {("callbox_requests_total", ("accepted", name)): 10}


def test_a_histogram_is_shown_as_prometheus_adds_it_up() -> None:
    counts = [0.0] * len(STORED_SECONDS.buckets)
    counts[0], counts[2] = 3.0, 2.0
    found = shown(histogram_family(STORED_SECONDS, {("fleet",): [*counts, 1.0, 9.5]}))
    ends = [*map(str, map(float, STORED_SECONDS.buckets)), "+Inf"]
    reached = [found["callbox_stored_seconds_bucket", (end, "fleet")] for end in ends]
    assert (reached[:3], set(reached[3:-1]), reached[-1]) == ([3, 3, 5], {5}, 6)
    assert found["callbox_stored_seconds_sum", ("fleet",)] == 9.5
    assert found["callbox_stored_seconds_count", ("fleet",)] == 6


def test_the_build_is_that_of_this_process() -> None:
    ((version, python),) = metrics.build_info()
    assert version
    assert python.count(".") == 2
