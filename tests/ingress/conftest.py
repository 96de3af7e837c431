"""What the tests of the ingress share: one request to an ASGI application, by hand, and what it said."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

import pytest
import structlog
from structlog.testing import LogCapture

from ingress import commit, keeper, receive, spool_mover
from ingress.commit import Done
from ingress.quarantine import Quarantine
from shared.callback import Arrival, Callback, new_id
from shared.errors import Unavailable
from shared.inbox import Appender, RedisUnavailable, Ringer, shards
from shared.refused import Refused
from shared.source import Source

NOWHERE = "/dev/null/spool"  # no folder can be made here: an ingress without a spool
NOW = datetime(2024, 5, 1, 12, 30, 0, 123_456, tzinfo=UTC)

Headers = Sequence[tuple[str, str]]


class Answer(NamedTuple):
    """What a caller got. `read` counts the parts of its body that the application asked for."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    read: int

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, values
        return values[0] if values else None

    @property
    def said(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """All that a caller sees."""
        return self.status, sorted(self.headers), self.body

    @property
    def error(self) -> str:
        """The sentence of an error in our own words: one line of JSON."""
        assert self.header("content-type") == "application/json"
        assert self.body.count(b"\n") <= 1
        document = json.loads(self.body)
        assert document.keys() == {"error"}
        return str(document["error"])


class Caller:
    """One request, as a server hands it to an application. Its body comes in parts; None is the caller hanging up."""

    def __init__(
        self,
        path: str = "/callbacks/fleet",
        method: str = "POST",
        query: str = "",
        headers: Headers = (),
        body: bytes | Iterable[bytes | None] = b"",
        client: tuple[str, int] | None = ("192.0.2.7", 50_000),
    ) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode("latin-1"),
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            "client": client,
            "server": ("127.0.0.1", 8000),
        }
        parts = [body] if isinstance(body, bytes) else list(body)
        self.messages: list[dict[str, Any]] = [
            {"type": "http.disconnect"}
            if part is None
            else {"type": "http.request", "body": part, "more_body": number < len(parts)}
            for number, part in enumerate(parts, 1)
        ]
        self.read = 0
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        if self.read == len(self.messages):
            await asyncio.Event().wait()  # a caller that waits for its answer
        self.read += 1
        return self.messages[self.read - 1]

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def ask(self, app: Any) -> Answer:
        await app(self.scope, self.receive, self.send)
        return self.answer()

    def answer(self) -> Answer:
        start, *bodies = self.sent
        assert start["type"] == "http.response.start"
        assert [body["type"] for body in bodies] == ["http.response.body"] * len(bodies)
        assert [body.get("more_body", False) for body in bodies] == [True] * (len(bodies) - 1) + [False]
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
        answer = Answer(start["status"], headers, b"".join(body.get("body", b"") for body in bodies), self.read)
        assert answer.header("content-length") == str(len(answer.body))
        return answer


async def ask(app: Any, path: str = "/callbacks/fleet", method: str = "POST", **keys: Any) -> Answer:
    return await Caller(path, method, **keys).ask(app)


class Inbox(Appender):
    """An inbox in memory. One that is held takes each append when it is let pass; `errors` are raised one by one."""

    def __init__(self, *errors: Exception, held: bool = False) -> None:
        self.appended: list[list[tuple[str, bytes]]] = []
        self.confirming: int | None = None
        self.lost = 0
        self.asked = asyncio.Semaphore(0)  # one more for every append that began
        self._errors = list(errors)
        self._passes = asyncio.Semaphore(0 if held else 1_000_000)

    def let_pass(self, appends: int = 1000) -> None:
        for _ in range(appends):
            self._passes.release()

    async def append(
        self, group: Sequence[tuple[str, bytes]], seconds: float | None = None, confirm: bool = True
    ) -> None:
        self.asked.release()
        await self._passes.acquire()
        if self._errors:
            raise self._errors.pop(0)
        self.appended.append(list(group))


class NoBroker(Ringer):
    """Counts in the place of ringing."""

    def __init__(self) -> None:
        self.rings = 0

    def ring(self) -> None:
        self.rings += 1

    async def close(self) -> None:
        pass


class Kept:
    """A committer that keeps what it is given, or cannot."""

    def __init__(self, error: Exception | None = None, gate: asyncio.Event | None = None) -> None:
        self.callbacks: list[Callback] = []
        self.asked = asyncio.Event()
        self._error = error
        self._gate = gate
        self._tasks: list[asyncio.Future[None]] = []

    def commit(self, callback: Callback, done: Done) -> None:
        self.asked.set()
        if self._error is not None and not isinstance(self._error, Unavailable):
            raise self._error
        self._tasks.append(asyncio.ensure_future(self._commit(callback, done)))

    async def _commit(self, callback: Callback, done: Done) -> None:
        if self._gate is not None:
            await self._gate.wait()
        if self._error is None:
            self.callbacks.append(callback)
        done(cast(Unavailable | None, self._error))


class Refusals(Quarantine):
    """A quarantine that keeps what it is given, while it has room."""

    def __init__(self, room: bool = True) -> None:
        self.kept: list[Refused] = []
        self.dropped: list[str] = []
        self._room = room

    def has_room(self, source: str, address: str | None) -> bool:
        return self._room

    def add(self, arrival: Arrival, reason: str, source: Source, peer: str | None, place: Mapping[str, str]) -> None:
        self.kept.append(Refused.of(arrival, reason, source, peer, place))

    def drop(self, source: str) -> None:
        self.dropped.append(source)


AWAY = RedisUnavailable("Redis does not answer (Connection refused)")


def a_callback(body: bytes = b"{}", source: str = "fleet") -> Callback:
    return Callback(id=new_id(NOW), source=source, provider="stub", received_at=NOW, method="POST", body=body)


async def settle() -> None:
    """Lets everything that can go on go on: a few turns of the loop, and no time."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def log_entries(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The events that the ingress logs, whatever the logs are set to."""
    capture = LogCapture()
    for module in (commit, keeper, receive, shards, spool_mover):
        monkeypatch.setattr(module, "log", structlog.wrap_logger(None, processors=[capture]))
    return cast(list[dict[str, Any]], capture.entries)


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[Any]:
    """The application between its start and its stop, as a server does it."""
    asked: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    done: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    life = asyncio.create_task(app({"type": "lifespan", "state": {}}, asked.get, done.put))

    async def do(step: str) -> None:
        await asked.put({"type": f"lifespan.{step}"})
        assert await done.get() == {"type": f"lifespan.{step}.complete"}

    await do("startup")
    try:
        yield app
    finally:
        await do("shutdown")
        await life
