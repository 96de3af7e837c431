"""A Cluster of three primaries with a replica each. Every node is reached through relays, its bus as well."""

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import redis
from redis.crc import key_slot

from tests.conftest import wait_until
from tests.failover.network import Address, Network, free_address, known_host, own_host
from tests.failover.node import PASSWORD, Node
from tests.failover.part import Replicated
from tests.faults.system import until

PRIMARIES = 3
SLOTS = 16384
TIMEOUT_MILLISECONDS = 1500


class ClusterNode(Node):
    """A node, and its end of the bus by which nodes speak to each other."""

    def __init__(self, number: int, folder: Path) -> None:
        self._own_bus = free_address(own_host(number))
        self._known_bus = free_address(known_host(number))
        super().__init__(number, folder)
        self.id = ""  # in the Cluster

    def link(self, network: Network) -> None:
        super().link(network)
        network.link(self.number, self._own_bus, self._known_bus)

    def identify(self) -> None:
        """Has its id known here."""
        self.id = str(self.ask("CLUSTER", "MYID"))

    def meet(self, other: "ClusterNode") -> None:
        self.ask("CLUSTER", "MEET", *other.known, other._known_bus.port)

    def fail_over(self) -> None:
        """Takes the place of its primary, which agrees."""
        self.ask("CLUSTER", "FAILOVER")

    def members(self) -> "list[Member]":
        """The nodes of the Cluster as this one sees them; none while it does not answer."""
        try:
            return [Member.read(line) for line in self.ask("CLUSTER", "NODES").splitlines()]
        except redis.RedisError:
            return []

    def _settings(self) -> Iterator[str]:
        yield from super()._settings()
        yield "cluster-enabled yes"
        yield f"cluster-port {self._own_bus.port}"
        yield f"cluster-node-timeout {TIMEOUT_MILLISECONDS}"
        yield f"cluster-announce-ip {self.known.host}"
        yield f"cluster-announce-port {self.known.port}"
        yield f"cluster-announce-bus-port {self._known_bus.port}"
        # What one pair cannot take must not keep the others from theirs, and no pair gives its replica away.
        yield "cluster-require-full-coverage no"
        yield "cluster-allow-replica-migration no"


class Member(NamedTuple):
    """A line of CLUSTER NODES."""

    id: str
    address: Address
    flags: frozenset[str]
    follows: str  # the id of its primary, or a dash
    epoch: int
    is_linked: bool
    slots: tuple[tuple[int, int], ...]

    @classmethod
    def read(cls, line: str) -> "Member":
        id, place, flags, follows, _, _, epoch, link, *slots = line.split()
        host, _, port = place.partition("@")[0].rpartition(":")
        ranges = [slot.split("-") for slot in slots if not slot.startswith("[")]
        return cls(
            id,
            Address(host, int(port)),
            frozenset(flags.split(",")) - {"myself"},
            follows,
            int(epoch),
            link == "connected",
            tuple((int(first), int(last[0]) if last else int(first)) for first, *last in ranges),
        )

    def has(self, slot: int) -> bool:
        return any(first <= slot <= last for first, last in self.slots)

    @property
    def is_well(self) -> bool:
        return self.is_linked and self.flags in ({"master"}, {"slave"})


class Cluster(Replicated):
    """The topology. A fault aims at the primary of one shard of the inbox."""

    nodes: Sequence[ClusterNode]

    def __init__(self, folder: Path, shards: int) -> None:
        super().__init__([ClusterNode(number, folder) for number in range(1, 2 * PRIMARIES + 1)])
        self._shards = shards
        self._slot = key_slot(b"{callbox:0}")

    @property
    def environment(self) -> Mapping[str, str]:
        hosts = ",".join(str(node.known) for node in self.nodes)
        return {"CALLBOX_REDIS_URL": f"redis+cluster://:{PASSWORD}@{hosts}", "CALLBOX_INBOX_SHARDS": str(self._shards)}

    async def start(self) -> None:
        await self._start_nodes()
        first, *others = self.nodes
        for node in self.nodes:
            node.identify()
        for other in others:
            first.meet(other)
        await until(self._all_have_met, "nodes that know each other")
        bounds = [SLOTS * number // PRIMARIES for number in range(PRIMARIES + 1)]
        for number in range(PRIMARIES):
            primary, replica = self.nodes[number], self.nodes[number + PRIMARIES]
            primary.ask("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            replica.ask("CLUSTER", "REPLICATE", primary.id)
        await until(self.is_whole, "three primaries with a replica each")

    def aim(self, dice: random.Random) -> None:
        """Chooses the shard."""
        self._slot = key_slot(b"{callbox:%d}" % dice.randrange(self._shards))

    def primary(self) -> Node | None:
        owners = [member for node in self.nodes for member in node.members() if member.has(self._slot)]
        latest = max(owners, key=lambda member: member.epoch, default=None)
        if latest is None or "fail" in latest.flags:
            return None
        return next((node for node in self.nodes if node.known == latest.address and node.role == "master"), None)

    def replica(self, primary: Node) -> ClusterNode:
        """The one that follows this primary."""
        return next(node for node in self.nodes if node.follows(primary))

    def is_whole(self) -> bool:
        views = [node.members() for node in self.nodes]
        if not all(len(view) == len(self.nodes) and all(member.is_well for member in view) for view in views):
            return False
        if len({frozenset((member.id, member.follows, member.slots) for member in view) for view in views}) > 1:
            return False
        nodes = {node.known: node for node in self.nodes}
        found = {member.id: nodes[member.address] for member in views[0]}
        replicas = [member for member in views[0] if member.follows in found]
        return len({member.follows for member in replicas}) == PRIMARIES and all(
            found[member.id].follows(found[member.follows]) for member in replicas
        )

    def take_back(self, node: Node) -> None:
        """It is another node now: the others forget the one that it was, and it follows who has its slots."""
        assert isinstance(node, ClusterNode)
        primary = self.primary()
        assert isinstance(primary, ClusterNode)
        others = [other for other in self.nodes if other is not node]
        for other in others:
            other.ask("CLUSTER", "FORGET", node.id)
        node.identify()
        primary.meet(node)
        wait_until(lambda: any(member.id == primary.id for member in node.members()), "a node that was met")
        node.ask("CLUSTER", "REPLICATE", primary.id)

    def _all_have_met(self) -> bool:
        return all(
            len(view) == len(self.nodes) and all(member.is_well for member in view)
            for view in (node.members() for node in self.nodes)
        )
