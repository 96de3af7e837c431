"""What the processes show of themselves, and that it adds up over instances, whatever there is of each."""

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import psutil
import pytest
from prometheus_client.core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.servers import free_port
from shared.catalogue import OPEN, Metric, Place, metrics_of
from tests.conftest import wait_until
from tests.pipeline.conftest import PYTHON, WORKER, Run, Running, http

PLACES = {
    "CALLBOX_ADMIN_URL": Place.INGRESS,
    "CALLBOX_WORKER_ADMIN_URL": Place.WORKER,
    "CALLBOX_BEAT_ADMIN_URL": Place.BEAT,
}
BODY = b'{"id": %d, "organisation": {"id": 1}, "payload": "hi"}'
NOWHERE = "redis://127.0.0.1:1/0"


def families(url: str) -> Mapping[str, Family]:
    """What is shown at an admin address, by the names in the catalogue."""
    status, body, _ = http(f"{url}/metrics")
    assert status == 200
    found = text_string_to_metric_families(body.decode())
    return {f"{family.name}_total" if family.type == "counter" else family.name: family for family in found}


def total(url: str, name: str, **labels: str) -> float:
    """The sum of the samples of this name that have these labels; 0 while nobody listens."""
    with suppress(OSError):
        return sum(
            sample.value
            for family in families(url).values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )
    return 0.0


@pytest.mark.parametrize("variable", PLACES)
def test_each_process_shows_what_the_catalogue_says_and_nothing_else(system: Running, variable: str) -> None:
    expected = {metric.name: metric for metric in metrics_of(PLACES[variable])}
    shown = families(system.addresses[variable])
    assert set(shown) <= set(expected)
    # Processes that add up show nothing of what none of them has: no replica is waited for here.
    assert {name for name in set(expected) - set(shown) if OPEN not in expected[name].labels.values()} == set()
    for name, family in shown.items():
        _assert_is(family, expected[name])


def _assert_is(family: Family, metric: Metric) -> None:
    assert (family.type, family.documentation) == (metric.kind, metric.meaning)
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        assert set(labels) == set(metric.labels), sample
        for label, words in metric.labels.items():
            assert label == "source" or words is OPEN or labels[label] in words, sample


@pytest.mark.parametrize("variable", PLACES)
def test_every_source_is_shown_before_its_first_callback(system: Running, variable: str) -> None:
    by_source = [metric for metric in metrics_of(PLACES[variable]) if "source" in metric.labels]
    known = [metric for metric in by_source if OPEN not in metric.labels.values()]
    assert known
    shown = families(system.addresses[variable])
    for metric in known:
        assert {sample.labels["source"] for sample in shown[metric.name].samples} >= set(system.sources), metric.name


def test_two_hosts_are_added_up_and_what_is_in_redis_is_there_once(run: Run, redis_url: str, database_url: str) -> None:
    urls = {"CALLBOX_REDIS_URL": redis_url, "CALLBOX_DATABASE_URL": database_url, "CALLBOX_BEAT_SECONDS": "0.5"}
    bind = {name: f"127.0.0.1:{free_port()}" for name in ("one", "two", "workers", "beat")}
    admin = {name: f"http://{address}" for name, address in bind.items()}
    ports = {name: free_port() for name in ("one", "two")}
    for name, port in ports.items():
        run(name, *PYTHON, "ingress", "--port", str(port), CALLBOX_ADMIN_BIND=bind[name], **urls)
    workers = run("workers", *WORKER, CALLBOX_ADMIN_BIND=bind["workers"], **urls)
    run("beat", *PYTHON, "workers", "beat", CALLBOX_ADMIN_BIND=bind["beat"], **urls)

    for name, url in admin.items():
        wait_until(partial(is_there, url), name)
    for number in range(50):
        port = ports["one" if number < 30 else "two"]
        assert http(f"http://127.0.0.1:{port}/callbacks/open", "POST", BODY % number)[0] == 200
    wait_until(
        lambda: total(admin["workers"], "callbox_events_total", source="open") == 50, "what the worker stored", 60
    )

    accepted = [total(admin[name], "callbox_requests_total", outcome="accepted") for name in ports]
    assert accepted == [30, 20]
    in_redis = {name: total(url, "callbox_appended_total", source="open") for name, url in admin.items()}
    assert in_redis == {"one": 0, "two": 0, "workers": 0, "beat": 50}
    assert total(admin["beat"], "callbox_callbacks_total", source="open", outcome="stored") == 50
    assert total(admin["workers"], "callbox_stored_seconds_count", source="open") == 50
    heard_at = total(admin["beat"], "callbox_source_last_callback_timestamp_seconds", source="open")
    assert abs(time.time() - heard_at) < 600

    # A child that is killed takes nothing along of what it has handed over.
    for child in psutil.Process(workers.pid).children():
        os.kill(child.pid, signal.SIGKILL)
    assert http(f"http://127.0.0.1:{ports['one']}/callbacks/open", "POST", BODY % 50)[0] == 200
    wait_until(lambda: total(admin["workers"], "callbox_events_total", source="open") == 51, "one more", 60)
    assert total(admin["workers"], "callbox_worker_children") == 1


def is_there(url: str) -> bool:
    with suppress(OSError):
        return http(f"{url}/healthz")[0] == 200
    return False


def test_the_spool_is_known_while_redis_is_away(run: Run) -> None:
    port, bind = free_port(), f"127.0.0.1:{free_port()}"
    run("ingress", *PYTHON, "ingress", "--port", str(port), CALLBOX_ADMIN_BIND=bind, CALLBOX_REDIS_URL=NOWHERE)
    admin = f"http://{bind}"
    wait_until(lambda: is_there(admin), "the ingress")
    for number in range(5):
        assert http(f"http://127.0.0.1:{port}/callbacks/open", "POST", BODY % number)[0] == 200
    wait_until(lambda: total(admin, "callbox_spool_callbacks") == 5, "what is spooled")
    first = total(admin, "callbox_spool_oldest_seconds")
    wait_until(lambda: total(admin, "callbox_spool_oldest_seconds") > first, "they grow older")
    assert total(admin, "callbox_ingress_redis_up") == 0
