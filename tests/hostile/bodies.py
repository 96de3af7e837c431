"""Clients that send bodies which prove nothing: large ones, slow ones, unfinished and compressed ones."""

import asyncio
import dataclasses
import gzip
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from deploy.local import simulator
from shared import providers
from shared.callback import Request
from shared.providers import PROVIDERS
from tests.hostile import framing
from tests.hostile.chunks import SIGNED_PATH
from tests.hostile.client import client, none_accepted
from tests.hostile.system import ATTACKERS, BODY, NEAR, SIGNED, TOKEN, source_name

if TYPE_CHECKING:
    from tests.hostile.attack import Attack

BYTES_PER_SECOND = 5_000_000
SIZES = (256 * 1024, 64 * 1024)  # the largest bodies that a version may take, in turn
UNFINISHED = 1000  # connections
SHAPES: Mapping[str, Callable[[int], bytes]] = {
    "one long field": lambda size: b"Body=" + b"x" * (size - 5),
    "all escapes": lambda size: b"Body=" + b"%41" * ((size - 5) // 3),
    "many fields": lambda size: b"&".join(b"%x=" % number for number in range(size // 7)),
    "nested JSON": lambda size: b'{"a":' + b"[" * (size - 5),
}


def _large(attack: "Attack", provider: str, shapes: Sequence[str], wrongly_signed: bool) -> Iterator[bytes]:
    """Bodies of these shapes and the largest sizes, in turn, each made once."""
    source = attack.sources[source_name(provider, SIGNED if PROVIDERS[provider].SIGNS else TOKEN)]
    path = f"/callbacks/{source.name}" + ("/a-wrong-token" if source.token else "")
    event = simulator.event("mo", datetime.now(UTC), attack.dice)
    wires = []
    for shape, size in itertools.product(shapes, SIZES):
        headers = {"content-type": "application/x-www-form-urlencoded"}
        request = Request(method="POST", path=path, headers=headers, body=SHAPES[shape](size))
        if wrongly_signed:
            # A signature in good form, of another secret and another body: what a provider signs has limits.
            another = dataclasses.replace(source, secrets=("a secret of somebody else",))
            signed = providers.sign(PROVIDERS[provider].render(event), another)
            request = msgspec.structs.replace(request, headers=signed.headers | headers)
        wires.append(framing.request("POST", path, request.body, request.headers.items()))
    return itertools.cycle(wires)


async def _five_megabytes_a_second(attack: "Attack", wires: Iterator[bytes]) -> None:
    """Each body on a connection of its own."""

    async def one() -> None:
        peer = await attack.open()
        try:
            await peer.send(next(wires))
            await peer.answered()
        finally:
            peer.close()

    await attack.rate(BYTES_PER_SECOND * len(SIZES) / sum(SIZES), one)


def _register(name: str, sentence: str, provider: str, shapes: Sequence[str], wrongly_signed: bool = False) -> None:
    @client(name, sentence)
    async def run(attack: "Attack") -> None:
        await _five_megabytes_a_second(attack, _large(attack, provider, shapes, wrongly_signed))


for _shape in ("one long field", "all escapes", "many fields"):
    _register(
        f"unsigned twilio: {_shape}",
        f"Forms of the largest size ({_shape}) without a signature to a Twilio source, 5 MB/s.",
        "twilio",
        [_shape],
    )
for _provider in PROVIDERS:
    _register(
        f"unsigned {_provider}: all shapes",
        f"Bodies of the largest size ({', '.join(SHAPES)}) that prove nothing to a source of {_provider}, 5 MB/s.",
        _provider,
        [*SHAPES],
    )
    if PROVIDERS[_provider].SIGNS:
        _register(
            f"wrongly signed {_provider}: all shapes",
            f"The same to {_provider}, signed with a secret of somebody else.",
            _provider,
            [*SHAPES],
            wrongly_signed=True,
        )


async def _unfinished(attack: "Attack", path: str) -> None:
    """Bodies of the largest sizes without their last byte."""
    wires = itertools.cycle([framing.request("POST", path, b"x" * size)[:-1] for size in SIZES])

    async def one() -> None:
        peer = await attack.open()
        await peer.send(next(wires))
        await peer.closed()

    await attack.each(UNFINISHED, one)


@client(
    "unfinished bodies, wrong address",
    "1,000 connections send all but the last byte of a body to a source that allows other addresses only.",
    ends=BODY,
    limit_bytes=400_000_000,
    addresses=ATTACKERS,
)
async def unfinished_near(attack: "Attack") -> None:
    await _unfinished(attack, f"/callbacks/{source_name('messente', NEAR)}")


@client(
    "unfinished bodies, real path",
    "The same to a source that allows every address.",
    ends=BODY,
    may_fill=True,
    limit_bytes=400_000_000,
    addresses=ATTACKERS,
)
async def unfinished_real(attack: "Attack") -> None:
    await _unfinished(attack, SIGNED_PATH)


@client(
    "slow bodies",
    "200 connections send a body of 1,000 bytes, a byte every 0.1 s.",
    ends=BODY,
)
async def slow(attack: "Attack") -> None:
    async def one() -> None:
        peer = await attack.open()
        await peer.send(framing.request("POST", SIGNED_PATH, b"x" * 1000)[:-1000])
        while True:
            await peer.send(b"x")
            await asyncio.sleep(0.1)

    await attack.each(200, one)


@client(
    "Expect without a body",
    "200 connections announce a body with `Expect: 100-continue`, and never send it.",
    ends=BODY,
)
async def expect(attack: "Attack") -> None:
    wire = framing.head("POST", SIGNED_PATH, [("Content-Length", "1000"), ("Expect", "100-continue")])

    async def one() -> None:
        peer = await attack.open()
        await peer.send(wire)
        await peer.closed()

    await attack.each(200, one)


@client(
    "bodies of announced 10 GB",
    "Eight connections announce 10 GB and send them for as long as they can.",
    ends=BODY,
    limit_bytes=200_000_000,
)
async def endless(attack: "Attack") -> None:
    async def one() -> None:
        peer = await attack.open()
        await peer.send(framing.head("POST", SIGNED_PATH, [("Content-Length", "10000000000")]))
        while True:
            await peer.send(b"x" * 65_536)

    await attack.each(8, one)


@client(
    "compressed bodies",
    "10 MB of zeros as 10 KB of gzip, and a callback compressed after or before it was signed (50/s).",
    may_accept=True,  # judged by `none_accepted`
    expect=none_accepted,
)
async def compressed(attack: "Attack") -> None:
    source = attack.sources[source_name("messente", SIGNED)]
    plain = attack.request(source.name)
    packed = providers.sign(msgspec.structs.replace(plain, body=gzip.compress(plain.body)), source)
    bomb = providers.sign(msgspec.structs.replace(plain, body=gzip.compress(bytes(10_000_000))), source)
    cases = [packed, bomb, msgspec.structs.replace(plain, body=packed.body)]
    encodings = ("gzip", "GZIP", "deflate", "br", "identity, gzip", "gzip, identity", "x-gzip")
    wires = itertools.cycle(
        framing.request("POST", request.path, request.body, [*request.headers.items(), ("Content-Encoding", encoding)])
        for request, encoding in itertools.product(cases, encodings)
    )

    async def one() -> None:
        peer = await attack.open()
        try:
            await peer.send(next(wires))
            await peer.answered()
        finally:
            peer.close()

    await attack.rate(50, one)
