"""The topologies by name: Callbox over each of them, and what can happen to it."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.failover.alone import Alone
from tests.failover.cluster import Cluster
from tests.failover.faults import FAULTS, ClusterFaults, Fault, PostgresFaults, SentinelFaults
from tests.failover.postgres import Postgres
from tests.failover.sentinel import Sentinel
from tests.failover.system import System

TOPOLOGIES = tuple(FAULTS)
SHARDS = (1, 3)  # of the inbox, on a Cluster
REDIS, BROKER = "CALLBOX_REDIS_URL", "CALLBOX_BROKER_URL"
WAIT = "CALLBOX_REDIS_WAIT_REPLICAS"


class Topology(NamedTuple):
    """Callbox over one of them, and the faults by name, in their order."""

    system: System
    faults: Mapping[str, Fault]
    note: str  # what distinguishes this one of its name


def build(name: str, folder: Path, settings: Mapping[str, str], dice: random.Random, is_broken: bool) -> Topology:
    """Starts nothing yet. The faults make their choices by `dice`."""
    folder.mkdir(parents=True, exist_ok=True)
    postgres = Postgres(folder, with_standby=name == "postgres")
    note = ""
    if name == "sentinel":
        sentinel = Sentinel(folder)
        system = System(folder, [sentinel], postgres, settings, is_broken)
        faults = SentinelFaults(sentinel, system.workers).all()
    elif name == "cluster":
        shards = dice.choice(SHARDS)
        note = "" if shards > 1 else " (one shard)"
        cluster = Cluster(folder, shards)
        system = System(folder, [cluster, Alone(folder, "broker", BROKER)], postgres, settings, is_broken)
        faults = ClusterFaults(cluster, system.workers, dice).all()
    else:
        settings = {name: value for name, value in settings.items() if name != WAIT}  # its Redis has no replica
        system = System(folder, [Alone(folder, "redis", REDIS)], postgres, settings, is_broken)
        faults = PostgresFaults(postgres).all()
    return Topology(system, {fault.name: fault for fault in faults}, note)
