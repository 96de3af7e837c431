"""A simulator of the providers: makes realistic events, has each rendered and signed as its provider does, sends them.

The numbers are from ranges kept for fiction or never given out.
"""

import random
import shlex
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import local
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from shared.callback import Request
from shared.events import DeliveryReport, Event, InboundMessage, Status
from shared.providers import PROVIDERS
from shared.source import Source

Kind = Literal["mo", "dr"]

CONNECTIONS = 8
_TEXTS = ("What time do you open tomorrow?", "STOP", "Danke, passt so 👍", "ok", "Battery at 14 %, door closed", "你好")
_ENDS = (Status.DELIVERED,) * 6 + (Status.EXPIRED, Status.FAILED)


class Answer(NamedTuple):
    """An answer of the ingress: its HTTP status (0, with an error, if there is none), the callback's id, the time."""

    status: int
    callback_id: str | None
    seconds: float
    error: str = ""


def event(kind: Kind, now: datetime, dice: random.Random) -> Event:
    """A new event with realistic content."""
    number = dice.randrange(10**9, 10**10)
    handset = f"+4477009{dice.randrange(10**5):05}"  # Ofcom's numbers for drama
    if kind == "mo":
        return InboundMessage(
            key=("mo", str(number)),
            message_id=str(number),
            sender=handset,
            recipient="12345678",
            text=dice.choice(_TEXTS),
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
    """The request in which the source's provider reports the event, signed, with its path at the ingress."""
    provider = PROVIDERS[source.provider]
    path = f"/callbacks/{source.name}" + (f"/{source.token}" if source.token else "")
    return provider.sign(msgspec.structs.replace(provider.render(happened), path=path), source)


def curl(base_url: str, request: Request) -> str:
    """A line for a shell that sends the request."""
    words = ["curl", "-i", "-X", request.method]
    for name, value in request.headers.items():
        words += ["-H", f"{name}: {value}"]
    if request.body:
        words += ["--data-raw", request.body.decode()]
    return shlex.join([*words, base_url + request.target])


class Sender:
    """Sends requests to one ingress over connections that stay open, one for each thread, until it is closed."""

    def __init__(self, base_url: str) -> None:
        self._address = urlsplit(base_url)
        self._own = local()
        self._connections: list[HTTPConnection] = []

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()

    def send_all(
        self, requests: Iterator[Request], per_second: float | None, note: Callable[[Answer], Any]
    ) -> list[Answer]:
        """Sends them, no faster than `per_second`; calls `note` with every answer as it comes."""
        answers: list[Answer] = []
        began = time.monotonic()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            waiting = []
            for number, request in enumerate(requests):
                if per_second:
                    time.sleep(max(0.0, began + number / per_second - time.monotonic()))
                waiting.append(pool.submit(self.send, request))
                if len(waiting) >= 4 * CONNECTIONS:
                    answers.append(waiting.pop(0).result())
                    note(answers[-1])
            for future in waiting:
                answers.append(future.result())
                note(answers[-1])
        return answers

    def send(self, request: Request) -> Answer:
        """Sends one request and reads its answer."""
        began = time.monotonic()
        connection = self._connection()
        try:
            connection.request(request.method, request.target, request.body, request.headers)
            response = connection.getresponse()
            response.read()
        except (OSError, HTTPException) as error:
            connection.close()
            return Answer(0, None, time.monotonic() - began, getattr(error, "strerror", "") or type(error).__name__)
        return Answer(response.status, response.headers.get("x-callbox-id"), time.monotonic() - began)

    def _connection(self) -> HTTPConnection:
        if not hasattr(self._own, "connection"):
            kind = HTTPSConnection if self._address.scheme == "https" else HTTPConnection
            self._own.connection = kind(self._address.hostname or "", self._address.port, timeout=30)
            self._connections.append(self._own.connection)
        connection: HTTPConnection = self._own.connection
        return connection


def requests(source: Source, kinds: list[Kind], count: int, dice: random.Random) -> Iterator[Request]:
    """`count` requests, the kinds in turn."""
    for number in range(count):
        yield request(source, event(kinds[number % len(kinds)], datetime.now(UTC), dice))
