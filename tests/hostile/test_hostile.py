"""The short form of `make hostile`: all clients, several at once, a few thousand requests of the fuzzer, and the count.

Latency is not judged here, where several clients attack at once and other tests may run beside.
"""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.hostile import count, instances
from tests.hostile.clients import CLIENTS
from tests.hostile.fuzz import Kept
from tests.hostile.measure import Measure
from tests.hostile.system import System

SECONDS = 1.5
REQUESTS = 3000
TOGETHER = 9
AFTER_SECONDS = 0.2  # memory that is not back by then is waited for
# No attack here lasts long enough to show these deadlines. Shorter ones pass while the attackers, nine in one process,
# wait for a busy machine: between a connection and its request, or between two requests.
PATIENT = {"CALLBOX_HEAD_SECONDS": "15", "CALLBOX_BODY_SECONDS": "15", "CALLBOX_IDLE_SECONDS": "60"}
# Those that do the same work are far apart in the list: each group has some of every kind.
GROUPS = [list(CLIENTS)[first :: -(-len(CLIENTS) // TOGETHER)] for first in range(-(-len(CLIENTS) // TOGETHER))]


class Scene(NamedTuple):
    """The system, what measures it, and what the fuzzer had accepted."""

    system: System
    measure: Measure
    fuzzed: dict[str, Kept]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    system = System(tmp_path_factory.mktemp("hostile") / "clients", environment=PATIENT, is_forked=True)
    try:
        system.wait_ready()
        measure = Measure(system, random.randrange(10**6))
        try:
            asyncio.run(measure.warm_up())
            yield Scene(system, measure, {})
        finally:
            measure.close()
    finally:
        system.stop()


@pytest.mark.parametrize("names", GROUPS, ids=range(1, len(GROUPS) + 1))
def test_hostile_clients_cost_nothing(scene: Scene, names: list[str]) -> None:
    row = asyncio.run(scene.measure.clients(names, SECONDS, AFTER_SECONDS, AFTER_SECONDS))
    if row.keeps() or row.ended:
        scene.system.renew()
    assert [miss for miss in row.misses() if miss not in row.slow()] == [], row.line()


def test_whatever_is_accepted_was_proven(scene: Scene, tmp_path: Path) -> None:
    row, found = asyncio.run(scene.measure.fuzzer(range(REQUESTS), AFTER_SECONDS, tmp_path, AFTER_SECONDS))
    scene.fuzzed.update(found.accepted)
    assert found.findings == [], found.kinds
    assert [miss for miss in row.misses() if miss not in row.slow()] == [], row.line()
    assert len(found.accepted) > REQUESTS / 4, "the mutations are too rough to reach the parsers"


@pytest.mark.parametrize("check", instances.CHECKS, ids=lambda check: check.__name__)
def test_of_one_process(scene: Scene, check: instances.Run) -> None:
    found = asyncio.run(check(scene.system))
    scene.measure.ids.extend(found.ids)
    assert found.misses == []


def test_nothing_is_lost(scene: Scene) -> None:
    found = count.count(scene.system, scene.measure.ids, scene.fuzzed)
    assert found.wrong == []
    assert found.acknowledged
