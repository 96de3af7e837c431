"""Clients that send many requests at once, that do not read their answers, or that leave before them."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.hostile import framing
from tests.hostile.client import all_answered, client
from tests.hostile.peer import Closed
from tests.hostile.system import ANSWER, honest_source
from tests.load.client import encode

if TYPE_CHECKING:
    from tests.hostile.attack import Attack

BURST_BYTES = 256 * 1024
LIMIT_BYTES = 15_000_000
SMALL_BUFFER = 4096
MESSENTE = honest_source("messente")
PATIENCE_SECONDS = 4.0


async def never_read(attack: "Attack", burst: Callable[[], bytes], connections: int = 20) -> None:
    """Sends the burst on each connection, and reads nothing."""

    async def one() -> None:
        peer = await attack.open(reads=False, receive_bytes=SMALL_BUFFER)
        await peer.send(burst())
        await peer.closed()

    await attack.each(connections, one)


def _many(wire: bytes) -> bytes:
    return wire * (BURST_BYTES // len(wire))


@client(
    "pipelined GET /metrics, never read",
    "20 connections send 256 KB of GET /metrics each, and read nothing.",
    ends=ANSWER,
    limit_bytes=LIMIT_BYTES,
)
async def metrics(attack: "Attack") -> None:
    await never_read(attack, lambda: _many(framing.head("GET", "/metrics")))


@client(
    "pipelined GET of an unknown path, never read",
    "The same for a path that does not exist.",
    ends=ANSWER,
    limit_bytes=LIMIT_BYTES,
)
async def unknown(attack: "Attack") -> None:
    await never_read(attack, lambda: _many(framing.head("GET", "/nobody")))


@client(
    "pipelined callbacks, never read",
    "The same with callbacks that are signed.",
    may_accept=True,
    ends=ANSWER,
    limit_bytes=LIMIT_BYTES,
)
async def signed(attack: "Attack") -> None:
    await never_read(attack, lambda: _many(encode(attack.request(MESSENTE))))


@client(
    "answers never read",
    "Ten connections send one GET after another for as long as the server takes them, and read nothing.",
    ends=ANSWER,
    limit_bytes=20_000_000,
)
async def slow_reader(attack: "Attack") -> None:
    wire = framing.head("GET", "/metrics") * 4

    async def one() -> None:
        peer = await attack.open(reads=False, receive_bytes=SMALL_BUFFER)
        while True:
            await peer.send(wire)
            await asyncio.sleep(0.002)

    await attack.each(10, one)


async def _answered(attack: "Attack", wire: bytes, count: int, then_half_close: bool = False) -> None:
    """Sends requests that are to be accepted, and counts them once it is known whether they were."""
    peer = await attack.open()
    await peer.send(wire)
    if then_half_close:
        peer.half_close()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await peer.answered(count)
    except TimeoutError:
        attack.got.count("timeout")
    except Closed:
        pass
    attack.got.requests += count  # not those that are under way when the attack ends
    peer.close()


@client(
    "half-close after a request",
    "A signed callback, then the end of what this side sends; it is to be answered (50/s).",
    may_accept=True,
    expect=all_answered,
)
async def half_close(attack: "Attack") -> None:
    await attack.rate(50, lambda: _answered(attack, encode(attack.request(MESSENTE)), 1, then_half_close=True))


@client(
    "pipelined callbacks, read",
    "Eight signed callbacks in one write; all are to be answered, in their order (10/s).",
    may_accept=True,
    expect=all_answered,
)
async def well_behaved(attack: "Attack") -> None:
    await attack.rate(10, lambda: _answered(attack, b"".join(encode(attack.request(MESSENTE)) for _ in range(8)), 8))


@client(
    "pipelined callbacks, then gone",
    "Three signed callbacks in one write, then the connection is closed (50/s): no error for the log.",
    may_accept=True,
)
async def gone(attack: "Attack") -> None:
    async def one() -> None:
        peer = await attack.open()
        await peer.send(b"".join(encode(attack.request(MESSENTE)) for _ in range(3)))
        peer.close()

    await attack.rate(50, one)
