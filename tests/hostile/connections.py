"""Clients that only hold connections, or make and break them."""

import asyncio
import itertools
from typing import TYPE_CHECKING

from tests.hostile import framing
from tests.hostile.chunks import SIGNED_PATH
from tests.hostile.client import client
from tests.hostile.system import ATTACKERS, HEAD, HONEST, IDLE

if TYPE_CHECKING:
    from tests.hostile.attack import Attack

MANY = 3000


async def _idle(attack: "Attack") -> None:
    async def one() -> None:
        peer = await attack.open()
        await peer.closed()

    await attack.each(MANY, one)


@client("idle connections, one address", "3,000 connections that send nothing, from one address.", ends=HEAD)
async def idle(attack: "Attack") -> None:
    await _idle(attack)


@client(
    "idle connections, eight addresses",
    "The same from eight addresses.",
    ends=HEAD,
    may_fill=True,
    addresses=ATTACKERS,
)
async def idle_many(attack: "Attack") -> None:
    await _idle(attack)


@client(
    "idle connections, the honest address",
    "The same from the address of the honest client, whose connections are open already.",
    ends=HEAD,
    addresses=[HONEST],
)
async def idle_honest(attack: "Attack") -> None:
    await _idle(attack)


@client("idle after a request", "300 connections ask for /healthz once, and then send nothing.", ends=IDLE)
async def idle_later(attack: "Attack") -> None:
    async def one() -> None:
        peer = await attack.open()
        await peer.send(framing.head("GET", "/healthz"))
        await peer.closed()

    await attack.each(300, one)


@client(
    "CRLF between requests",
    "300 connections ask for /healthz once, and then send an empty line every 0.5 s.",
    ends=HEAD,
)
async def empty_lines(attack: "Attack") -> None:
    async def one() -> None:
        peer = await attack.open()
        await peer.send(framing.head("GET", "/healthz"))
        while True:
            await asyncio.sleep(0.5)
            await peer.send(b"\r\n")

    await attack.each(300, one)


@client("connection churn", "300 new connections a second: half of them send one request, all are closed at once.")
async def churn(attack: "Attack") -> None:
    numbers = itertools.count()

    async def one() -> None:
        peer = await attack.open()
        if next(numbers) % 2:
            await peer.send(framing.head("GET", "/nobody"))
        peer.close()

    await attack.rate(300, one)


@client("resets", "200 connections a second that end with RST: before, within or behind a request.")
async def resets(attack: "Attack") -> None:
    whole = framing.request("POST", SIGNED_PATH, b"x" * 1000)
    parts = itertools.cycle([b"", whole[:20], whole[:-500], whole])

    async def one() -> None:
        peer = await attack.open()
        if part := next(parts):
            await peer.send(part)
            await asyncio.sleep(0.01)
        peer.reset()

    await attack.rate(200, one)
