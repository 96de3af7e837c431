"""A primary and two replicas, watched by three Sentinels."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import redis

from tests.failover.network import Address, free_address, watching_host
from tests.failover.node import PASSWORD, Node, client
from tests.failover.part import Replicated
from tests.faults.process import Process
from tests.faults.system import until

MASTER = "callbox"
QUORUM = 2
SENTINEL_PASSWORD = "sentinel-pw"
OPTIONS = {
    "auth-pass": PASSWORD,
    "down-after-milliseconds": "2000",
    "failover-timeout": "6000",
    "parallel-syncs": "2",
}
REPLICAS, WATCHERS = 2, 3
LAG_SECONDS = 3
# Between two questions to a replica. With Sentinel's 10 s what it knows is often too old to choose one, and then it
# begins anew only after two times of `failover-timeout`.
INFO_MILLISECONDS = 1000


class Watcher(Process):
    """One Sentinel. It keeps what it knows in its configuration."""

    def __init__(self, number: int, folder: Path, binary: str, primary: Address) -> None:
        self.address = free_address(watching_host(number))
        own = folder / f"sentinel-{number}"
        own.mkdir()
        self._config = own / "sentinel.conf"
        super().__init__(
            f"sentinel {number}", lambda: [binary, str(self._config), "--sentinel"], folder / f"sentinel-{number}.log"
        )
        self._config.write_text(
            f"bind {self.address.host}\nbind-source-addr {self.address.host}\nport {self.address.port}\n"
            f'dir "{own}"\nrequirepass {SENTINEL_PASSWORD}\n'
            f"sentinel monitor {MASTER} {primary.host} {primary.port} {QUORUM}\n"
            + "".join(f"sentinel {name} {MASTER} {value}\n" for name, value in OPTIONS.items())
        )

    def ask(self, *words: object) -> Any:
        """What it answers to a command. Raises redis.RedisError."""
        with client(self.address, SENTINEL_PASSWORD) as connected:
            return connected.execute_command(*words)

    def monitor(self, primary: Address) -> None:
        self.ask("SENTINEL", "MONITOR", MASTER, *primary, QUORUM)
        for name, value in OPTIONS.items():
            self.ask("SENTINEL", "SET", MASTER, name, value)

    def named(self) -> Address | None:
        """The primary, as it answers clients."""
        try:
            host, port = self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
            return Address(host, int(port))
        except (redis.RedisError, TypeError):
            return None


class SentinelNode(Node):
    """A node that takes no writes once it has lost its replicas: another one may have been elected then."""

    def _settings(self) -> Iterator[str]:
        yield from super()._settings()
        yield "min-replicas-to-write 1"
        yield f"min-replicas-max-lag {LAG_SECONDS}"


class Sentinel(Replicated):
    """The topology."""

    def __init__(self, folder: Path) -> None:
        super().__init__([SentinelNode(number, folder) for number in range(1, REPLICAS + 2)])
        first = self.nodes[0]
        self.watchers = [Watcher(number, folder, first.binary, first.known) for number in range(1, WATCHERS + 1)]

    @property
    def processes(self) -> Sequence[Process]:
        return [*self.watchers, *self.nodes]

    @property
    def environment(self) -> Mapping[str, str]:
        hosts = ",".join(str(watcher.address) for watcher in self.watchers)
        parameters = f"sentinel_password={SENTINEL_PASSWORD}"
        return {"CALLBOX_REDIS_URL": f"redis+sentinel://:{PASSWORD}@{hosts}/{MASTER}/0?{parameters}"}

    async def start(self) -> None:
        await self._start_nodes()
        first, *others = self.nodes
        for node in others:
            node.ask("REPLICAOF", *first.known)
        for watcher in self.watchers:
            watcher.start()
        await until(lambda: all(watcher.named() for watcher in self.watchers), "the Sentinels")
        for watcher in self.watchers:
            watcher.ask("SENTINEL", "DEBUG", "INFO-PERIOD", INFO_MILLISECONDS)
        await until(self.is_whole, "a primary with two replicas and three Sentinels")

    def primary(self) -> Node | None:
        named = [watcher.named() for watcher in self.watchers]
        for node in self.nodes:
            if named.count(node.known) >= QUORUM and node.role == "master":
                return node
        return None

    def is_whole(self) -> bool:
        primary = self.primary()
        return (
            primary is not None
            and all(watcher.named() == primary.known and self._knows_all(watcher) for watcher in self.watchers)
            and all(node is primary or node.follows(primary) for node in self.nodes)
        )

    def fail_over(self, *options: str) -> None:
        """Has the Sentinels demote the primary."""
        self.watchers[0].ask("SENTINEL", "FAILOVER", MASTER, *options)

    def watch(self, primary: Node) -> None:
        """Has every Sentinel forget what it knew, and watch this primary."""
        for watcher in self.watchers:
            watcher.ask("SENTINEL", "REMOVE", MASTER)
            watcher.monitor(primary.known)

    def _knows_all(self, watcher: Watcher) -> bool:
        try:
            state = watcher.ask("SENTINEL", "MASTER", MASTER)
        except redis.RedisError:
            return False
        seen = state if isinstance(state, dict) else dict(zip(state[::2], state[1::2], strict=True))
        others = (str(seen["num-slaves"]), str(seen["num-other-sentinels"]))
        return others == (str(REPLICAS), str(WATCHERS - 1)) and seen["flags"] == "master"
