"""`python -m tests.failover.relays`: the relays in front of servers, as a process of their own, so that what they pass
on does not wait for the load. It reads one request a line, and answers each with a line.

    link NUMBER TARGET_HOST TARGET_PORT HOST PORT    what connects to the second address is connected to the first one
    cut_off NUMBER                                   nothing moves any more between this server and the others
    heal                                             everything moves again
"""

import asyncio
import sys

import uvloop

from tests.failover.network import Address, is_server, number_of
from tests.faults.relay import Relay


class Relays:
    """All of them, and which servers are cut off."""

    def __init__(self) -> None:
        self._cut_off: set[int] = set()
        self._relays: list[Relay] = []

    async def link(self, number: int, target: Address, known: Address) -> None:
        relay = Relay(target.port, target.host, lambda peer: self._is_held(number, peer))
        self._relays.append(relay)
        await relay.start(*known)

    async def do(self, line: str) -> None:
        match line.split():
            case ["link", number, target_host, target_port, host, port]:
                await self.link(int(number), Address(target_host, int(target_port)), Address(host, int(port)))
            case ["cut_off", number]:
                self._cut_off.add(int(number))
            case ["heal"]:
                self._cut_off.clear()

    def _is_held(self, number: int, peer: str) -> bool:
        return is_server(peer) and (number in self._cut_off or number_of(peer) in self._cut_off)


async def main() -> None:
    """Until its input ends."""
    relays = Relays()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        await relays.do(line.decode())
        print("done", flush=True)


if __name__ == "__main__":
    uvloop.run(main())
