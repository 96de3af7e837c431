"""A simulator of the providers: makes realistic events, and has each rendered and signed as its provider does.

The numbers are from ranges kept for fiction or never given out.
"""

import random
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal, get_args

import msgspec

from shared.callback import TEST_HEADER, Request
from shared.events import DeliveryReport, Event, InboundMessage, Status
from shared.providers import PROVIDERS, sign
from shared.source import Source

Kind = Literal["mo", "dr"]
KINDS: tuple[Kind, ...] = get_args(Kind)

TEXTS = ("What time do you open tomorrow?", "STOP", "Danke, passt so 👍", "ok", "Battery at 14 %, door closed", "你好")
_ENDS = (Status.DELIVERED,) * 6 + (Status.EXPIRED, Status.FAILED)


def event(kind: Kind, now: datetime, dice: random.Random) -> Event:
    """A new event with realistic content."""
    number = dice.randrange(10**9, 10**10)
    handset = f"+4477009{dice.randrange(10**5):05}"  # Ofcom's numbers for drama
    if kind == "mo":
        text = dice.choice(TEXTS)
        return InboundMessage(
            key=("mo", str(number)),
            message_id=str(number),
            sender=handset,
            recipient="12345678",
            text=text,
            encoding=None if text.isascii() else "ucs2",
            sent_at=now - timedelta(seconds=2),
        )
    return DeliveryReport(
        key=("dr", str(number)),
        message_id=str(number),
        recipient=handset,
        status=dice.choice(_ENDS),
        occurred_at=now - timedelta(seconds=1),
        price=Decimal("0.045"),
        currency="USD",
        parts=1,
    )


def request(source: Source, happened: Event) -> Request:
    """The request in which the source's provider reports the event, signed, with its path at the ingress, and marked
    as a test."""
    path = f"/callbacks/{source.name}" + (f"/{source.token}" if source.token else "")
    rendered = PROVIDERS[source.provider].render(happened).with_headers({TEST_HEADER: "1"})
    return sign(msgspec.structs.replace(rendered, path=path), source)


def curl(base_url: str, request: Request) -> str:
    """A line for a shell that sends the request."""
    words = ["curl", "-i", "-X", request.method]
    for name, value in request.headers.items():
        words += ["-H", f"{name}: {value}"]
    if request.body:
        words += ["--data-raw", request.body.decode()]
    return shlex.join([*words, base_url + request.target])


def requests(source: Source, kinds: list[Kind], count: int, dice: random.Random) -> Iterator[Request]:
    """`count` requests, the kinds in turn."""
    for number in range(count):
        yield request(source, event(kinds[number % len(kinds)], datetime.now(UTC), dice))
