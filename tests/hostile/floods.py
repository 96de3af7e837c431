"""Clients that are refused as often as they can: 401, 404, 405 and 400, at a rate and as fast as it goes."""

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from shared.providers import PROVIDERS
from tests.hostile import framing
from tests.hostile.client import client
from tests.hostile.system import NEAR, SIGNED, source_name

if TYPE_CHECKING:
    from tests.hostile.attack import Attack

PER_SECOND = 500
BODY = b'{"id":1}'


def _sources() -> list[str]:
    signing = [provider for provider in PROVIDERS if PROVIDERS[provider].SIGNS]
    return [source_name(provider, kind) for provider in signing for kind in (SIGNED, NEAR)]


def _unproven() -> Iterator[bytes]:
    return itertools.cycle(framing.request("POST", f"/callbacks/{name}", BODY) for name in _sources())


def _unknown() -> Iterator[bytes]:
    return (framing.request("POST", f"/callbacks/nobody-{number}", BODY) for number in itertools.count())


def _wrong_method() -> Iterator[bytes]:
    return itertools.cycle(framing.request("DELETE", f"/callbacks/{name}", BODY) for name in _sources())


def _invalid() -> Iterator[bytes]:
    return itertools.cycle([b"no request\r\n\r\n", b"\0" * 40, b"GET / HTTP/1.1\r\nno header\r\n\r\n"])


KINDS: dict[str, tuple[str, Callable[[], Iterator[bytes]]]] = {
    "401": ("Callbacks that prove nothing, to all sources in turn", _unproven),
    "404": ("Callbacks to sources that do not exist, another one each time", _unknown),
    "405": ("A method that no provider uses", _wrong_method),
    "400": ("What is no HTTP, on a new connection each time", _invalid),
}


def _register(status: str, sentence: str, requests: Callable[[], Iterator[bytes]]) -> None:
    @client(f"flood of {status}", f"{sentence}, {PER_SECOND}/s over 16 connections.")
    async def at_rate(attack: "Attack") -> None:
        await attack.flood(requests(), PER_SECOND)

    @client(f"flood of {status}, fast", f"{sentence}, as fast as 16 connections get answers.")
    async def fast(attack: "Attack") -> None:
        await attack.flood(requests(), None)


for _status, (_sentence, _requests) in KINDS.items():
    _register(_status, _sentence, _requests)
