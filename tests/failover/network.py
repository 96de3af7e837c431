"""The network between the servers: every Redis is reached through a relay, so that a link to it can break for some.

A server of number n listens at 127.0.2.n and is known to all as 127.0.1.n, where its relay listens. What it asks of
others comes from 127.0.2.n, what a Sentinel asks from 127.0.3.n, and what Callbox asks from 127.0.0.1: so a relay knows
who asks, and a server can be cut off from all servers while clients reach it.
"""

import socket
from typing import NamedTuple

from tests.faults.relay import Relay


class Address(NamedTuple):
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def free_address(host: str) -> Address:
    """A port of this loopback address at which nothing listens."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return Address(host, probe.getsockname()[1])


def own_host(number: int) -> str:
    """Where a server listens, and from where it asks others."""
    return f"127.0.2.{number}"


def known_host(number: int) -> str:
    """Where all others find it."""
    return f"127.0.1.{number}"


def watching_host(number: int) -> str:
    """Where a Sentinel listens, and from where it asks others."""
    return f"127.0.3.{number}"


class Network:
    """The relays, and which servers are cut off."""

    def __init__(self) -> None:
        self._relays: list[Relay] = []
        self._cut_off: set[int] = set()

    async def link(self, number: int, target: Address, known: Address) -> None:
        """From now on what connects to `known` is connected to `target`, a port of this server."""
        relay = Relay(target.port, target.host, lambda peer: self._is_held(number, peer))
        self._relays.append(relay)
        await relay.start(*known)

    def cut_off(self, number: int) -> None:
        """Nothing moves any more between this server and the others, Sentinels included; clients see no difference."""
        self._cut_off.add(number)

    def heal(self) -> None:
        """Everything moves again."""
        self._cut_off.clear()

    async def stop(self) -> None:
        self.heal()
        for relay in self._relays:
            await relay.stop()

    def _is_held(self, number: int, peer: str) -> bool:
        kind, _, last = peer.rpartition(".")
        is_server = kind in ("127.0.2", "127.0.3")
        return is_server and (number in self._cut_off or (kind == "127.0.2" and int(last) in self._cut_off))
