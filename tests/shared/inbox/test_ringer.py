"""The doorbell of the ingress, apart from what it appends."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from fakeredis import FakeAsyncRedis, FakeServer

from shared.inbox import Ringer, doorbell, ringer

NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Counted(FakeAsyncRedis):
    """Counts the doorbells that were sent."""

    sent = 0

    async def evalsha(self, *words: Any) -> Any:
        self.sent += 1
        return await super().evalsha(*words)


def test_many_rings_at_once_are_two_doorbells_and_one_waits_for_a_worker() -> None:
    async def run() -> None:
        client = Counted(server=FakeServer())
        bell = Ringer(client, lambda: NOW)
        for _ in range(100):
            bell.ring()
        await asyncio.sleep(0)
        for _ in range(100):
            bell.ring()
        await bell.close()
        assert client.sent <= 4
        assert await client.llen(doorbell.QUEUE) == 1

    asyncio.run(run())


def test_a_later_ring_is_sent_too() -> None:
    async def run() -> None:
        client = Counted(server=FakeServer())
        bell = Ringer(client, lambda: NOW)
        for _ in range(3):
            await client.delete(doorbell.QUEUE)
            bell.ring()
            while bell._ringing:
                await asyncio.sleep(0.001)
            assert await client.llen(doorbell.QUEUE) == 1
        await bell.close()

    asyncio.run(run())


def test_a_doorbell_that_fails_by_a_fault_of_ours_is_not_the_last_one() -> None:
    class Broken(Counted):
        async def evalsha(self, *words: Any) -> Any:
            if not self.sent:
                self.sent += 1
                raise RuntimeError("a fault of ours")
            return await super().evalsha(*words)

    async def run() -> None:
        client = Broken(server=FakeServer())
        bell = Ringer(client, lambda: NOW)
        bell.ring()
        with pytest.raises(RuntimeError):
            await bell.close()
        bell.ring()
        await bell.close()
        assert await client.llen(doorbell.QUEUE) == 1

    asyncio.run(run())


def test_nobody_waits_for_a_broker_that_is_away_or_says_nothing(monkeypatch: Any) -> None:
    monkeypatch.setattr(ringer, "RING_SECONDS", 0.05)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for url in ("redis://127.0.0.1:1", f"redis://127.0.0.1:{port}"):
            bell = Ringer.connect(url, 1.0, lambda: NOW)
            bell.ring()
            bell.ring()
            await bell.close()
        server.close()

    asyncio.run(asyncio.wait_for(run(), 20))


def test_a_broker_of_its_own_gets_the_doorbell(redis_url: str) -> None:
    async def run() -> None:
        bell = Ringer.connect(redis_url, 2.0, lambda: NOW)
        bell.ring()
        await bell.close()

    asyncio.run(run())
    with redis.Redis.from_url(redis_url) as broker:
        assert broker.llen(doorbell.QUEUE) == 1
