"""Clients whose request heads are slow, large or many."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shared.callback import Request
from tests.hostile import framing
from tests.hostile.client import client, none_accepted
from tests.hostile.system import HEAD, honest_source

if TYPE_CHECKING:
    from tests.hostile.attack import Attack

MESSENTE = honest_source("messente")
PIECE_BYTES = 4096
HEADERS_TOO_MANY = 2000


async def in_turn(attack: "Attack", wires: Sequence[bytes], per_second: float, in_pieces: bool = False) -> None:
    """Each on a connection of its own, until it is answered or closed."""
    cycle = itertools.cycle(enumerate(wires))

    async def one() -> None:
        peer = await attack.open()
        try:
            number, wire = next(cycle)
            if in_pieces and number % 2:
                for begins in range(0, len(wire), PIECE_BYTES):
                    await peer.send(wire[begins : begins + PIECE_BYTES])
                    await asyncio.sleep(0.001)
            else:
                await peer.send(wire)
            await peer.answered()
        finally:
            peer.close()

    await attack.rate(per_second, one)


def signed_with(request: Request, headers: framing.Headers) -> bytes:
    """A callback that is proven, with more headers."""
    return framing.request(request.method, request.path, request.body, [*request.headers.items(), *headers])


@client("slow heads", "200 connections send a head, a byte every 0.1 s.", ends=HEAD)
async def slow(attack: "Attack") -> None:
    async def one() -> None:
        peer = await attack.open()
        for byte in itertools.chain(b"GET /healthz HTTP/1.1\r\n", itertools.cycle(b"a: b\r\n")):
            await peer.send(bytes([byte]))
            await asyncio.sleep(0.1)

    await attack.each(200, one)


def _register_large(kilobytes: int) -> None:
    @client(
        f"heads of {kilobytes} KB",
        f"Signed callbacks with a head of {kilobytes} KB, in one write or in pieces (20/s): none is to be accepted.",
        may_accept=True,  # judged by `none_accepted`
        expect=none_accepted,
    )
    async def large(attack: "Attack") -> None:
        size = kilobytes * 1000
        padding = [("x-padding", "x" * 1000) for _ in range(50)]
        wires = [signed_with(attack.request(MESSENTE), [("x-padding", "x" * size)]) for _ in range(2)]
        wires += [signed_with(attack.request(MESSENTE), [*padding, ("x", "y" * (size - 50_000))]) for _ in range(2)]
        await in_turn(attack, wires, 20, in_pieces=True)


for _kilobytes in (120, 250):
    _register_large(_kilobytes)


@client(
    "heads with many headers",
    f"Signed callbacks with {HEADERS_TOO_MANY} short headers (20/s): none is to be accepted.",
    may_accept=True,  # judged by `none_accepted`
    expect=none_accepted,
)
async def many(attack: "Attack") -> None:
    headers = [(f"x-{number}", "") for number in range(HEADERS_TOO_MANY)]
    await in_turn(attack, [signed_with(attack.request(MESSENTE), headers) for _ in range(2)], 20, in_pieces=True)


@client("addresses of 120 KB", "Requests with a path or a query of 120 KB (20/s).")
async def large_target(attack: "Attack") -> None:
    long = "x" * 120_000
    targets = (f"/callbacks/{long}", f"/callbacks/{MESSENTE}?{long}", "/" + "%41" * 40_000)
    await in_turn(attack, [framing.request("POST", target) for target in targets], 20, in_pieces=True)
