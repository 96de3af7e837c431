"""A load client: ready-made requests over connections that stay open, each sent once, and every answer noted.

A connection goes from an answer to its next request within one callback of the loop, without tasks or futures, and
reads of an answer only what is needed: the load must cost little beside what it measures (best on uvloop).
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from shared.callback import Request

CONNECT_PAUSE_SECONDS = 0.05  # after a connection that was refused
TICK_SECONDS = 0.001  # requests go out so much too early, at most: uvloop's timers know no finer time
LOOKS = 20  # for overdue answers, within one timeout


class Answer(NamedTuple):
    """What came back. `status` is 0, and `error` says why, when nothing did."""

    number: int  # of the request, in the order given
    status: int
    callback_id: str
    sent_at: float  # of the monotonic clock; in open loop when it was due, so that waiting counts
    seconds: float
    error: str = ""
    waited_seconds: float = 0.0  # of those, until a connection took it


class _Work(NamedTuple):
    """One request to send."""

    number: int
    wire: bytes
    at: float


Note = Callable[[Answer], None]


def encode(request: Request) -> bytes:
    """The request on the wire, HTTP/1.1."""
    headers = {"host": "callbox", "content-length": str(len(request.body)), **request.headers}
    lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + request.body


class Client:
    """One ingress, asked over a number of connections."""

    def __init__(
        self, url: str, connections: int = 32, timeout_seconds: float = 30.0, patience_seconds: float = math.inf
    ) -> None:
        self._address = urlsplit(url)
        self._connections = connections
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds

    async def run(self, requests: Iterable[bytes], per_second: float | None, note: Note) -> None:
        """Sends them all, each once: as fast as the answers come, or on a fixed schedule whatever the answers do. A
        request that is due while every connection is busy waits for one, and is not sent when that takes longer than
        the patience. A request whose connection is not there yet waits for it, up to the timeout."""
        run = _Run(requests, per_second is not None, note, self._timeout_seconds, self._patience_seconds)
        host, port = self._address.hostname or "", self._address.port or 80
        connections = [_Connection(run, host, port) for _ in range(self._connections)]
        try:
            async with asyncio.TaskGroup() as tasks:
                helpers = [tasks.create_task(connection.serve()) for connection in connections]
                helpers.append(tasks.create_task(_watch(connections, self._timeout_seconds)))
                if per_second is not None:
                    tasks.create_task(run.schedule(per_second))
                await run.over.wait()
                for helper in helpers:
                    helper.cancel()
        finally:
            for connection in connections:
                connection.drop()
            await asyncio.sleep(0)  # until they know that they are closed
        if run.error is not None:
            raise run.error


class _Run:
    """The requests of one run: which is next, and what came of each."""

    def __init__(
        self, requests: Iterable[bytes], is_open: bool, note: Note, timeout_seconds: float, patience_seconds: float
    ) -> None:
        self._source = enumerate(requests)
        self._is_open = is_open
        self._note = note
        self._due: deque[_Work] = deque()  # in open loop
        self._resting: deque[_Connection] = deque()  # connections that wait for work
        self._exhausted = False
        self._unanswered = 0
        self._patience_seconds = patience_seconds
        self.timeout_seconds = timeout_seconds
        self.over = asyncio.Event()
        self.error: Exception | None = None  # of the requests or of `note`, which ends the run

    async def schedule(self, per_second: float) -> None:
        """Makes each request due at its time."""
        began = time.monotonic()
        for number, wire in self._source:
            at = began + number / per_second
            if (early := at - time.monotonic()) > TICK_SECONDS:
                await asyncio.sleep(early - early % TICK_SECONDS)
            self._due.append(_Work(number, wire, min(at, time.monotonic())))
            if self._resting:
                self._resting.popleft().go_on()
            elif number % 100 == 99:
                await asyncio.sleep(0)  # a schedule that lags behind must not keep the answers waiting
        self._exhausted = True
        self._look_for_the_end()

    def take(self, connection: "_Connection") -> _Work | None:
        """The next request; the connection rests when there is none now."""
        work: _Work | None = None
        if self._is_open:
            work = self._next_due()
        elif not self._exhausted:
            work = self._next()
        if work is None:
            self._resting.append(connection)
            self._look_for_the_end()
        else:
            self._unanswered += 1
        return work

    def answered(self, work: _Work, taken_at: float, status: int, callback_id: str, error: str = "") -> None:
        self._unanswered -= 1
        seconds = time.monotonic() - work.at
        self._report(Answer(work.number, status, callback_id, work.at, seconds, error, taken_at - work.at))

    def _report(self, answer: Answer) -> None:
        try:
            self._note(answer)
        except Exception as error:
            self._fail(error)

    def _next_due(self) -> _Work | None:
        now = time.monotonic()
        while self._due:
            work = self._due.popleft()
            late = now - work.at
            if late <= self._patience_seconds:
                return work
            self._report(Answer(work.number, 0, "", work.at, late, "no connection was free", late))
        return None

    def _next(self) -> _Work | None:
        try:
            number, wire = next(self._source)
        except StopIteration:
            self._exhausted = True
        except Exception as error:
            self._fail(error)
        else:
            return _Work(number, wire, time.monotonic())
        return None

    def _fail(self, error: Exception) -> None:
        self.error = error
        self._exhausted = True
        self.over.set()

    def _look_for_the_end(self) -> None:
        if self._exhausted and not self._due and not self._unanswered:
            self.over.set()


class _Connection(asyncio.Protocol):
    """One connection, one request at a time; made again after it was lost."""

    def __init__(self, run: _Run, host: str, port: int) -> None:
        self._run = run
        self._host, self._port = host, port
        self._transport: asyncio.Transport | None = None  # None while there is no connection
        self._work: _Work | None = None
        self._taken_at = 0.0
        self._read = b""
        self._missing = asyncio.Event()  # set while there is work and no connection

    async def serve(self) -> None:
        """Connects whenever work finds no connection."""
        self.go_on()
        while await self._missing.wait():
            try:
                await asyncio.get_running_loop().create_connection(lambda: self, self._host, self._port)
            except OSError:
                await asyncio.sleep(CONNECT_PAUSE_SECONDS)

    def go_on(self) -> None:
        """Takes the next request and sends it."""
        self._work = self._run.take(self)
        if self._work is None:
            return
        self._taken_at = time.monotonic()
        if self._transport is None:
            self._missing.set()
        else:
            self._transport.write(self._work.wire)

    def give_up_if_overdue(self, now: float) -> None:
        if self._work is not None and now - self._taken_at > self._run.timeout_seconds:
            self.drop()
            self._fail(f"no answer within {self._run.timeout_seconds:g} s")

    def drop(self) -> None:
        """Closes the connection at once: what it may still hear must not be taken for the next one's."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._missing.clear()
        self._read = b""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        if self._work is not None:
            self._transport.write(self._work.wire)

    def data_received(self, data: bytes) -> None:
        if self._read:
            data = self._read + data
        ends = data.find(b"\r\n\r\n")
        head = data[: ends + 2].lower()
        if ends < 0 or len(data) < ends + 4 + int(_field(head, b"content-length") or 0):
            self._read = data
            return
        self._read = b""
        work, self._work = self._work, None
        if work is None or _field(head, b"connection") == b"close":
            self.drop()
        if work is not None:
            self._run.answered(work, self._taken_at, int(head[9:12]), _field(head, b"x-callbox-id").decode())
            self.go_on()

    def eof_received(self) -> None:
        self.drop()
        self._fail("the connection was closed without an answer")

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is not None:  # else it was dropped, and there may be another by now
            self._transport = None
            self._fail(str(error or "the connection was closed without an answer"))

    def _fail(self, error: str) -> None:
        work, self._work = self._work, None
        if work is not None:
            self._run.answered(work, self._taken_at, 0, "", error)
            self.go_on()


async def _watch(connections: list[_Connection], timeout_seconds: float) -> None:
    while True:
        await asyncio.sleep(timeout_seconds / LOOKS)
        now = time.monotonic()
        for connection in connections:
            connection.give_up_if_overdue(now)


def _field(head: bytes, name: bytes) -> bytes:
    begins = head.find(b"\r\n" + name + b": ")
    if begins < 0:
        return b""
    begins += len(name) + 4
    return head[begins : head.index(b"\r\n", begins)].strip()
