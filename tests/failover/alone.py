"""One Redis without replicas: the broker beside a Cluster, and the inbox where only PostgreSQL fails over."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import redis

from deploy.local import servers
from tests.failover.node import PASSWORD
from tests.faults.process import Process
from tests.faults.system import Server, until


class Alone:
    """`variables` are those by which Callbox finds it."""

    def __init__(self, folder: Path, name: str, *variables: str) -> None:
        self._server = servers.Redis(folder / name, PASSWORD)
        self._process = Server(name, self._server, folder / f"{name}.log")
        self._variables = variables

    @property
    def processes(self) -> Sequence[Process]:
        return [self._process]

    @property
    def environment(self) -> Mapping[str, str]:
        return dict.fromkeys(self._variables, self._server.url)

    async def start(self) -> None:
        self._process.start()
        await until(self.is_whole, self._process.name)

    async def stop(self) -> None:
        self._process.end()

    def is_whole(self) -> bool:
        with suppress(redis.RedisError), redis.Redis.from_url(self._server.url) as connected:
            return bool(connected.ping())
        return False
