"""Watches the ingresses during an attack: their memory, and how long each connection of an attacker stays open."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.hostile.system import Connection, System, rss_bytes

SAMPLE_SECONDS = 0.05  # between two looks at the memory
CONNECTIONS_SECONDS = 0.5


class Watch:
    """Samples of one row, between `begin` and `end`."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._pids = system.ingresses()
        self._honest = set(system.connections())
        self._since: dict[Connection, float] = {}
        self.before = self.memory()
        self.highest = dict(self.before)
        self.most_connections = 0
        self.longest_seconds = 0.0  # that a connection of an attacker was open

    def memory(self) -> dict[str, int]:
        """Bytes of each ingress process; 0 of one that is gone."""
        return {name: rss_bytes(pid) for name, pid in self._pids.items()}

    def has_ended(self) -> list[str]:
        """The ingress processes that ended during the watch."""
        now = self._system.ingresses()
        return [name for name, pid in self._pids.items() if now.get(name) != pid]

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Samples while the block runs."""
        tasks = [asyncio.ensure_future(self._sample_memory()), asyncio.ensure_future(self._sample_connections())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()

    async def _sample_memory(self) -> None:
        while True:
            for name, now in self.memory().items():
                self.highest[name] = max(self.highest[name], now)
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _sample_connections(self) -> None:
        while True:
            now = time.monotonic()
            there = set(await asyncio.to_thread(self._system.connections)) - self._honest
            self._since = {connection: self._since.get(connection, now) for connection in there}
            self.most_connections = max(self.most_connections, len(there))
            if self._since:
                self.longest_seconds = max(self.longest_seconds, now - min(self._since.values()))
            await asyncio.sleep(CONNECTIONS_SECONDS)
