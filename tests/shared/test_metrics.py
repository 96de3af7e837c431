"""What /metrics shows: every metric explained, the ledger as it is, and the counts of several processes."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from shared import metrics
from shared.inbox import COUNTERS, Depth, Hold, Notes, Snapshot
from shared.outcomes import Outcome

COUNTS = {"appended": 10, "repeat": 1, "stored": 4, "duplicate": 2, "dead": 1, "ignored": 1}
FIRST = {"stored": 3, "duplicate": 1, "dead": 3, "ignored": 1}  # before the replays
SEEN = Snapshot(
    Depth(1, 2.5),
    {"fleet": COUNTS, "otp": dict.fromkeys(COUNTERS, 0)},
    {"fleet": {"conflict": 3}},
    {"otp": 5},
    {"otp": Hold("why", 1.0)},
    {"fleet": {"from:dead": 2, "to:stored": 1, "to:duplicate": 1}},
    Notes(repaired=7, open_dead_letters={"fleet": 2}),
    {"worker-host": {"postgresql": ["fsync is off"]}},
)
UNITS = (
    "_total",
    "_seconds",
    "_callbacks",
    "_up",
    "_held",
    "_connections",
    "_demands",
    "_open",
    "_lost_total",
    "_replicas",
)
ROOT = Path(__file__).parent.parent.parent


def families(rendered: bytes) -> dict[str, Metric]:
    """The metrics by name, without the times at which the client library began to count."""
    parsed = text_string_to_metric_families(rendered.decode())
    found = [family for family in parsed if not family.name.endswith("_created")]
    names = [family.name for family in found]
    assert len(names) == len(set(names))
    return dict(zip(names, found, strict=True))


def value(rendered: bytes, sample: str, **labels: str) -> float | None:
    values = [
        found.value
        for family in families(rendered).values()
        for found in family.samples
        if (found.name, found.labels) == (sample, labels)
    ]
    assert len(values) < 2
    return values[0] if values else None


def test_every_metric_says_what_it_means() -> None:
    found = families(metrics.render(SEEN))
    assert len(found) == 27
    for name, family in found.items():
        assert name.startswith("callbox_")
        assert len(family.documentation) > 10, name
        full = f"{name}_total" if family.type == "counter" else name
        assert full.endswith(UNITS), full


@pytest.mark.parametrize(
    ("sample", "labels", "expected"),
    [
        ("callbox_redis_up", {}, 1),
        ("callbox_inbox_callbacks", {}, 1),
        ("callbox_inbox_oldest_seconds", {}, 2.5),
        ("callbox_spooled_callbacks", {"source": "otp"}, 5),
        ("callbox_source_held", {"source": "otp"}, 1),
        ("callbox_repaired_total", {}, 7),
        ("callbox_ledger_difference_callbacks", {}, 0),
        ("callbox_oddities_total", {"source": "fleet", "what": "conflict"}, 3),
        ("callbox_appended_total", {"source": "fleet"}, 10),
        ("callbox_appended_total", {"source": "otp"}, 0),
        ("callbox_repeats_total", {"source": "fleet"}, 1),
        *(("callbox_callbacks_total", {"source": "fleet", "outcome": outcome}, FIRST[outcome]) for outcome in Outcome),
        ("callbox_replayed_total", {"source": "fleet", "outcome": "stored"}, 1),
        ("callbox_replayed_total", {"source": "fleet", "outcome": "dead"}, 0),
        ("callbox_dead_letters_open", {"source": "fleet"}, 2),
        ("callbox_dead_letters_open", {"source": "otp"}, 0),
        ("callbox_worker_unmet_demands", {"host": "worker-host", "what": "postgresql"}, 1),
    ],
)
def test_the_ledger_is_shown_as_it_is(sample: str, labels: dict[str, str], expected: float) -> None:
    assert value(metrics.render(SEEN), sample, **labels) == expected


def test_while_redis_is_away_the_rest_is_shown_and_that_it_is_away() -> None:
    metrics.GROUP_SIZE.observe(1)
    rendered = metrics.render(None)
    assert value(rendered, "callbox_redis_up") == 0
    assert value(rendered, "callbox_group_callbacks_count")
    assert not {"callbox_inbox_callbacks", "callbox_appended", "callbox_callbacks"} & set(families(rendered))


def test_a_source_cannot_break_out_of_its_label() -> None:
    name = 'a"}\nb\\'
    ledger: Any = {name: COUNTS}
    assert value(metrics.render(Snapshot(Depth(0, 0.0), ledger, {}, {})), "callbox_appended_total", source=name) == 10


@pytest.mark.parametrize(
    ("metric", "labels"),
    [
        (metrics.REQUESTS, ("source", "outcome")),
        (metrics.REFUSALS, ("source", "reason")),
        (metrics.PROOFS, ("source", "proof")),
        (metrics.ACKNOWLEDGE_SECONDS, ("source",)),
        (metrics.GROUP_SIZE, ()),
    ],
)
def test_no_label_but_the_source_and_fixed_words(metric: Any, labels: tuple[str, ...]) -> None:
    assert metric._labelnames == labels


def test_several_processes_of_a_host_add_up(tmp_path: Path) -> None:
    count = "metrics.REQUESTS.labels('fleet', 'accepted').inc({}); metrics.GROUP_SIZE.observe(2)"
    show = "import sys; sys.stdout.buffer.write(metrics.render(None))"
    environ = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def run(code: str) -> bytes:
        command = [sys.executable, "-c", f"from shared import metrics; {code}"]
        return subprocess.run(command, env=environ, cwd=ROOT, check=True, capture_output=True).stdout

    for number in (2, 3):
        assert run(count.format(number)) == b""
    rendered = run(show)
    assert value(rendered, "callbox_requests_total", source="fleet", outcome="accepted") == 5
    assert value(rendered, "callbox_group_callbacks_sum") == 4
    assert not re.search(rb"pid=", rendered)


def test_the_open_connections_of_a_process_that_died_are_forgotten(tmp_path: Path) -> None:
    environ = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def run(code: str) -> bytes:
        command = [sys.executable, "-c", f"import sys; from shared import metrics; {code}"]
        return subprocess.run(command, env=environ, cwd=ROOT, check=True, capture_output=True).stdout

    run("metrics.CONNECTIONS.inc(7); metrics.REQUESTS.labels('fleet', 'accepted').inc(2)")
    show = "sys.stdout.buffer.write(metrics.render(None))"
    assert value(run(show), "callbox_open_connections") == 7
    after = run(f"metrics.CONNECTIONS.inc(1); metrics.forget_dead_processes(); {show}")
    assert value(after, "callbox_open_connections") == 1
    assert value(after, "callbox_requests_total", source="fleet", outcome="accepted") == 2
