"""A load client: ready-made requests over connections that stay open, each sent once, and every answer noted."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

from shared.callback import Request

CONNECT_PAUSE_SECONDS = 0.05  # after a connection that was refused


class Answer(NamedTuple):
    """What came back. `status` is 0, and `trouble` says why, when nothing did."""

    number: int  # of the request, in the order given
    status: int
    callback_id: str
    sent_at: float  # of the monotonic clock; in open loop when it was due, so that waiting counts
    seconds: float
    trouble: str = ""


Note = Callable[[Answer], None]


def encode(request: Request) -> bytes:
    """The request on the wire, HTTP/1.1."""
    target = request.path + (f"?{request.query}" if request.query else "")
    headers = {"host": "callbox", "content-length": str(len(request.body)), **request.headers}
    lines = [f"{request.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + request.body


class Client:
    """One ingress, asked over so many connections."""

    def __init__(self, url: str, connections: int = 32, timeout_seconds: float = 30.0) -> None:
        self._address = urlsplit(url)
        self._connections = connections
        self._timeout_seconds = timeout_seconds

    async def run(self, requests: Iterable[bytes], per_second: float | None, note: Note) -> None:
        """Sends them all, each once: as fast as the answers come, or on a fixed schedule whatever the answers do."""
        due: deque[tuple[int, bytes, float]] = deque()
        source = enumerate(requests)
        more = asyncio.Event()
        ended = False

        async def schedule(per_second: float) -> None:
            nonlocal ended
            began = time.monotonic()
            for number, wire in source:
                at = began + number / per_second
                if (early := at - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                due.append((number, wire, at))
                more.set()
            ended = True
            more.set()

        async def take() -> tuple[int, bytes, float] | None:
            if per_second is None:
                return _now(source)
            while not due:
                if ended:
                    return None
                more.clear()
                await more.wait()
            return due.popleft()

        async with asyncio.TaskGroup() as tasks:
            if per_second is not None:
                tasks.create_task(schedule(per_second))
            for _ in range(self._connections):
                tasks.create_task(self._serve(take, note))

    async def _serve(self, take: "Callable[[], asyncio.Future[tuple[int, bytes, float] | None]]", note: Note) -> None:
        connection: _Connection | None = None
        while (work := await take()) is not None:
            number, wire, at = work
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    while connection is None or connection.closed:
                        connection = await self._connect()
                    status, callback_id = await connection.ask(wire)
                note(Answer(number, status, callback_id, at, time.monotonic() - at))
            except (OSError, TimeoutError) as error:
                if connection is not None:
                    connection.close()
                connection = None
                note(Answer(number, 0, "", at, time.monotonic() - at, str(error) or type(error).__name__))
        if connection is not None:
            connection.close()

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        while True:
            with suppress(OSError):
                _, connection = await loop.create_connection(_Connection, self._address.hostname, self._address.port)
                return connection
            await asyncio.sleep(CONNECT_PAUSE_SECONDS)


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.closed = False
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, str]] | None = None
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, wire: bytes) -> "asyncio.Future[tuple[int, str]]":
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(wire)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, end, body = self._read.partition(b"\r\n\r\n")
        if not end or self._answer is None:
            return
        fields = head.lower()
        if len(body) < int(_field(fields, b"content-length") or 0):
            return
        self._read = b""
        if _field(fields, b"connection") == b"close":
            self.close()
        if not self._answer.done():
            self._answer.set_result((int(head[9:12]), _field(fields, b"x-callbox-id").decode()))

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the connection was closed without an answer"))

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.close()


def _field(head: bytes, name: bytes) -> bytes:
    _, found, rest = head.partition(b"\r\n" + name + b": ")
    return rest.partition(b"\r\n")[0].strip() if found else b""


def _now(source: Iterator[tuple[int, bytes]]) -> tuple[int, bytes, float] | None:
    number, wire = next(source, (0, None))
    return None if wire is None else (number, wire, time.monotonic())
