"""The network between the servers: every Redis is reached through a relay, so that a link to it can break for some.

A server of number n listens at 127.0.2.n and is known to all as 127.0.1.n, where its relay listens. What it asks of
others comes from 127.0.2.n, what a Sentinel asks from 127.0.3.n, and what Callbox asks from 127.0.0.1: so a relay knows
who asks, and a server can be cut off from all servers while clients reach it.
"""

import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from deploy.local.supervisor import die_with_parent

ROOT = Path(__file__).parents[2]


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


def is_server(peer: str) -> bool:
    """Whether who asks is a server or a Sentinel."""
    return peer.startswith(("127.0.2.", "127.0.3."))


def number_of(peer: str) -> int | None:
    """Of the server that asks; None for a Sentinel and for clients."""
    return int(peer.rpartition(".")[2]) if peer.startswith("127.0.2.") else None


class Network:
    """The relays."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def link(self, number: int, target: Address, known: Address) -> None:
        """From now on what connects to `known` is connected to `target`, a port of this server."""
        self._ask("link", number, *target, *known)

    def cut_off(self, number: int) -> None:
        """Nothing moves any more between this server and the others, Sentinels included; clients see no difference."""
        self._ask("cut_off", number)

    def heal(self) -> None:
        """Everything moves again."""
        self._ask("heal")

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.failover.relays"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,  # a Ctrl-C is for us alone
            preexec_fn=die_with_parent,
        )

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def _ask(self, *words: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        answer = self._process.stdout.readline()
        assert answer == "done\n", f"the relays do not {words[0]}"
