"""Each alert in a real Prometheus, beside a running system: fired by its fault, and cleared once that is gone. After
all of them, whatever a rule or a dashboard asks for has an answer."""

import re
import time
from collections.abc import Iterator, Sequence

import pytest

from deploy.dashboards import DASHBOARDS
from tests.alerts.faults import PHASES, Fault
from tests.alerts.system import System
from tests.conftest import wait_until
from tests.deploy.monitoring.support import alerts, program, records

PATIENCE_SECONDS = 90.0
POLL_SECONDS = 0.3
VARIABLES = {"$__rate_interval": "10m", "$instance": ".*", "$source": ".*"}
# What leaves out the series that are 0 is asked with them.
QUERIES = sorted({query.expr.removesuffix(" > 0") for each in DASHBOARDS for query in each.queries})


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    program("prometheus")
    started = System(tmp_path_factory.mktemp("alerts"))
    try:
        started.start()
        yield started
    finally:
        started.stop()


def test_every_alert_has_a_fault() -> None:
    assert sorted(name for phase in PHASES for fault in phase for name in fault.alerts) == sorted(alerts())


def test_each_alert_is_fired_by_its_fault_and_cleared_after(system: System) -> None:
    for phase in PHASES:
        assert_fired_and_cleared(system, phase)


def assert_fired_and_cleared(system: System, faults: Sequence[Fault]) -> None:
    wanted = {name for fault in faults for name in fault.alerts}
    wait_until(lambda: not wanted & firing(system).keys(), "a quiet beginning", PATIENCE_SECONDS, POLL_SECONDS)
    for fault in faults:
        fault.begin(system)
    seen: set[str] = set()
    ends = time.monotonic() + PATIENCE_SECONDS
    while wanted - seen:
        assert time.monotonic() < ends, f"not fired: {', '.join(sorted(wanted - seen))}"
        for fault in faults:
            if set(fault.alerts) - seen:
                fault.keep(system)
        seen |= firing(system).keys()
        time.sleep(POLL_SECONDS)
    for fault in faults:
        fault.end(system)
    ends = time.monotonic() + PATIENCE_SECONDS
    while left := wanted & firing(system).keys():
        assert time.monotonic() < ends, f"not cleared: {', '.join(sorted(left))}"
        time.sleep(POLL_SECONDS)


def firing(system: System) -> dict[str, dict[str, str]]:
    """The alerts that fire, by name, with what they say, which is whole."""
    found = {alert["labels"]["alertname"]: alert["annotations"] for alert in system.prometheus.alerts()}
    for annotations in found.values():
        assert not re.search(r"<no value>|<error|{{|NaN", " ".join(annotations.values())), annotations
    return found


def test_every_recorded_series_has_data(system: System) -> None:
    assert [name for name in records() if not system.prometheus.query(f"last_over_time({name}[1h])")] == []


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_of_a_dashboard_has_data(system: System, query: str) -> None:
    if "callbox_oddities_total" in query:
        pytest.skip("the simulator sends nothing odd")
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    found = system.prometheus.query(query) or system.prometheus.query(f"last_over_time(({query})[10m:5s])")
    assert found
