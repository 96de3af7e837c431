"""What the benchmark sends: signed callbacks, each of a message of its own, two receipts to one inbound message."""

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from deploy.local import simulator
from shared.callback import Arrival, Request, new_id, pack
from shared.events import Event
from shared.providers import PROVIDERS
from shared.source import Source
from tests.load.client import encode
from tests.pipeline import conftest

MANY = 200  # small sources
SOURCES = conftest.SOURCES + "".join(
    f'\n[sources.small-{number}]\nprovider = "messente"\nsecrets = ["shared-secret-of-a-small-number"]\n'
    for number in range(MANY)
)
_KINDS: tuple[simulator.Kind, ...] = ("dr", "dr", "mo")

_dice = random.Random(1)
_numbers = itertools.count(10**10)


def now() -> datetime:
    return datetime.now(UTC)


def requests(sources: Sequence[Source], count: int) -> Iterator[tuple[Source, Request]]:
    """`count` requests, the sources in turn."""
    for number in range(count):
        source = sources[number % len(sources)]
        yield source, simulator.request(source, _event(_KINDS[number // len(sources) % len(_KINDS)]))


def wires(sources: Sequence[Source], count: int) -> list[bytes]:
    """Requests ready to be sent."""
    return [encode(request) for _, request in requests(sources, count)]


def bodies(source: Source, count: int) -> list[str]:
    return [request.body.decode() for _, request in requests([source], count)]


def groups(sources: Sequence[Source], count: int, size: int) -> Iterator[list[tuple[str, bytes]]]:
    """Callbacks as the ingress puts them into the inbox, in groups."""
    callbacks = ((source.name, packed(source, request)) for source, request in requests(sources, count))
    while group := list(itertools.islice(callbacks, size)):
        yield group


def packed(source: Source, request: Request) -> bytes:
    arrived = now()
    arrival = Arrival.of(
        id=new_id(arrived),
        source=source.name,
        provider=source.provider,
        received_at=arrived,
        method=request.method,
        target=request.target,
        headers=request.headers,
        body=request.body,
        remote_ip="127.0.0.1",
    )
    return pack(arrival.kept(PROVIDERS[source.provider].HEADERS))


def _event(kind: simulator.Kind) -> Event:
    number = str(next(_numbers))
    return msgspec.structs.replace(simulator.event(kind, now(), _dice), key=(kind, number), message_id=number)


def raw_bytes(groups: Iterable[Sequence[tuple[str, bytes]]]) -> int:
    return sum(len(packed) for group in groups for _, packed in group)
