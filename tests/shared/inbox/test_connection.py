"""Connections that go to the primary, and leave a server that is none any more."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from shared import inbox
from shared.inbox import RedisUnavailable, watch
from shared.inbox.locator import Locator, Place
from shared.redis_url import parse_redis_url
from tests.keys import INBOX
from tests.own_redis import demote, own_redis, place_of, promote, run, url_of


@pytest.fixture
def own(tmp_path: Path) -> Iterator[inbox.Shard]:
    with own_redis(tmp_path) as shard:
        yield shard


def clients(shard: inbox.Shard) -> int:
    """Connections that this Redis has accepted since its start."""
    stats: Any = shard.info("stats")
    return int(stats["total_connections_received"])


def test_a_worker_leaves_a_server_that_takes_no_writes_and_goes_on_once_it_does(own: inbox.Shard) -> None:
    with inbox.connect(url_of(own), 5.0) as shard:
        worker = inbox.Consumer(shard, "one")
        assert worker.claim(1, 0.01) == []
        demote(own)
        before = clients(own)
        with pytest.raises(RedisUnavailable, match=r"not the primary, or takes no writes \(READONLY\)"):
            worker.claim(1, 0.01)
        with pytest.raises(RedisUnavailable, match="READONLY"):
            worker.claim(1, 0.01)
        assert clients(own) > before, "the connection was ended, so that the next one may go elsewhere"
        promote(own)
        assert worker.claim(1, 0.01) == []


def test_an_ingress_leaves_a_server_that_takes_no_writes_and_goes_on_once_it_does(own: inbox.Shard) -> None:
    async def go() -> None:
        appender = inbox.Appender.connect(url_of(own), 100, 5.0)
        try:
            await appender.append([("a", b"1")])
            demote(own)
            before = clients(own)
            for _ in range(2):
                with pytest.raises(RedisUnavailable, match="READONLY"):
                    await appender.append([("a", b"2")])
            assert clients(own) > before
            promote(own)
            await appender.append([("a", b"2")])
        finally:
            await appender.close()

    asyncio.run(go())
    assert own.xlen(INBOX) == 2


class Moving(Locator):
    """A locator that a test moves."""

    def __init__(self, place: Place) -> None:
        super().__init__(parse_redis_url("redis://:pw@named:1"), "{t}")
        self.place = place

    def locate(self) -> Place:
        return self.place


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[inbox.Shard, inbox.Shard]]:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with own_redis(tmp_path / "a") as a, own_redis(tmp_path / "b") as b:
        yield a, b


def test_a_connection_that_leads_elsewhere_is_cut_while_it_waits_for_an_answer(
    two: tuple[inbox.Shard, inbox.Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a failover, when the old primary is frozen and never says anything again."""
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.02)
    old, new = two
    locator = Moving(place_of(old))
    with inbox.connect(url_of(old), 20.0) as shard:
        shard.connection_pool.connection_kwargs["watch"] = watch.Watch(locator)
        worker = inbox.Consumer(shard, "one")
        assert worker.claim(1, 0.01) == []
        run(old, "CLIENT", "PAUSE", "20000", "ALL")
        locator.place = place_of(new)
        started = time.monotonic()
        with pytest.raises(RedisUnavailable):
            worker.claim(1, 0.01)
        assert time.monotonic() - started < 15, "it was cut, not waited for"
        assert worker.claim(1, 0.01) == []
        assert shard.connection_pool.connection_kwargs["watch"].locator.place == place_of(new)
        assert new.exists(INBOX)


def test_an_append_is_cut_too_and_the_next_one_goes_to_the_new_primary(
    two: tuple[inbox.Shard, inbox.Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.02)
    old, new = two
    locator = Moving(place_of(old))

    async def go() -> None:
        shard = inbox.connect_async(url_of(old), 20.0)
        shard.connection_pool.connection_kwargs["watch"] = watch.Watch(locator)
        appender = inbox.Appender(shard, 100, 20.0)
        try:
            await appender.append([("a", b"1")])
            run(old, "CLIENT", "PAUSE", "20000", "ALL")
            locator.place = place_of(new)
            started = time.monotonic()
            with pytest.raises(RedisUnavailable):
                await appender.append([("a", b"2")])
            assert time.monotonic() - started < 15, "it was cut, not waited for"
            await appender.append([("a", b"2")])
        finally:
            await appender.close()

    asyncio.run(go())
    assert new.xlen(INBOX) == 1


@asynccontextmanager
async def relay(to: int, delay_seconds: float, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """A port behind which a server is, with this much time each way."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            await asyncio.sleep(delay_seconds)
            writer.write(chunk)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * delay_seconds)  # what a TCP connection takes
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def until_taken(append: Callable[[], Awaitable[None]], pause_seconds: float = 0.02, most: int = 200) -> int:
    """How many appends failed before one was taken."""
    for tries in range(most):
        try:
            await append()
        except RedisUnavailable:
            await asyncio.sleep(pause_seconds)
        else:
            return tries
    raise AssertionError("no append was taken")


def test_connecting_may_take_longer_than_an_append(own: inbox.Shard) -> None:
    """Over a link of 120 ms a round trip the greeting alone takes longer than an append may."""

    async def go() -> None:
        async with relay(own.url.hosts[0][1], 0.06) as port:
            appender = inbox.Appender(inbox.connect_async(url_of(own, port=port), 20.0), 100, 0.25)
            try:
                await until_taken(lambda: appender.append([("a", b"1")]))
                await appender.append([("a", b"2")])
            finally:
                await appender.close()

    asyncio.run(go())
    assert own.xlen(INBOX) >= 2


def test_what_is_near_enough_for_an_append_is_found_back(own: inbox.Shard) -> None:
    """There is no time for two round trips."""

    async def go() -> None:
        async with relay(own.url.hosts[0][1], 0.07) as port:
            appender = inbox.Appender(inbox.connect_async(url_of(own, port=port), 20.0), 100, 0.25)
            try:
                await until_taken(appender.probe, 0.5, 12)
            finally:
                await appender.close()

    asyncio.run(go())


def test_an_address_that_nobody_answers_does_not_keep_from_the_next_one(
    own: inbox.Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with two addresses, of which the first swallows what is sent to it."""
    port = own.url.hosts[0][1]
    silent = socket.socket()
    silent.bind(("127.0.0.3", port))
    silent.listen(0)
    fillers = [socket.socket() for _ in range(8)]
    for filler in fillers:  # until its queue is full, and the kernel drops what comes
        filler.setblocking(False)
        filler.connect_ex(silent.getsockname())
    resolve = socket.getaddrinfo

    def both(host: Any, at: Any, *args: Any, **options: Any) -> Any:
        if host != "redis.example":
            return resolve(host, at, *args, **options)
        return [each for address in ("127.0.0.3", "127.0.0.1") for each in resolve(address, at, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", both)

    async def go() -> None:
        appender = inbox.Appender(inbox.connect_async(url_of(own, "redis.example"), 2.0), 100, 0.25)
        try:
            await until_taken(lambda: appender.append([("a", b"1")]))
        finally:
            await appender.close()

    try:
        asyncio.run(go())
        with inbox.connect(url_of(own, "redis.example"), 5.0) as shard:
            assert inbox.ping(shard)
    finally:
        for each in (silent, *fillers):
            each.close()
    assert own.xlen(INBOX) >= 1


def test_the_place_that_cannot_change_is_not_watched(own: inbox.Shard) -> None:
    with inbox.connect(url_of(own), 5.0) as shard:
        inbox.ping(shard)
        seen = shard.connection_pool.connection_kwargs["watch"]
        assert not seen._followed
        assert seen._looking is None
