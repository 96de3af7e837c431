"""Two checks that need a system of their own: a stop while clients never read, and an ingress with few descriptors."""

import asyncio
import os
import random
import re
import resource
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from deploy.local import simulator
from shared.providers import PROVIDERS
from tests.hostile import framing
from tests.hostile.got import Got
from tests.hostile.peer import Closed, Peer, connect
from tests.hostile.pipelines import BURST_BYTES, SMALL_BUFFER
from tests.hostile.system import ATTACKERS, HONEST, System, honest_source
from tests.load.client import encode
from tests.pipeline.conftest import alive

STOP_SECONDS = 20.0
READERS = 6  # clients that never read
DESCRIPTORS = 256
CONNECTIONS = 330
CROWD_SECONDS = 2.0  # for all of them to be taken or closed
HONEST_CONNECTIONS = 10
HONEST_SECONDS = 5.0  # for an honest callback to be answered
AGAIN_SECONDS = 20.0  # for the ingress to serve new connections once the others are gone
_SPEAKS_OF_IT = re.compile(rb"connection|descriptor", re.IGNORECASE)
_COUNTS_IT = re.compile(r"^(callbox_\w*connection\w*)(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)


@dataclass
class Check:
    """What one check found. `misses` is empty when all is well."""

    name: str
    sentence: str
    seen: list[str] = field(default_factory=list)
    misses: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)  # of what was acknowledged

    def expect(self, is_met: bool, said: str) -> None:
        (self.seen if is_met else self.misses).append(said)

    def line(self) -> str:
        return f"{self.name} | {'; '.join(self.seen)} | {'; '.join(self.misses) or 'ok'}"


class _Honest:
    """Open connections that send a callback each when asked."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._got = Got(10**9)
        self._peers: list[Peer] = []

    async def open(self, count: int) -> None:
        self._peers += [await connect(self._got, self._system.port, HONEST) for _ in range(count)]

    async def accepted(self) -> int:
        """How many of the connections get a callback accepted now."""
        return sum(await asyncio.gather(*(self._one(peer) for peer in self._peers)))

    async def _one(self, peer: Peer) -> int:
        source = self._system.up.sources[honest_source(random.choice(list(PROVIDERS)))]
        before = peer.answers
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(HONEST_SECONDS):
                await peer.send(
                    encode(simulator.request(source, simulator.event("mo", datetime.now(UTC), random.Random())))
                )
                await peer.answered(before + 1)
                return 1
        return 0

    async def close(self) -> None:
        for peer in self._peers:
            peer.close()
            await peer.closed()

    @property
    def ids(self) -> list[str]:
        return self._got.ids


async def stop(system: System) -> Check:
    """SIGTERM to every ingress while clients do not read."""
    check = Check("stop", f"SIGTERM to the ingress while {READERS} clients have sent much and read nothing.")
    got, burst = Got(10**9), framing.head("GET", "/nobody")
    readers = [
        await connect(got, system.port, ATTACKERS[0], reads=False, receive_bytes=SMALL_BUFFER) for _ in range(READERS)
    ]
    for reader in readers:
        with suppress(TimeoutError, Closed):
            async with asyncio.timeout(2):
                for _ in range(20):
                    await reader.send(burst * (BURST_BYTES // len(burst)))
    honest = _Honest(system)
    await honest.open(1)
    accepted = await honest.accepted()
    check.expect(accepted == 1, f"{accepted} of 1 honest callbacks accepted before")
    before, began = system.ingresses(), time.monotonic()
    for pid in before.values():
        os.kill(pid, signal.SIGTERM)
    ended = await _within(STOP_SECONDS, lambda: not any(map(alive, before.values())))
    took = f"after {time.monotonic() - began:.1f} s"
    check.expect(ended, f"ended {took}" if ended else f"not ended {took}")
    for reader in readers:
        reader.reset()
    await _within(STOP_SECONDS, lambda: not before.items() & system.ingresses().items())
    await honest.close()
    check.ids = honest.ids
    return check


async def few_descriptors(system: System) -> Check:
    """More connections than the ingress may have descriptors."""
    check = Check(
        "few descriptors", f"{CONNECTIONS} connections to an ingress that may open {DESCRIPTORS} files (RLIMIT_NOFILE)."
    )
    limits = (DESCRIPTORS, DESCRIPTORS)
    resource.prlimit(system.up.process.pid, resource.RLIMIT_NOFILE, limits)  # of `up`: the ingress is its child
    places = system.log_places()  # each process says it once a minute
    await asyncio.to_thread(system.renew)
    counted = _counts(system.metrics())
    honest = _Honest(system)
    await honest.open(HONEST_CONNECTIONS)
    check.expect(await honest.accepted() == HONEST_CONNECTIONS, "all open connections served before")
    got = Got(10**9)
    count = CONNECTIONS * len(system.ingresses())
    crowd = [peer async for peer in _crowd(system, got, count)]
    await _within(CROWD_SECONDS, lambda: len(system.connections()) + sum(peer.ended for peer in crowd) >= len(crowd))
    accepted = await honest.accepted()
    all_open = accepted == HONEST_CONNECTIONS
    check.expect(all_open, f"{accepted} of {HONEST_CONNECTIONS} open connections served during")
    check.seen.append(f"{sum(not peer.ended for peer in crowd)} of {count} connections stay")
    for peer in crowd:
        peer.reset()
    again = _Honest(system)
    served = await _served_again(again)
    check.expect(served, f"a new connection is {'' if served else 'not '}served once they are gone")
    lines = [line for line in system.log_since(places).splitlines() if _SPEAKS_OF_IT.search(line)]
    check.expect(bool(lines), f"{len(lines)} lines of the log show it")
    risen = [name for name, value in _counts(system.metrics()).items() if value > counted.get(name, 0.0)]
    check.expect(bool(risen), f"counted by {', '.join(risen)}" if risen else "no metric counts it")
    await honest.close()
    await again.close()
    check.ids = [*honest.ids, *again.ids]
    return check


async def _crowd(system: System, got: Got, count: int) -> AsyncIterator[Peer]:
    for number in range(count):
        with suppress(OSError):
            yield await connect(got, system.port, ATTACKERS[number % len(ATTACKERS)])


async def _served_again(honest: _Honest) -> bool:
    ends = time.monotonic() + AGAIN_SECONDS
    while time.monotonic() < ends:
        with suppress(OSError):
            await honest.open(1)
            if await honest.accepted():
                return True
    return False


async def _within(seconds: float, true: Callable[[], bool]) -> bool:
    ends = time.monotonic() + seconds
    while not true():
        if time.monotonic() > ends:
            return False
        await asyncio.sleep(0.05)
    return True


def _counts(metrics: str) -> dict[str, float]:
    """By metric, over all of its labels."""
    counts: defaultdict[str, float] = defaultdict(float)
    for name, value in _COUNTS_IT.findall(metrics):
        counts[name] += float(value)
    return counts


Run = Callable[[System], Coroutine[Any, Any, Check]]
CHECKS: tuple[Run, ...] = (stop, few_descriptors)
