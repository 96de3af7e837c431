"""The short form of `make faults`: the same load, a few faults, the same count. And the count shows what is broken."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.faults.run import BROKEN, run
from tests.pipeline import cluster

RATE = 400.0  # a second: they share the machine with other tests
BROKEN_RATE = 200.0  # enough for every broken promise to lose something
FEW = (
    "kill -9 ingress-1",
    "kill -9 a worker's child",
    "kill -9 redis",
    "cut 20 connections in the middle of a COMMIT",
    "damage one stream entry",
)
KILLS = ("kill -9 ingress-1", "kill -9 a worker's child")


def test_nothing_acknowledged_is_lost_doubled_or_wrong_while_things_break(tmp_path: Path) -> None:
    cluster.copy_to(tmp_path)
    report = asyncio.run(run(tmp_path, random.randrange(10**6), RATE, FEW, is_forked=True))
    assert report.accepted > 0.9 * report.sent
    assert report.kept, report.summary()


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_promise_is_seen(tmp_path: Path, broken: str) -> None:
    cluster.copy_to(tmp_path)
    report = asyncio.run(run(tmp_path, 1, BROKEN_RATE, KILLS, broken=broken, is_forked=True))
    assert report.verdict["wrong" if broken == BROKEN[0] else "lost"], report.summary()
