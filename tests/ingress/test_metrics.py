"""What an ingress shows: alone, and as one of several processes of a host."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingress import metrics
from shared.catalogue import Place, metrics_of

ROOT = Path(__file__).parent.parent.parent
SHOW = "sys.stdout.buffer.write(metrics.render())"


@pytest.fixture
def together(tmp_path: Path) -> Path:
    """A folder in which processes add up their metrics."""
    return tmp_path


def run(folder: Path, code: str) -> bytes:
    environ = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-c", f"import sys; from ingress import metrics; {code}"]
    return subprocess.run(command, env=environ, cwd=ROOT, check=True, capture_output=True).stdout


def value(rendered: bytes, sample: str, **labels: str) -> float:
    (found,) = [
        each.value
        for family in text_string_to_metric_families(rendered.decode())
        for each in family.samples
        if (each.name, each.labels) == (sample, labels)
    ]
    return found


def test_it_has_the_metrics_of_an_ingress_and_no_other() -> None:
    shown = {family.name for family in text_string_to_metric_families(metrics.render().decode())}
    assert shown == {metric.name.removesuffix("_total") for metric in metrics_of(Place.INGRESS)}


def test_several_processes_of_a_host_add_up(together: Path) -> None:
    count = "metrics.REQUESTS.labels('fleet', 'accepted').inc({}); metrics.GROUP_SIZE.observe(2)"
    for number in (2, 3):
        assert run(together, count.format(number)) == b""
    rendered = run(together, SHOW)
    assert value(rendered, "callbox_requests_total", source="fleet", outcome="accepted") == 5
    assert value(rendered, "callbox_group_callbacks_sum") == 4
    assert not re.search(rb"pid=", rendered)


def test_the_open_connections_of_a_process_that_died_are_forgotten(together: Path) -> None:
    run(together, "metrics.CONNECTIONS.inc(7); metrics.REQUESTS.labels('fleet', 'accepted').inc(2)")
    assert value(run(together, SHOW), "callbox_open_connections") == 7
    after = run(together, f"metrics.CONNECTIONS.inc(1); metrics.forget_dead_processes(); {SHOW}")
    assert value(after, "callbox_open_connections") == 1
    assert value(after, "callbox_requests_total", source="fleet", outcome="accepted") == 2


def test_what_a_process_left_that_was_killed_as_it_began_is_passed_over(together: Path) -> None:
    run(together, "metrics.REQUESTS.labels('fleet', 'accepted').inc(2)")
    for name in ("histogram_4194303.db", "counter_4194303.db", "gauge_livesum_4194303.db"):
        (together / name).touch()
    assert value(run(together, SHOW), "callbox_requests_total", source="fleet", outcome="accepted") == 2


def test_the_series_of_a_source_are_shown_before_its_first_request(together: Path) -> None:
    rendered = run(together, f"metrics.begin(['fleet']); {SHOW}")
    assert value(rendered, "callbox_requests_total", source="fleet", outcome="unavailable") == 0
    assert value(rendered, "callbox_refusals_total", source="fleet", reason="signature_wrong") == 0
    assert value(rendered, "callbox_acknowledge_seconds_count", source="fleet") == 0
    assert value(rendered, "callbox_connections_ended_total", why="memory") == 0
