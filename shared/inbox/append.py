"""The ingress's end of the inbox."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import msgspec
from redis.exceptions import RedisError

from shared.callback import new_id
from shared.inbox import doorbell
from shared.inbox.client import AsyncClient, RedisUnavailable, connect_async, unavailable
from shared.inbox.keys import INBOX, LEDGER, MEMORY_SHARE, PROBE, SPOOLS, script
from shared.inbox.snapshot import Snapshot, queue_reads, snapshot_in

Group = Sequence[tuple[str, bytes]]  # (source, packed callback), made durable together


class Appender:
    """Appends callbacks, and reads the inbox for `/metrics`. Each method raises RedisUnavailable."""

    def __init__(self, client: AsyncClient, limit: int, deadline_seconds: float) -> None:
        self._client = client
        self._limit = limit
        self._deadline_seconds = deadline_seconds
        self._append = client.register_script(script("append"))

    @classmethod
    def connect(cls, url: str, limit: int, deadline_seconds: float) -> "Appender":
        """Appends to the Redis at this URL, up to `limit` entries in the inbox; each call has the deadline."""
        return cls(connect_async(url, deadline_seconds), limit, deadline_seconds)

    async def append(self, group: Group, now: datetime) -> None:
        """Makes all callbacks of the group durable, or none. One round trip, and one fsync of Redis.

        Raises Unavailable when Redis refuses, is away or does not answer in time. Then the group may have been
        taken; appending it again is harmless, since a callback's id makes it one.
        """
        arguments: list[Any] = [self._limit, MEMORY_SHARE, doorbell.message(new_id(now))]
        for pair in group:
            arguments += pair
        async with self._call():
            await self._append(keys=[INBOX, LEDGER, doorbell.QUEUE], args=arguments)

    async def probe(self) -> None:
        """Raises Unavailable unless Redis would take a callback now: room for one, and writing works."""
        async with self._call():
            await self._append(keys=[INBOX, LEDGER, doorbell.QUEUE], args=[self._limit, MEMORY_SHARE, b""])
            await self._client.set(PROBE, b"")

    async def report_spool(self, file: str, counts: Mapping[str, int]) -> None:
        """Notes how many callbacks of each source wait in a spool file. Raises Unavailable."""
        async with self._call():
            if counts:
                await self._client.hset(SPOOLS, file, msgspec.json.encode(counts))
            else:
                await self._client.hdel(SPOOLS, file)

    async def snapshot(self) -> Snapshot:
        """The inbox at this moment. Raises Unavailable."""
        async with self._call(), self._client.pipeline() as pipe:
            queue_reads(pipe)
            return snapshot_in(await pipe.execute())

    async def close(self) -> None:
        await self._client.aclose()

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[None]:
        """Raises Unavailable when Redis refuses what is asked inside, is away or does not answer in time."""
        try:
            async with asyncio.timeout(self._deadline_seconds):
                yield
        except TimeoutError:
            raise RedisUnavailable(f"Redis did not answer within {self._deadline_seconds:g} s") from None
        except (RedisError, OSError) as error:
            raise unavailable(error) from error
