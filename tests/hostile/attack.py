"""An attack in progress: what a hostile client may use. Runs in a process of its own, beside the honest traffic's."""

import asyncio
import random
import resource
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import uvloop

from deploy.local import simulator
from shared import config
from shared.callback import Request
from shared.providers import PROVIDERS
from tests.hostile import clients
from tests.hostile.client import Client, all_answered
from tests.hostile.got import Got
from tests.hostile.peer import Closed, Peer, connect
from tests.hostile.system import ATTACKERS

PAUSE_SECONDS = 0.05  # before a connection that was closed is made again
FLOOD_PAUSE_SECONDS = 0.001
FIRST_SECONDS = 20.0  # longest wait for a first answer, beyond the time of the attack
IN_FLIGHT = 1000  # of what is started at a rate
CONNECTING = 200  # at once


class Target(NamedTuple):
    """Where the system listens, and the file of its sources."""

    port: int
    configuration: Path


class Attack:
    """What one client needs: connections from its addresses, requests, a clock."""

    def __init__(self, target: Target, client: Client, seconds: float, seed: str) -> None:
        self._port = target.port
        self._client = client
        self._ends = time.monotonic() + seconds
        self._peers: list[Peer] = []
        self._connecting = asyncio.Semaphore(CONNECTING)
        self._turn = 0
        self.seconds = seconds
        self.sources = config.load(target.configuration, {}, PROVIDERS).sources
        self.dice = random.Random(seed)
        self.got = Got(client.limit_bytes)

    async def open(self, reads: bool = True, receive_bytes: int = 0, address: str = "") -> Peer:
        """A new connection, from the client's addresses in turn. Raises OSError."""
        self._turn += 1
        address = address or self._client.addresses[self._turn % len(self._client.addresses)]
        try:
            async with self._connecting:
                peer = await connect(self.got, self._port, address, reads, receive_bytes)
        except (OSError, TimeoutError):
            self.got.count("refused")
            raise Closed from None
        self._peers.append(peer)
        return peer

    async def each(self, count: int, one: Callable[[], Awaitable[None]], pause_seconds: float = PAUSE_SECONDS) -> None:
        """Does it `count` times at once, and again whenever it ends, until the time is over."""

        async def again() -> None:
            while True:
                with suppress(OSError):
                    await one()
                await asyncio.sleep(pause_seconds)

        await asyncio.gather(*(again() for _ in range(count)))

    async def rate(self, per_second: float, one: Callable[[], Awaitable[None]]) -> None:
        """Begins it `per_second` times a second, until the time is over."""
        running: set[asyncio.Task[None]] = set()

        async def once() -> None:
            with suppress(OSError):
                await one()

        began, number = time.monotonic(), 0
        try:
            while True:
                for _ in range(int((time.monotonic() - began) * per_second) - number):
                    number += 1
                    if len(running) < IN_FLIGHT:
                        task = asyncio.create_task(once())
                        running.add(task)
                        task.add_done_callback(running.discard)
                await asyncio.sleep(0.005)
        finally:
            for task in running:
                task.cancel()

    async def flood(self, requests: Iterator[bytes], per_second: float | None, connections: int = 16) -> None:
        """Requests over open connections, each answered before the next; the connection is made again when it ends."""
        due = self._due(per_second)

        async def one() -> None:
            peer = await self.open()
            try:
                while True:
                    await due()
                    await peer.send(next(requests))
                    self.got.requests += 1
                    await peer.answered(peer.answers + 1)
            finally:
                peer.close()

        await self.each(connections, one, pause_seconds=FLOOD_PAUSE_SECONDS)

    def _due(self, per_second: float | None) -> Callable[[], Awaitable[None]]:
        began, number = time.monotonic(), 0

        async def due() -> None:
            nonlocal number
            number += 1
            if per_second is not None:
                await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))

        return due

    def request(self, source: str, kind: simulator.Kind = "mo") -> Request:
        """A callback that its provider would send, signed where the provider signs."""
        return simulator.request(self.sources[source], simulator.event(kind, datetime.now(UTC), self.dice))

    async def run(self) -> Got:
        """Runs the client until its time is over, and ends its connections. One whose requests are to be answered goes
        on until the first of them was: its time may be too short for that on a busy machine."""
        running = asyncio.ensure_future(self._client.run(self))
        await asyncio.wait([running], timeout=self._ends - time.monotonic())
        while not running.done() and self._awaits_its_first() and time.monotonic() < self._ends + FIRST_SECONDS:
            await asyncio.wait([running], timeout=0.1)
        running.cancel()
        await asyncio.wait([running])
        if not running.cancelled() and (error := running.exception()):
            self.got.error = f"{type(error).__name__}: {error}"
        for peer in self._peers:
            if not peer.ended:
                self.got.count("open at the end")
                peer.reset()
                await peer.closed()
        return self.got

    def _awaits_its_first(self) -> bool:
        return self._client.expect is all_answered and not self.got.requests


def run(target: Target, names: Sequence[str], seconds: float, seed: int) -> dict[str, Got]:
    """Runs the clients of these names together; called in the process of the attackers."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    async def all_of_them() -> Iterable[Got]:
        together = [_apart(clients.CLIENTS[name], number) for number, name in enumerate(names)]
        attacks = [Attack(target, client, seconds, f"{seed} {client.name}") for client in together]
        return await asyncio.gather(*(attack.run() for attack in attacks))

    return dict(zip(names, uvloop.run(all_of_them()), strict=True))


def _apart(client: Client, number: int) -> Client:
    """The client with an address of its own, unless it needs another one: limits for each address count apart."""
    return client if client.addresses != ATTACKERS[:1] else replace(client, addresses=[f"127.0.1.{number + 1}"])
