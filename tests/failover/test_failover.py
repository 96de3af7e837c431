"""The short form of `make failover`: one topology, a few failures, the same count."""

import random
from pathlib import Path

import uvloop

from tests.failover.faults import CLUSTER_FAILED_OVER, FROZEN
from tests.failover.report import Report
from tests.failover.run import Wanted, run
from tests.faults.system import SETTINGS

RATE = 300.0  # a second: they share the machine with other tests
FEW = (FROZEN, CLUSTER_FAILED_OVER)


def test_nothing_acknowledged_is_lost_doubled_or_wrong_when_a_primary_is_replaced(tmp_path: Path) -> None:
    wanted = Wanted(random.randrange(10**6), rate=RATE, topologies=("cluster",), only=FEW, settings=SETTINGS)
    report = Report(wanted, uvloop.run(run(wanted, tmp_path)))
    assert report.kept, report.summary()
    assert all(each.accepted > 0.9 * len(each.answers) for each in report.measured), report.summary()
