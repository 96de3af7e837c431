"""uvicorn's HTTP with bounds, over real sockets: heads that never end, and `Upgrade`, which must not cost a body."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from ingress import protocol
from ingress.protocol import Bounded

Seen = list[tuple[str, bytes]]


def serve(client: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> Seen:
    """Lets a client talk to a server; the path and body of every request that reached the application whole."""
    seen: Seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        seen.append((scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def run() -> None:
        config = uvicorn.Config(app, log_config=None, access_log=False)
        server = await asyncio.get_running_loop().create_server(lambda: Bounded(config, ServerState(), {}), "127.0.0.1")
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            try:
                async with asyncio.timeout(20):
                    await client(reader, writer)
            finally:
                writer.close()

    asyncio.run(run())
    return seen


def exchange(*parts: bytes, answers: int = 1) -> tuple[Seen, list[bytes]]:
    """Sends the parts one by one; what reached the application, and the status lines that came back."""
    lines: list[bytes] = []

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        for _ in range(answers):
            head = await reader.readuntil(b"\r\n\r\n")
            lines.append(head.partition(b"\r\n")[0])
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)

    return serve(client), lines


UPGRADES = [
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    b"Connection: Upgrade\r\nUpgrade: TLS/1.3\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n",
]


@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("cut", [None, 0, 3])
def test_a_body_behind_upgrade_is_read_and_the_upgrade_ignored(upgrade: bytes, cut: int | None) -> None:
    body = b"messageid=1&status=2"
    head = b"POST /a HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n" % (upgrade, len(body))
    parts = [head + body] if cut is None else [head + body[:cut], body[cut:]]
    assert exchange(*parts) == ([("/a", body)], [b"HTTP/1.1 200 OK"])


@pytest.mark.parametrize("upgrade", UPGRADES)
def test_a_request_without_a_body_may_propose_an_upgrade(upgrade: bytes) -> None:
    assert exchange(b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n%b\r\n" % upgrade) == ([("/a", b"")], [b"HTTP/1.1 200 OK"])


def test_chunks_behind_upgrade_are_refused_and_nothing_is_handed_on() -> None:
    head = b"POST /a HTTP/1.1\r\nHost: x\r\n" + UPGRADES[0] + b"Transfer-Encoding: chunked\r\n\r\n"
    assert exchange(head + b"3\r\nabc\r\n0\r\n\r\n") == ([], [b"HTTP/1.1 400 Bad Request"])


def test_requests_follow_each_other_on_one_connection() -> None:
    one = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
    seen, lines = exchange(one, one + one, answers=3)
    assert (len(seen), lines) == (3, [b"HTTP/1.1 200 OK"] * 3)


@pytest.mark.parametrize(
    "head",
    [b"GET /" + b"a" * protocol.HEAD_LIMIT_BYTES, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * protocol.HEAD_LIMIT_BYTES],
    ids=["long line", "many headers"],
)
def test_a_head_without_end_is_refused(head: bytes) -> None:
    half = len(head) // 2
    assert exchange(head[:half], head[half:]) == ([], [b"HTTP/1.1 400 Bad Request"])


def test_a_large_body_does_not_count_as_head() -> None:
    body = b"x" * (3 * protocol.HEAD_LIMIT_BYTES)
    request = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    assert exchange(request, request, answers=2)[0] == [("/a", body)] * 2


@pytest.mark.parametrize("begun", [b"", b"POST /a HTTP/1.1\r\nHost: x\r\n"], ids=["silent", "half a head"])
def test_a_head_that_does_not_come_ends_the_connection(monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begun)
        assert await reader.read() == b""

    assert serve(client) == []


def test_a_slow_body_is_not_ended_by_the_deadline_of_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.02)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nh")
        await asyncio.sleep(0.1)
        writer.write(b"i")
        assert (await reader.readuntil(b"\r\n")) == b"HTTP/1.1 200 OK\r\n"

    assert serve(client) == [("/a", b"hi")]
