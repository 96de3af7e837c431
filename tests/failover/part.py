"""What Callbox works with: a Redis of one topology, and PostgreSQL alone or with a standby."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from tests.failover.network import Network
from tests.failover.node import Node
from tests.faults.process import Process
from tests.faults.system import until


class Part(Protocol):
    """Servers that belong together."""

    @property
    def processes(self) -> Sequence[Process]: ...

    @property
    def environment(self) -> Mapping[str, str]:
        """What Callbox is given to find it."""

    async def start(self) -> None:
        """Returns once it is whole. Raises TimeoutError."""

    async def stop(self) -> None: ...

    def is_whole(self) -> bool:
        """Whether every server has its place."""


class Replicated:
    """Redis on several nodes, of which one is the primary of what a fault aims at."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.network = Network()
        self.nodes = nodes

    @property
    def processes(self) -> Sequence[Process]:
        return self.nodes

    async def stop(self) -> None:
        for process in self.processes:
            process.end()
        self.network.stop()

    def primary(self) -> Node | None:
        """Whom the topology names, if that one says so itself; None while there is none."""
        raise NotImplementedError

    def is_whole(self) -> bool:
        raise NotImplementedError

    def take_back(self, node: Node) -> None:
        """Gives a node that begins anew, and runs, its place again. It does not wait for that."""

    async def _start_nodes(self) -> None:
        self.network.start()
        for node in self.nodes:
            node.link(self.network)
            node.start()
        await until(lambda: all(node.role for node in self.nodes), "the nodes")
