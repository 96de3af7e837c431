"""The ingress's own HTTP over real sockets: what it hands on, what it bounds, and how connections end."""

import asyncio
import gc
import socket
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any, cast

import pytest
import uvicorn
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from uvicorn.server import ServerState

from ingress import protocol
from ingress.address import Proxies
from ingress.app import Ingress
from ingress.commit import Committer
from ingress.gate import Gate, Limits
from ingress.protocol import Bounded
from ingress.receive import Receiver
from shared.providers import Provider
from shared.settings import Settings
from tests.ingress.conftest import NOW, Kept, Refusals
from tests.ingress.test_receive import SOURCES, Stub

Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LARGEST = 100
LIMITS = Limits.of(Settings())


class Server:
    """The ingress in this process: a stub for a provider, callbacks kept in a list, and one path beside them."""

    def __init__(self, limits: Limits = LIMITS, kept: Kept | None = None) -> None:
        self.kept = kept or Kept()
        self.provider = Stub()
        self.paths: list[str] = []
        self.state = ServerState()
        self.gate = Gate(limits, Proxies(()))
        providers, committer = cast(dict[str, Provider], {"stub": self.provider}), cast(Committer, self.kept)
        receiver = Receiver(SOURCES, providers, committer, Refusals(), Settings(body_limit_bytes=LARGEST), lambda: NOW)
        others = Starlette(
            routes=[
                Route("/page", self._page, methods=["GET", "POST"]),
                Route("/large", lambda _: PlainTextResponse("x" * (1 << 20))),
                Route("/stream", lambda _: StreamingResponse(iter(["one ", "two"]))),
                Route("/broken", self._broken),
            ]
        )
        self.app = Ingress(self.gate, receiver, others)

    async def _page(self, request: Request) -> PlainTextResponse:
        body = await request.body()
        self.paths.append(request.url.path)
        return PlainTextResponse(f"{request.method} {request.url.query} {len(body)}")

    async def _broken(self, request: Request) -> PlainTextResponse:
        raise RuntimeError("broken")

    @property
    def bodies(self) -> list[bytes]:
        return [callback.body for callback in self.kept.callbacks]

    def talk(self, *clients: Client, seconds: float = 20) -> "Server":
        """Lets the clients talk to it, each over a connection of its own, all at once."""

        async def run() -> None:
            config = uvicorn.Config(self.app, log_config=None, ws="none", interface="asgi3")
            config.load()
            loop = asyncio.get_running_loop()
            server = await loop.create_server(lambda: Bounded(config, self.state, {}), "127.0.0.1")
            self.address = server.sockets[0].getsockname()

            async def one(client: Client) -> None:
                reader, writer = await asyncio.open_connection(*self.address)
                try:
                    await client(reader, writer)
                finally:
                    writer.close()

            try:
                async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                    for client in clients:
                        group.create_task(one(client))
            finally:
                server.close()  # uvloop does not end before
            async with asyncio.timeout(seconds):
                while self.state.connections:
                    await asyncio.sleep(0.01)

        uvloop.run(run())
        return self


def post(body: bytes = b"", path: bytes = b"/callbacks/fleet", headers: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (path, headers, len(body), body)


def chunked(*chunks: bytes, path: bytes = b"/callbacks/fleet", trailers: bytes = b"") -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % path
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailers + b"\r\n"


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """One answer: its status, headers and body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers.get("content-length", 0)))


def exchange(*parts: bytes, answers: int = 1, server: Server | None = None) -> tuple[Server, list[int]]:
    """Sends the parts one by one; the server, and the statuses that came back."""
    server = server or Server()
    statuses: list[int] = []

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.002)
        statuses.extend([(await answer(reader))[0] for _ in range(answers)])

    return server.talk(client), statuses


# What is handed on


@pytest.mark.parametrize("wire", [post(b"hello"), chunked(b"he", b"llo"), post(b"hello", headers=b"Expect: x\r\n")])
def test_a_callback_arrives_however_its_bytes_come(wire: bytes) -> None:
    """In one piece, cut in two anywhere, and byte by byte."""
    server = Server()

    def client(*parts: bytes) -> Client:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0.001)
            status, headers, _ = await answer(reader)
            assert (status, "x-callbox-id" in headers, "connection" in headers) == (202, True, False)

        return talk

    cuts = [client(wire[:cut], wire[cut:]) for cut in range(1, len(wire))]
    server.talk(client(wire), *cuts, client(*(wire[at : at + 1] for at in range(len(wire)))))
    assert server.bodies == [b"hello"] * (len(wire) + 1)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.binary(min_size=1, max_size=20), max_size=4), st.booleans()), min_size=1, max_size=5
    ),
    st.lists(st.integers(0, 2000), max_size=8),
)
def test_requests_behind_each_other_are_taken_in_order_wherever_they_are_cut(
    requests: list[tuple[list[bytes], bool]], cuts: list[int]
) -> None:
    """Bodies of known length and chunked ones, with what ends a head in them too."""
    bodies = [b"\r\n\r\n".join(chunks) for chunks, _ in requests]
    wire = b"".join(
        chunked(*chunks) if is_chunked else post(body)
        for body, (chunks, is_chunked) in zip(bodies, requests, strict=True)
    )
    expected = [
        b"".join(chunks) if is_chunked else body for body, (chunks, is_chunked) in zip(bodies, requests, strict=True)
    ]
    places = [0, *sorted(cut % len(wire) for cut in cuts), len(wire)]
    parts = [wire[start:end] for start, end in pairwise(places)]
    server, statuses = exchange(*filter(None, parts), answers=len(requests))
    assert (server.bodies, statuses) == (expected, [202] * len(requests))


def test_many_requests_in_one_read_are_answered_one_after_the_other() -> None:
    wire = b"".join(post(b"%d" % number) for number in range(200))
    server, statuses = exchange(wire, answers=200)
    assert server.bodies == [b"%d" % number for number in range(200)]
    assert set(statuses) == {202}


def test_one_request_is_in_work_and_the_next_ones_wait_unparsed() -> None:
    gate = asyncio.Event()
    server = Server(kept=Kept(gate=gate))

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post(b"1") + post(b"2") + b"not HTTP\r\n\r\n")
        await server.kept.asked.wait()
        await asyncio.sleep(0.05)
        assert [callback.body for callback in server.provider.asked] == [b"1"]
        gate.set()
        assert [(await answer(reader))[0] for _ in range(3)] == [202, 202, 400]

    server.talk(client)


def test_other_paths_are_served_through_asgi() -> None:
    server = Server()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for wire, body in (
            (b"GET /page?a=%20b HTTP/1.1\r\nHost: x\r\n\r\n", b"GET a=%20b 0"),
            (post(b"12345", b"/page"), b"POST  5"),
            (chunked(b"12", b"345", path=b"http://x/p%61ge"), b"POST  5"),
            (b"HEAD /page HTTP/1.1\r\nHost: x\r\n\r\n", None),
            (post(b"1", b"/nowhere"), b"Not Found"),
        ):
            writer.write(wire)
            if body is None:
                assert b"content-length: 7" in await reader.readuntil(b"\r\n\r\n")
            else:
                assert (await answer(reader))[2] == body
        writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n" + post(b"x"))
        assert await reader.readuntil(b"0\r\n\r\n")
        assert (await answer(reader))[0] == 202

    server.talk(client)
    assert server.paths == ["/page", "/page", "/page", "/page"]


def test_a_path_that_fails_is_500_and_the_connection_goes_on() -> None:
    assert exchange(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n")[1] == [500]


UPGRADES = [
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    b"Connection: Upgrade\r\nUpgrade: TLS/1.3\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n",
]


@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("cut", [None, 0, 3])
def test_a_body_behind_upgrade_is_read_and_the_upgrade_ignored(upgrade: bytes, cut: int | None) -> None:
    body = b"messageid=1&status=2"
    wire = post(body, headers=upgrade)
    parts = [wire] if cut is None else [wire[: len(wire) - len(body) + cut], wire[len(wire) - len(body) + cut :]]
    server, statuses = exchange(*parts)
    assert (server.bodies, statuses) == ([body], [202])


@pytest.mark.parametrize("upgrade", UPGRADES)
def test_a_request_without_a_body_may_propose_an_upgrade(upgrade: bytes) -> None:
    assert exchange(b"GET /callbacks/fleet?b=c HTTP/1.1\r\nHost: x\r\n%b\r\n" % upgrade)[1] == [202]


def test_chunks_behind_upgrade_are_refused_and_nothing_is_handed_on() -> None:
    head = b"POST /callbacks/fleet HTTP/1.1\r\nHost: x\r\n" + UPGRADES[0] + b"Transfer-Encoding: chunked\r\n\r\n"
    server, statuses = exchange(head + b"3\r\nabc\r\n0\r\n\r\n")
    assert (server.bodies, statuses) == ([], [400])


@pytest.mark.parametrize(
    "wire",
    [
        b"GET /callbacks/fleet\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /callbacks/fleet HTTP/2.0\r\nContent-Length: 0\r\n\r\n",
        b"CONNECT callbacks:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /callbacks/fleet HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /callbacks/fleet HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /callbacks/fleet HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /callbacks/fleet HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /callbacks/fleet HTTP/1.1\r\nHost: x\r\n folded: y\r\nContent-Length: 0\r\n\r\n",
        b"POST /callbacks/fleet HTTP/1.1\nHost: x\nContent-Length: 0\n\n",
        b"POST /callbacks/fleet HTTP/1.1\r\nHost : x\r\nContent-Length: 0\r\n\r\n",
        b"POST /callbacks/fleet HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n\r\n",
        b"POST /callbacks/fleet HTTP/1.1\r\nTransfer-Encoding: gzip, chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /callbacks/fleet HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_not_http_1_1_is_refused_and_the_connection_ends(wire: bytes) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wire)
        assert (await answer(reader))[0] == 400
        assert await reader.read() == b""

    assert Server().talk(client).bodies == []


def test_http_1_0_is_answered_and_its_connection_ends() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST /callbacks/fleet HTTP/1.0\r\nContent-Length: 1\r\n\r\nx")
        status, headers, _ = await answer(reader)
        assert (status, headers["connection"], await reader.read()) == (202, "close", b"")

    assert Server().talk(client).bodies == [b"x"]


def test_who_waits_for_100_continue_gets_it_once_and_not_when_refused() -> None:
    expect = b"Expect: 100-continue\r\n"

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post(b"x" * 10, headers=expect)[:-10])
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        for _ in range(10):
            writer.write(b"x")
            await asyncio.sleep(0.001)
        assert (await answer(reader))[0] == 202
        writer.write(post(b"x", b"/callbacks/nobody", expect)[:-1])
        assert (await answer(reader))[0] == 404

    Server().talk(client)


def test_a_request_that_ends_with_half_a_close_is_answered() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post(b"x"))
        writer.write_eof()
        status, headers, _ = await answer(reader)
        assert (status, headers["connection"], await reader.read()) == (202, "close", b"")

    gate = asyncio.Event()
    server = Server(kept=Kept(gate=gate))

    async def release(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.kept.asked.wait()
        await asyncio.sleep(0.05)
        gate.set()

    assert server.talk(client, release).bodies == [b"x"]


# Trailers


def test_trailers_are_no_headers() -> None:
    """Not those that come with the head in one segment either: a proxy has looked at the headers only."""
    server = Server()
    trailers = b"X-Sign: forged\r\nX-Kind: forged\r\nX-Forwarded-For: 192.0.2.1\r\n"
    assert exchange(chunked(b"x", trailers=trailers), server=server)[1] == [202]
    (callback,) = server.provider.asked
    assert not {"x-sign", "x-kind", "x-forwarded-for"} & callback.headers.keys()
    assert exchange(chunked(b"x", path=b"/callbacks/near", trailers=trailers))[1] == [401]


def test_behind_a_trailer_that_closes_the_connection_ends_with_the_answer() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(chunked(b"x", trailers=b"Connection: close\r\n") + post(b"swallowed"))
        status, headers, _ = await answer(reader)
        assert (status, headers["connection"], await reader.read()) == (202, "close", b"")

    assert Server().talk(client).bodies == [b"x"]


@pytest.mark.parametrize("path", [b"/callbacks/fleet", b"/callbacks/nobody", b"/page"])
@pytest.mark.parametrize("line", [b"a:\r\n", b"a: " + b"b" * 100_000, b"a: b\r\n" * 1000])
def test_trailers_without_end_are_refused(path: bytes, line: bytes) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(chunked(b"x", path=path)[:-2])
        try:
            for _ in range(400):
                writer.write(line * (1 if len(line) > 1000 else 100))
                await writer.drain()
        except ConnectionError:
            return
        assert (await answer(reader))[0] in (404, 431)

    assert Server().talk(client).bodies == []


# Limits


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\na: "], ids=["long line", "long header"])
@pytest.mark.parametrize("over", [1, 60_000, 200_000])
@pytest.mark.parametrize("step", [1_000, 70_000, 1 << 20])
def test_a_head_above_the_limit_is_refused_however_it_arrives(start: bytes, over: int, step: int) -> None:
    wire = start + b"a" * (LIMITS.head_bytes - len(start) - 4 + over) + b"\r\n\r\n"
    assert exchange(*(wire[at : at + step] for at in range(0, len(wire), step)))[1] == [431]


def test_a_head_of_the_limit_is_taken() -> None:
    start = b"POST /callbacks/fleet HTTP/1.1\r\nContent-Length: 0\r\na: "
    assert exchange(start + b"a" * (LIMITS.head_bytes - len(start) - 4) + b"\r\n\r\n")[1] == [202]


@pytest.mark.parametrize(("count", "status"), [(LIMITS.headers, 202), (LIMITS.headers + 1, 431)])
def test_a_head_has_a_limit_of_headers(count: int, status: int) -> None:
    wire = b"POST /callbacks/fleet HTTP/1.1\r\nContent-Length: 0\r\n" + b"a:\r\n" * (count - 1) + b"\r\n"
    assert exchange(wire)[1] == [status]


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (post(b"x" * LARGEST), 202),
        (post(b"x" * (LARGEST + 1)), 413),
        (chunked(b"x" * LARGEST), 202),
        (chunked(b"x" * LARGEST, b"x"), 413),
        (chunked(*[b"x"] * (LARGEST + 1)), 413),
        (post(b"x" * (LIMITS.body_bytes + 1), b"/page"), 413),
        (chunked(*[b"x" * 1000] * 300, path=b"/page"), 413),
    ],
)
def test_a_body_has_a_limit(wire: bytes, status: int) -> None:
    assert exchange(wire)[1] == [status]


def test_a_body_announced_too_large_is_refused_before_it_comes() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST /callbacks/fleet HTTP/1.1\r\nContent-Length: 101\r\n\r\n")
        status, headers, _ = await answer(reader)
        assert (status, headers["connection"], await reader.read()) == (413, "close", b"")

    Server().talk(client)


def test_a_caller_that_is_still_sending_reads_why_it_was_refused() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST /callbacks/fleet HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n")
        for _ in range(30):
            writer.write(b"x" * 100_000)
            await writer.drain()
        assert (await answer(reader))[0] == 413

    Server().talk(client)


def test_the_framing_of_a_body_has_a_limit() -> None:
    many = [b"x"] * (LIMITS.head_bytes // 16)
    extension = b"POST /page HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"e" * LIMITS.head_bytes + b"\r\nx\r\n"
    assert exchange(chunked(*many, path=b"/page"))[1] == [431]
    assert exchange(extension + b"0\r\n\r\n")[1] == [431]
    assert exchange(chunked(*[b"x" * 16] * 2000, path=b"/page"))[1] == [200]


# Deadlines


def short(**seconds: Any) -> Server:
    limits = LIMITS._replace(**seconds)
    return Server(limits)


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"POST /callbacks/fleet HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(begun: bytes) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begun)
        assert await reader.read() == b""

    assert short(head_seconds=0.05).talk(client).bodies == []


def test_a_head_has_its_deadline_between_requests_too_and_bytes_do_not_extend_it() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post(b"x"))
        assert (await answer(reader))[0] == 202
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError, RuntimeError)):
            for _ in range(1000):
                writer.write(b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
                if reader.at_eof():
                    raise ConnectionResetError

    short(head_seconds=0.5).talk(client)


def test_an_idle_connection_ends() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post(b"x"))
        assert (await answer(reader))[0] == 202
        assert await reader.read() == b""

    short(idle_seconds=0.5).talk(client)


def test_a_body_that_does_not_come_in_time_is_refused_and_the_deadline_of_the_head_does_not_count() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post(b"xx")[:-1])
        await asyncio.sleep(0.6)
        writer.write(b"x")
        assert (await answer(reader))[0] == 202
        writer.write(post(b"xx")[:-1])
        status, headers, _ = await answer(reader)
        assert (status, headers["connection"]) == (408, "close")

    assert short(head_seconds=0.4, body_seconds=1.5).talk(client).bodies == [b"xx"]


async def never_read(server: Server, wire: bytes) -> socket.socket:
    """A connection that sends and never reads."""
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    deaf.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(deaf, server.address)
    await loop.sock_sendall(deaf, wire)
    return deaf


def test_a_caller_that_never_reads_is_ended_and_its_next_requests_wait_in_the_socket() -> None:
    server = short(answer_seconds=0.3)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        deaf = await never_read(server, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        try:
            await asyncio.sleep(0.1)
            connections: set[Any] = set(server.state.connections)
            (connection,) = [connection for connection in connections if connection.unread_bytes()]
            assert connection.unread_bytes() <= 1 << 20, "one answer"
            while connection in server.state.connections:
                await asyncio.sleep(0.01)
        finally:
            deaf.close()

    server.talk(client)


# All connections together


def test_where_unfinished_requests_hold_too_much_the_oldest_ends_and_the_honest_go_on() -> None:
    server = Server(LIMITS._replace(unproven_bytes=40_000))
    ended: list[int] = []

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post(b"x" * 2000, b"/page")[:-1])
        status, headers, _ = await answer(reader)
        assert (status, headers["connection"]) == (408, "close")
        ended.append(status)

    async def honest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(50):
            writer.write(post(b"x"))
            assert (await answer(reader))[0] == 202
            await asyncio.sleep(0.01)
        assert server.gate._held_bytes <= 40_000
        assert 20 - 40 // 3 <= len(ended) < 20
        connections: list[Any] = list(server.state.connections)
        for connection in connections:
            connection.end("stop")

    async def any_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await slow(reader, writer)

    server.talk(honest, *[any_end] * 20)
    assert server.gate._held_bytes == 0


def test_beyond_the_limit_of_connections_new_ones_are_closed_and_the_open_ones_go_on() -> None:
    server = Server(LIMITS._replace(connections=3))

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        others = [await asyncio.open_connection(*server.address) for _ in range(5)]
        await asyncio.sleep(0.05)
        assert [other.at_eof() for other, _ in others] == [False, False, True, True, True]
        for it_reader, it_writer in [(reader, writer), *others[:2]]:
            it_writer.write(post(b"x"))
            assert (await answer(it_reader))[0] == 202
        for _, other_writer in others:
            other_writer.close()
        while len(server.state.connections) > 1:
            await asyncio.sleep(0.01)
        again, other = await asyncio.open_connection(*server.address)
        other.write(post(b"x"))
        assert (await answer(again))[0] == 202
        other.close()

    server.talk(client)


def test_nothing_of_a_connection_is_left_when_it_ends_without_the_collector() -> None:
    server = Server()
    left: list[Any] = []

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for wire in (post(b"x"), b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n", post(b"x", b"/callbacks/nobody")):
            writer.write(wire)
            await answer(reader)
        left.extend(weakref.ref(connection) for connection in server.state.connections)
        writer.write(post(b"x") + post(b"y") * 10 + b"junk")
        await answer(reader)

    gc.collect()
    gc.disable()
    try:
        server.talk(client)
        assert [connection() for connection in left] == [None]
    finally:
        gc.enable()


# The stop


def test_a_server_that_stops_answers_what_is_in_work_and_a_last_request() -> None:
    gate = asyncio.Event()
    server = Server(kept=Kept(gate=gate))

    async def working(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post(b"x"))
        status, headers, _ = await answer(reader)
        assert (status, headers["connection"], await reader.read()) == (202, "close", b"")

    async def idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.kept.asked.wait()
        for connection in list(server.state.connections):
            connection.shutdown()
        writer.write(post(b"last"))
        gate.set()
        status, headers, _ = await answer(reader)
        assert (status, headers["connection"], await reader.read()) == (202, "close", b"")

    assert sorted(server.talk(working, idle).bodies) == [b"last", b"x"]


def test_a_stop_has_an_end_whatever_the_callers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "LAST_SECONDS", 0.05)
    server = Server(LIMITS._replace(stop_seconds=0.3, answer_seconds=10.0))

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        deaf = await never_read(server, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        slow = await never_read(server, b"POST /callb")
        await asyncio.sleep(0.1)
        for connection in list(server.state.connections):
            connection.shutdown()
        while server.state.connections:
            await asyncio.sleep(0.01)
        deaf.close()
        slow.close()

    server.talk(client)
