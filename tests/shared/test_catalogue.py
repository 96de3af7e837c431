"""The catalogue: every metric explained, named by the rules, and no label that a stranger may fill."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from shared.catalogue import CATALOGUE, EVENTS, OPEN, REQUESTS, SOURCES, Kind, Metric, Over, Place, metrics_of

ROOT = Path(__file__).parent.parent.parent
# The unit is the end of a name, or the thing itself is counted.
UNITS: Mapping[str, str | tuple[str, ...]] = {
    "seconds": "_seconds",
    "seconds since 1970": "_timestamp_seconds",
    "callbacks": "_callbacks",
    "connections": "_connections",
    "demands": "_demands",
    "replicas": "_replicas",
    "processes": ("_children", "_processes"),
    "requests": "_requests",
    "bytes": "_bytes",
    "1": "_info",
    "1 or 0": ("_up", "_held", "_durable"),
    "dead letters": "_open",
}
CONFIGURED = {
    "version",
    "python",
    "shard",
    "proof",
    "what",
    "configuration",
}  # words of ours, of the configuration, or numbers


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_a_metric_is_named_by_its_kind_and_unit_and_says_what_it_means(metric: Metric) -> None:
    assert re.fullmatch(r"callbox_[a-z_]+", metric.name)
    assert len(metric.meaning) > 10
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    if metric.kind is not Kind.COUNTER:
        assert metric.name.endswith(UNITS[metric.unit])
    assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
    assert list(metric.buckets) == sorted(metric.buckets)


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_a_label_has_fixed_words_or_is_named_by_the_operator(metric: Metric) -> None:
    for label, words in metric.labels.items():
        if label == "source":
            assert words is SOURCES
        elif label in CONFIGURED and words is OPEN:
            continue
        else:
            assert words, label
            assert len(set(words)) == len(words)


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_what_comes_from_one_place_is_not_added_up(metric: Metric) -> None:
    assert (metric.over is Over.ONE) == (metric.place is Place.BEAT)
    if metric.kind is not Kind.GAUGE and metric.place is not Place.BEAT:
        assert metric.over is Over.SUM


def test_no_two_have_one_name() -> None:
    names = [metric.name for metric in CATALOGUE]
    assert len(set(names)) == len(names)


def test_a_process_has_those_of_its_place_and_those_of_every() -> None:
    found = [set(metrics_of(place)) for place in (Place.INGRESS, Place.WORKER, Place.BEAT)]
    assert set.union(*found) == set(CATALOGUE)
    assert set.intersection(*found) == set(metrics_of(Place.EVERY))


def test_the_series_that_are_there_from_the_start() -> None:
    series = list(REQUESTS.known(["fleet", "otp"]))
    assert len(series) == 2 * len(REQUESTS.labels["outcome"])
    assert ("otp", "accepted") in series
    assert list(REQUESTS.known([])) == []
    assert len(list(EVENTS.known(["fleet"]))) == 2 * len(EVENTS.labels["status"])


@pytest.mark.parametrize("path", ["README.md", "SECURITY.md", "docs", "deploy"])
def test_what_is_written_about_metrics_is_about_those_that_exist(path: str) -> None:
    """In pages, manifests, alerts and dashboards, wherever one is named."""
    known = {metric.name for metric in CATALOGUE}
    known |= {f"{metric.name}_{end}" for metric in CATALOGUE if metric.buckets for end in ("bucket", "count", "sum")}
    known |= set(re.findall(r"TO (callbox_[a-z]+);", (ROOT / "deploy/postgres/roles.sql").read_text())) | {
        "callbox_migrate"
    }
    files = [ROOT / path] if (ROOT / path).is_file() else (ROOT / path).rglob("*")
    for file in files:
        if file.suffix in (".md", ".yaml", ".yml", ".json", ".conf"):
            named = set(re.findall(r"\bcallbox_[a-z_]+(?![\w.])", file.read_text("utf-8")))
            assert named <= known, f"{file}: {sorted(named - known)}"
