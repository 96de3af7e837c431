"""Clients that send chunked bodies: trailers, chunks and extensions without end."""

import asyncio
from typing import TYPE_CHECKING

from tests.hostile import framing
from tests.hostile.client import client
from tests.hostile.system import BODY, SIGNED, source_name

if TYPE_CHECKING:
    from tests.hostile.attack import Attack

UNKNOWN = "/callbacks/nobody"
SIGNED_PATH = f"/callbacks/{source_name('messente', SIGNED)}"
MEGABYTE = 1_000_000
LINES = b"a:\r\n" * 4096


async def _without_end(attack: "Attack", path: str, begins: bytes, goes_on: bytes, connections: int = 1) -> None:
    """A chunked request that begins so and goes on without end."""

    async def one() -> None:
        peer = await attack.open()
        await peer.send(framing.chunked("POST", path) + begins)
        while True:
            await peer.send(goes_on)
            await asyncio.sleep(0)

    await attack.each(connections, one)


@client(
    "trailers, unknown path",
    "One connection sends trailers without end to a path that does not exist, up to 20 MB.",
    ends=BODY,
    limit_bytes=20 * MEGABYTE,
)
async def trailers_unknown(attack: "Attack") -> None:
    await _without_end(attack, UNKNOWN, b"0\r\n", LINES)


@client(
    "trailers, real path",
    "The same to the path of a source.",
    ends=BODY,
    limit_bytes=20 * MEGABYTE,
)
async def trailers_real(attack: "Attack") -> None:
    await _without_end(attack, SIGNED_PATH, b"0\r\n", LINES)


@client(
    "trailer with one long value",
    "One trailer, whose value does not end, up to 20 MB.",
    ends=BODY,
    limit_bytes=20 * MEGABYTE,
)
async def trailer_long(attack: "Attack") -> None:
    await _without_end(attack, UNKNOWN, b"0\r\na: ", b"x" * 16_384)


@client(
    "trailers on 200 connections",
    "200 connections send 100 KB of trailers each, and wait.",
    ends=BODY,
    limit_bytes=20 * MEGABYTE,
)
async def trailers_many(attack: "Attack") -> None:
    async def one() -> None:
        peer = await attack.open()
        await peer.send(framing.chunked("POST", UNKNOWN) + b"0\r\n" + b"name: value\r\n" * 8000)
        await peer.closed()

    await attack.each(200, one)


@client(
    "chunks without end, real path",
    "Eight connections send chunks of 1,000 bytes to a source for as long as they can.",
    ends=BODY,
    limit_bytes=200 * MEGABYTE,
)
async def chunks_real(attack: "Attack") -> None:
    await _without_end(attack, SIGNED_PATH, b"", framing.chunk(b"x" * 1000) * 16, 8)


@client(
    "chunks without end, unknown path",
    "The same to a path that does not exist.",
    ends=BODY,
    limit_bytes=200 * MEGABYTE,
)
async def chunks_unknown(attack: "Attack") -> None:
    await _without_end(attack, UNKNOWN, b"", framing.chunk(b"x" * 1000) * 16, 8)


@client(
    "chunk extension without end",
    "Eight connections send one chunk whose extension does not end.",
    ends=BODY,
    limit_bytes=200 * MEGABYTE,
)
async def extension(attack: "Attack") -> None:
    await _without_end(attack, SIGNED_PATH, b"1;", b"x" * 16_384, 8)


@client(
    "chunks with long extensions",
    "Eight connections send chunks of one byte with an extension of 1,000 bytes each.",
    ends=BODY,
    limit_bytes=200 * MEGABYTE,
)
async def extensions(attack: "Attack") -> None:
    await _without_end(attack, SIGNED_PATH, b"", framing.chunk(b"x", b";a=" + b"y" * 1000) * 16, 8)


@client("chunks of one byte", "Four connections send unsigned bodies of 60,000 chunks of one byte each.")
async def one_byte(attack: "Attack") -> None:
    body = framing.chunk(b"x") * 60_000 + b"0\r\n\r\n"

    async def one() -> None:
        peer = await attack.open()
        await peer.send(framing.chunked("POST", SIGNED_PATH) + body)
        await peer.answered()
        peer.close()

    await attack.each(4, one)
