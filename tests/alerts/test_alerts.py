"""Each alert in a real Prometheus, beside a running system: fired by its fault, and cleared once that is gone. Then the
dashboards have something to show."""

import time
from collections.abc import Iterator, Sequence

import pytest

from tests.alerts.faults import PHASES, Fault
from tests.alerts.system import System
from tests.conftest import wait_until
from tests.deploy.monitoring.support import alerts, program

PATIENCE_SECONDS = 90.0
POLL_SECONDS = 0.3
VARIABLES = {"$__rate_interval": "30s", "$instance": ".*", "$source": ".*"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    program("prometheus")
    started = System(tmp_path_factory.mktemp("alerts"))
    try:
        started.start()
        yield started
    finally:
        started.stop()


def names_of(faults: Sequence[Fault]) -> set[str]:
    return {name for fault in faults for name in fault.alerts}


def test_every_alert_has_a_fault() -> None:
    assert [name for phase in PHASES for fault in phase for name in fault.alerts].sort() == sorted(alerts()).sort()


def test_each_alert_is_fired_by_its_fault_and_cleared_after(system: System) -> None:
    wait_until(
        lambda: all(
            system.prometheus.query(f"up{{job='callbox-{job}'}} == 1") for job in ("ingress", "worker", "beat")
        ),
        "targets",
    )
    for phase in PHASES:
        wanted = names_of(phase)
        assert not wanted & system.prometheus.firing().keys(), "before the fault"
        for fault in phase:
            fault.begin(system)
        seen: set[str] = set()
        ends = time.monotonic() + PATIENCE_SECONDS
        while not wanted <= seen:
            assert time.monotonic() < ends, f"not fired: {wanted - seen}"
            for fault in phase:
                if not seen >= set(fault.alerts):
                    fault.keep(system)
            firing = system.prometheus.firing()
            seen |= firing.keys()
            time.sleep(POLL_SECONDS)
        for fault in phase:
            fault.end(system)
        wait_until(
            lambda wanted=wanted: not wanted & system.prometheus.firing().keys(),
            f"cleared: {wanted}",
            PATIENCE_SECONDS,
            POLL_SECONDS,
        )
