"""Clients that try to be accepted without a proof, or from an address that is not allowed."""

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from deploy.local import simulator
from shared import providers
from shared.callback import Request
from shared.providers import PROVIDERS
from tests.hostile import framing
from tests.hostile.client import client
from tests.hostile.system import ATTACKERS, BOTH, NEAR, PROXY, SIGNED, source_name

if TYPE_CHECKING:
    from tests.hostile.attack import Attack

ALLOWED = "192.0.2.7"
FORWARDED = "X-Forwarded-For"
PER_SECOND = 50
PADDING = 200  # more parameters than are read of a form


def resigned(attack: "Attack", request: Request, body: bytes) -> Request:
    """The callback with another body, signed again."""
    source = attack.sources[request.path.split("/")[2]]
    return providers.sign(msgspec.structs.replace(request, body=body), source)


async def _each(attack: "Attack", wires: list[bytes]) -> None:
    cycle = itertools.cycle(wires)

    async def one() -> None:
        peer = await attack.open()
        try:
            await peer.send(next(cycle))
            await peer.answered()
        finally:
            peer.close()

    await attack.rate(PER_SECOND, one)


def _near(attack: "Attack") -> list[Request]:
    """Of each provider a callback that is proven but for the address."""
    return [attack.request(source_name(provider, NEAR)) for provider in PROVIDERS]


def _plain(request: Request, headers: framing.Headers) -> bytes:
    return framing.request(request.method, framing.target(request), request.body, [*request.headers.items(), *headers])


@client(
    "X-Forwarded-For", "Proven callbacks to sources that allow other addresses, with a header that claims one (50/s)."
)
async def forwarded(attack: "Attack") -> None:
    names = (
        FORWARDED,
        "Forwarded",
        "X-Real-IP",
        "X-Client-IP",
        "True-Client-IP",
        "X_Forwarded_For",
        "CF-Connecting-IP",
    )
    await _each(
        attack,
        [
            _plain(request, [(name, f"for={ALLOWED}" if name == "Forwarded" else ALLOWED)])
            for request, name in itertools.product(_near(attack), names)
        ],
    )


@client(
    "X-Forwarded-For through a proxy",
    "The same through a trusted proxy, which adds the client's address behind what the client has sent (50/s).",
    addresses=[PROXY],
)
async def forwarded_by_proxy(attack: "Attack") -> None:
    client_address = ATTACKERS[0]
    await _each(
        attack,
        [
            _plain(request, headers)
            for request in _near(attack)
            for headers in (
                [(FORWARDED, client_address)],
                [(FORWARDED, f"{ALLOWED}, {client_address}")],
                [(FORWARDED, ALLOWED), (FORWARDED, client_address)],
                [(FORWARDED, f"{client_address}:99")],
                [(FORWARDED, f"{ALLOWED},, {client_address}")],
            )
        ],
    )


@client(
    "X-Forwarded-For as a trailer",
    "Through a trusted proxy, whose header names the client; a trailer names an allowed address (50/s).",
    addresses=[PROXY],
)
async def forwarded_trailer(attack: "Attack") -> None:
    await _each(
        attack,
        [framing.in_chunks(request, [(FORWARDED, ATTACKERS[0])], [(FORWARDED, ALLOWED)]) for request in _near(attack)],
    )


@client("signature as a trailer", "Callbacks whose signature comes behind the body, as trailers (50/s).")
async def signature_trailer(attack: "Attack") -> None:
    wires = []
    for provider in PROVIDERS:
        if PROVIDERS[provider].SIGNS:
            source = attack.sources[source_name(provider, SIGNED)]
            unsigned = msgspec.structs.replace(
                PROVIDERS[provider].render(simulator.event("mo", datetime.now(UTC), attack.dice)),
                path=f"/callbacks/{source.name}",
            )
            headers = providers.sign(unsigned, source).headers
            proof = [(name, value) for name, value in headers.items() if unsigned.headers.get(name) != value]
            wires.append(framing.in_chunks(unsigned, (), proof))
    await _each(attack, wires)


if "nxcloud" in PROVIDERS:

    @client(
        "NXCloud message behind padding",
        "An unsigned message of a DID number among 200 parameters, to a source with secrets and a token (50/s).",
    )
    async def padding(attack: "Attack") -> None:
        source = attack.sources[source_name("nxcloud", BOTH)]
        path = f"/callbacks/{source.name}"
        message = "messageId=padded-{}&type=0&fromPhone=447700900123&toPhone=12345678&content=STOP"
        paddings = (
            "&token=" * PADDING,
            "&a=" * PADDING,
            "&token=x&a=" * PADDING,
            "&" * PADDING,
            "&messageId=" * PADDING,
        )
        forms = [message.format(number) + padding for number, padding in enumerate(paddings)]
        content = [("Content-Type", "application/x-www-form-urlencoded")]
        wires = [framing.request("POST", f"{path}/{source.token}?{form}") for form in forms]
        wires += [framing.request("GET", f"{path}?token={source.token}&{form}") for form in forms]
        wires += [framing.request("POST", f"{path}/{source.token}", form.encode(), content) for form in forms]
        await _each(attack, wires)
