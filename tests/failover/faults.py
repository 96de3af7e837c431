"""The faults of each topology: each is a coroutine that does its harm and takes it back, and returns once every server
has its place again."""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from tests.conftest import wait_until
from tests.failover.cluster import Cluster
from tests.failover.node import Node
from tests.failover.part import Replicated
from tests.failover.postgres import Postgres
from tests.failover.sentinel import Sentinel
from tests.faults.process import Process
from tests.faults.system import until

RESTART_SECONDS = 1.0  # from the end of a process of Callbox until it is started again
AWAY_SECONDS = 2.0  # a server that was killed stays away for so long after another one has its place
CUT_SECONDS = 4.0  # a primary is cut off for so long after another one has its place
PAUSE_MILLISECONDS = 3000
SYNCHRONOUS_SECONDS = 3.0  # for so long commits wait for a standby that is gone

KILLED = "the primary is killed"
FROZEN = "the primary is frozen"
CUT_OFF = "the primary is cut off from the other servers, not from clients"
UNREAD = f"{CUT_OFF}, while no worker runs"
DISK_LOST = "the primary is killed and loses its disk"
COORDINATED = "the primary is demoted by SENTINEL FAILOVER COORDINATED"
# For a second the old primary goes on, and the other replica confirms what both throw away then.
FAILED_OVER = "the primary is demoted by a plain SENTINEL FAILOVER, while no worker runs"
REPLICATED = "the primary is demoted by REPLICAOF, and Sentinels hear of it later"
CLUSTER_FAILED_OVER = "the primary is demoted by CLUSTER FAILOVER"
PROMOTED = "PostgreSQL is killed, its standby promoted"
STANDBY_BACK = "the synchronous standby is killed and comes back"
STANDBY_DROPPED = "the synchronous standby is killed and dropped from the settings"
OF_REDIS = (KILLED, FROZEN, CUT_OFF, UNREAD, DISK_LOST)
FAULTS = {  # by topology, the names
    "sentinel": (*OF_REDIS, COORDINATED, FAILED_OVER, REPLICATED),
    "cluster": (*OF_REDIS, CLUSTER_FAILED_OVER),
    "postgres": (PROMOTED, STANDBY_BACK, STANDBY_DROPPED),
}


class Fault(NamedTuple):
    """`do` returns how many seconds it took until there was another primary; None where no other one is needed."""

    name: str
    do: Callable[[], Awaitable[float | None]]


def together(fault: Fault, process: Process, dice: random.Random) -> Fault:
    """The fault, and a process that is killed at some time near its beginning."""

    async def kill() -> None:
        await asyncio.sleep(dice.uniform(0, 2 * AWAY_SECONDS))
        process.kill()
        await asyncio.sleep(RESTART_SECONDS)
        process.start()

    async def both() -> float | None:
        seconds, _ = await asyncio.gather(fault.do(), kill())
        return seconds

    return Fault(f"{fault.name}, and kill -9 {process.name}", both)


class RedisFaults:
    """Those that a topology of Sentinels and a Cluster have in common."""

    def __init__(self, topology: Replicated, workers: Sequence[Process]) -> None:
        self._topology = topology
        self._workers = workers

    def all(self) -> Iterator[Fault]:
        yield Fault(KILLED, self._kill)
        yield Fault(FROZEN, self._freeze)
        yield Fault(CUT_OFF, self._cut_off)
        yield Fault(UNREAD, partial(self._unread, self._cut_off))
        yield Fault(DISK_LOST, self._lose_disk)

    async def _kill(self) -> float:
        old, seconds = await self._replace(Node.kill)
        await asyncio.sleep(AWAY_SECONDS)
        old.start()
        await self._whole()
        return seconds

    async def _freeze(self) -> float:
        old, seconds = await self._replace(lambda primary: primary.signal(signal.SIGSTOP))
        await asyncio.sleep(AWAY_SECONDS)
        old.signal(signal.SIGCONT)
        await self._whole()
        return seconds

    async def _cut_off(self) -> float:
        _, seconds = await self._replace(lambda primary: self._topology.network.cut_off(primary.number))
        await asyncio.sleep(CUT_SECONDS)
        self._topology.network.heal()
        await self._whole()
        return seconds

    async def _unread(self, do: Callable[[], Awaitable[float]]) -> float:
        """The same while the workers are frozen: what is on its way to replicas is not in PostgreSQL either."""
        for worker in self._workers:
            worker.signal(signal.SIGSTOP)
        try:
            return await do()
        finally:
            for worker in self._workers:
                worker.signal(signal.SIGCONT)

    async def _lose_disk(self) -> float:
        old, seconds = await self._replace(Node.kill)
        await asyncio.sleep(AWAY_SECONDS)
        old.lose_disk()
        old.start()
        await until(lambda: old.role, old.name)
        await asyncio.to_thread(self._topology.take_back, old)
        await self._whole()
        return seconds

    async def _replace(self, harm: Callable[[Node], None]) -> tuple[Node, float]:
        """Harms the primary until there is another one: the old one, and after how many seconds it was replaced."""
        old = await asyncio.to_thread(self._topology.primary)
        assert old is not None, "nobody is the primary"
        began = time.monotonic()
        await asyncio.to_thread(harm, old)
        await until(lambda: self._topology.primary() not in (None, old), "another primary", poll_seconds=0.1)
        return old, time.monotonic() - began

    async def _whole(self) -> None:
        await until(self._topology.is_whole, "every server in its place", poll_seconds=0.5)


class SentinelFaults(RedisFaults):
    """And those of Sentinels alone."""

    def __init__(self, topology: Sentinel, workers: Sequence[Process]) -> None:
        super().__init__(topology, workers)
        self._sentinel = topology

    def all(self) -> Iterator[Fault]:
        yield from super().all()
        yield Fault(COORDINATED, partial(self._fail_over, "COORDINATED"))
        yield Fault(FAILED_OVER, partial(self._unread, self._fail_over))
        yield Fault(REPLICATED, self._replicate)

    async def _fail_over(self, *options: str) -> float:
        _, seconds = await self._replace(lambda primary: self._sentinel.fail_over(*options))
        await self._whole()
        return seconds

    async def _replicate(self) -> float:
        _, seconds = await self._replace(self._move)
        await self._whole()
        return seconds

    def _move(self, old: Node) -> None:
        """As a careful operator does: no write while the new one takes what it misses."""
        new, other = (node for node in self._sentinel.nodes if node is not old)
        old.ask("CLIENT", "PAUSE", PAUSE_MILLISECONDS, "WRITE")
        wait_until(lambda: new.offset == old.offset, "a replica that has everything")
        new.ask("REPLICAOF", "NO", "ONE")
        for node in (old, other):
            node.ask("REPLICAOF", *new.known)
        old.ask("CLIENT", "UNPAUSE")
        time.sleep(AWAY_SECONDS)  # while all Sentinels name one that takes no writes
        self._sentinel.watch(new)


class ClusterFaults(RedisFaults):
    """And those of a Cluster alone. Each aims at one of its shards."""

    def __init__(self, topology: Cluster, workers: Sequence[Process], dice: random.Random) -> None:
        super().__init__(topology, workers)
        self._cluster = topology
        self._dice = dice

    def all(self) -> Iterator[Fault]:
        for name, do in (*super().all(), Fault(CLUSTER_FAILED_OVER, self._fail_over)):
            yield Fault(name, partial(self._aimed, do))

    async def _aimed(self, do: Callable[[], Awaitable[float | None]]) -> float | None:
        self._cluster.aim(self._dice)
        return await do()

    async def _fail_over(self) -> float:
        _, seconds = await self._replace(lambda primary: self._cluster.replica(primary).fail_over())
        await self._whole()
        return seconds


class PostgresFaults:
    """Those of a primary with a synchronous standby."""

    def __init__(self, topology: Postgres) -> None:
        self._topology = topology

    def all(self) -> Iterator[Fault]:
        yield Fault(PROMOTED, self._promote)
        yield Fault(STANDBY_BACK, self._standby_comes_back)
        yield Fault(STANDBY_DROPPED, self._standby_is_dropped)

    async def _whole(self) -> None:
        await until(self._topology.is_whole, "a primary with its standby", poll_seconds=0.5)

    async def _promote(self) -> float:
        old, new = await self._topology.roles()
        began = time.monotonic()
        old.kill()
        await asyncio.sleep(AWAY_SECONDS)
        await asyncio.to_thread(new.promote)
        seconds = time.monotonic() - began
        await asyncio.sleep(AWAY_SECONDS)
        await self._topology.follow(old, new)
        await self._whole()
        return seconds

    async def _standby_comes_back(self) -> None:
        _, standby = await self._topology.roles()
        standby.kill()
        await asyncio.sleep(SYNCHRONOUS_SECONDS)
        standby.start()
        await self._whole()

    async def _standby_is_dropped(self) -> None:
        primary, standby = await self._topology.roles()
        standby.kill()
        await asyncio.sleep(SYNCHRONOUS_SECONDS)
        primary.wait_for_standby(False)
        await asyncio.sleep(AWAY_SECONDS)
        standby.start()
        primary.wait_for_standby(True)
        await self._whole()
