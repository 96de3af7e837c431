"""A Redis with a folder, an address and a relay of its own: one node of a topology."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.local import servers
from tests.failover.network import Address, Network, free_address, known_host, own_host
from tests.faults.process import Process

PASSWORD = "pw"
ANSWER_SECONDS = 1.0


class Node(Process):
    """Number n of its topology, with production's settings."""

    def __init__(self, number: int, folder: Path) -> None:
        super().__init__(f"redis {number}", self._words, folder / f"redis-{number}.log")
        self.number = number
        self.own = free_address(own_host(number))
        self.known = free_address(known_host(number))
        self._data = folder / f"redis-{number}"
        self._prepare()

    @property
    def binary(self) -> str:
        """The program, which is also that of a Sentinel."""
        return self._words()[0]

    def link(self, network: Network) -> None:
        """Makes it known to others."""
        network.link(self.number, self.own, self.known)

    def lose_disk(self) -> None:
        """Nothing of it is left but the configuration that it began with."""
        shutil.rmtree(self._data)
        self._prepare()

    def client(self) -> redis.Redis:
        """Straight to it, past the relay."""
        return client(self.own, PASSWORD)

    def ask(self, *words: object) -> Any:
        """What it answers to a command. Raises redis.RedisError."""
        with self.client() as connected:
            return connected.execute_command(*words)

    @property
    def role(self) -> str:
        """`master` or `slave`; nothing while it does not answer."""
        return str(self.replication().get("role", ""))

    @property
    def offset(self) -> int:
        """How much of the stream of writes it has; -1 while it does not answer."""
        return int(self.replication().get("master_repl_offset", -1))

    def replication(self) -> dict[str, Any]:
        """What it says about that; empty while it does not answer."""
        try:
            with self.client() as connected:
                found: dict[str, Any] = connected.info("replication")
                return found
        except redis.RedisError:
            return {}

    def follows(self, primary: "Node") -> bool:
        """Whether it is a replica of that one, and has received what that one had."""
        seen = self.replication()
        return (
            (seen.get("role"), seen.get("master_link_status")) == ("slave", "up")
            and (seen.get("master_host"), seen.get("master_port")) == primary.known
            and not seen.get("master_sync_in_progress")
        )

    def _words(self) -> list[str]:
        return self._server.command()

    def _prepare(self) -> None:
        self._server = servers.Redis(self._data, PASSWORD, self.own.port)
        with (self._data / "redis.conf").open("a") as file:
            file.writelines(f"{line}\n" for line in self._settings())

    def _settings(self) -> Iterator[str]:
        """Further lines of redis.conf."""
        yield f"bind {self.own.host}"
        yield f"bind-source-addr {self.own.host}"
        yield f"masterauth {PASSWORD}"
        yield f"replica-announce-ip {self.known.host}"
        yield f"replica-announce-port {self.known.port}"
        yield "repl-diskless-sync-delay 0"


def client(address: Address, password: str) -> redis.Redis:
    """A client that answers or fails at once."""
    return redis.Redis(
        host=address.host,
        port=address.port,
        password=password,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )
