"""The load client against a small server: what it notes, and that it sends nothing twice."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
import uvloop

from shared.callback import Request
from tests.load.client import Answer, Client, encode

Answering = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
DEADLINE_SECONDS = 20.0


def serve(
    answering: Answering,
    paths: list[str],
    connections: int = 2,
    per_second: float | None = None,
    timeout: float = 10.0,
    patience: float = math.inf,
) -> tuple[list[Answer], list[bytes]]:
    """The answers noted for these paths, in their order, and what the server read."""
    read: list[bytes] = []
    noted: list[Answer] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(3)
                read.append(head.split()[1])
                await answering(read[-1], writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1")
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        requests = (encode(Request(method="POST", path=path, body=b"abc")) for path in paths)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await Client(url, connections, timeout, patience).run(requests, per_second, noted.append)
        server.close()

    uvloop.run(run())
    return sorted(noted), read


async def accept(path: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Callbox-Id: id-of-%s\r\ncontent-length: 2\r\n\r\nok" % path)


def test_each_request_is_sent_once_and_its_answer_noted() -> None:
    paths = [f"/{number}" for number in range(100)]
    answers, read = serve(accept, paths)
    assert [answer.number for answer in answers] == list(range(100))
    assert [(answer.status, answer.callback_id, answer.error) for answer in answers] == [
        (200, f"id-of-{path}", "") for path in paths
    ]
    assert sorted(read) == sorted(path.encode() for path in paths)


def test_an_answer_may_come_in_pieces() -> None:
    async def in_pieces(path: bytes, writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nlate":
            writer.write(bytes([byte]))
            await asyncio.sleep(0)

    answers, _ = serve(in_pieces, ["/a", "/b"])
    assert [(answer.status, answer.callback_id) for answer in answers] == [(503, ""), (503, "")]


@pytest.mark.parametrize("says_so", [True, False])
def test_a_connection_that_the_server_closes_between_two_requests_costs_none(says_so: bool) -> None:
    async def last(path: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n%s\r\n" % (b"connection: close\r\n" if says_so else b""))
        writer.close()

    answers, read = serve(last, ["/a", "/b", "/c"], connections=1, per_second=None if says_so else 5)
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert read == [b"/a", b"/b", b"/c"]


def test_a_request_without_an_answer_is_noted_and_not_repeated() -> None:
    async def hang_up(path: bytes, writer: asyncio.StreamWriter) -> None:
        if path == b"/b":
            writer.close()
        else:
            await accept(path, writer)

    answers, read = serve(hang_up, ["/a", "/b", "/c"], connections=1)
    assert [answer.status for answer in answers] == [200, 0, 200]
    assert answers[1].error
    assert read == [b"/a", b"/b", b"/c"]


def test_a_request_waits_no_longer_than_its_timeout() -> None:
    async def never(path: bytes, writer: asyncio.StreamWriter) -> None:
        if path != b"/b":
            await accept(path, writer)

    answers, _ = serve(never, ["/a", "/b", "/c"], connections=1, timeout=0.3)
    assert [answer.status for answer in answers] == [200, 0, 200]
    assert answers[1].seconds >= 0.3
    assert "within 0.3 s" in answers[1].error


def test_a_server_that_is_not_there_is_an_answer_without_status() -> None:
    noted: list[Answer] = []
    client = Client("http://127.0.0.1:1", connections=2, timeout_seconds=0.2)
    uvloop.run(asyncio.wait_for(client.run(iter([b"a", b"b", b"c"]), None, noted.append), DEADLINE_SECONDS))
    assert [(note.number, note.status) for note in sorted(noted)] == [(0, 0), (1, 0), (2, 0)]


def test_an_open_loop_keeps_its_schedule_and_counts_the_waiting() -> None:
    async def slowly(path: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        await accept(path, writer)

    began = time.monotonic()
    answers, _ = serve(slowly, [f"/{number}" for number in range(10)], connections=1, per_second=100)
    assert time.monotonic() - began >= 0.5
    due = [answer.sent_at - answers[0].sent_at for answer in answers]
    assert due == sorted(due)
    assert 0.08 < due[-1] < 0.45, "on schedule, though the server answers 20 a second"
    assert sum(due[-1:]) + answers[-1].seconds >= 0.5, "waiting for a connection is part of it"


def test_a_request_is_not_sent_after_the_patience_for_a_free_connection() -> None:
    async def slowly(path: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)
        await accept(path, writer)

    answers, read = serve(slowly, ["/a", "/b", "/c"], connections=1, per_second=100, patience=0.1)
    assert read == [b"/a"]
    assert [(answer.status, answer.error) for answer in answers[1:]] == [(0, "no connection was free")] * 2
    assert all(answer.waited_seconds > 0.1 for answer in answers[1:])
    assert answers[0].waited_seconds < answers[0].seconds


@pytest.mark.parametrize("per_second", [None, 100.0])
def test_a_failure_of_the_requests_ends_the_run(per_second: float | None) -> None:
    def requests() -> Iterator[bytes]:
        yield b"a"
        raise RuntimeError("no more of them")

    client = Client("http://127.0.0.1:1", connections=2, timeout_seconds=5.0)
    with pytest.raises((RuntimeError, ExceptionGroup)):
        uvloop.run(asyncio.wait_for(client.run(requests(), per_second, lambda _: None), DEADLINE_SECONDS))


def test_no_requests() -> None:
    assert serve(accept, []) == ([], [])
    assert serve(accept, [], per_second=10) == ([], [])
