"""The topologies by name: Callbox over each of them, and what can happen to it."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.failover.alone import Alone
from tests.failover.cluster import Cluster
from tests.failover.faults import CUT_OFF, ClusterFaults, Fault, PostgresFaults, SentinelFaults, unread
from tests.failover.part import Part
from tests.failover.postgres import Postgres
from tests.failover.sentinel import Sentinel
from tests.failover.system import System

TOPOLOGIES = ("sentinel", "cluster", "postgres")
REDIS, BROKER = "CALLBOX_REDIS_URL", "CALLBOX_BROKER_URL"
WAIT = "CALLBOX_REDIS_WAIT_REPLICAS"


class Topology(NamedTuple):
    """Callbox over one of them, and the faults by name, in their order."""

    system: System
    faults: Mapping[str, Fault]


def build(name: str, folder: Path, settings: Mapping[str, str], dice: random.Random, is_broken: bool) -> Topology:
    """Starts nothing yet. The faults make their choices by `dice`."""
    folder.mkdir(parents=True, exist_ok=True)
    postgres = Postgres(folder, with_standby=name == "postgres")
    parts: list[Part]
    if name == "sentinel":
        parts = [sentinel := Sentinel(folder)]
        faults = SentinelFaults(sentinel).all()
    elif name == "cluster":
        parts = [cluster := Cluster(folder), Alone(folder, "broker", BROKER)]
        faults = ClusterFaults(cluster, dice).all()
    else:
        parts = [Alone(folder, "redis", REDIS)]
        faults = PostgresFaults(postgres).all()
        settings = {name: value for name, value in settings.items() if name != WAIT}  # it has no replica
    system = System(folder, parts, postgres, settings, is_broken)
    found = {fault.name: fault for fault in faults}
    if CUT_OFF in found:
        while_unread = unread(found[CUT_OFF], system.workers)
        found[while_unread.name] = while_unread
    return Topology(system, found)
