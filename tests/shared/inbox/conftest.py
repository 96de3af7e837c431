"""A shard on a real server: what matters here is what the server does."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared import inbox
from shared.inbox.keys import GROUP
from tests.keys import INBOX

LINGER_SECONDS = 0.01  # of a worker that asks for entries


@pytest.fixture
def client(redis_url: str) -> Iterator[inbox.Shard]:
    with inbox.connect(redis_url, 5.0) as client:
        yield client


@pytest.fixture
def append(redis_url: str) -> Callable[..., None]:
    def append(*group: tuple[str, bytes], limit: int = 1000) -> None:
        async def once() -> None:
            appender = inbox.Appender.connect(redis_url, limit, 5.0)
            try:
                await appender.append(group)
            finally:
                await appender.close()

        asyncio.run(once())

    return append


def consumer(client: inbox.Shard, name: str = "one") -> inbox.Consumer:
    return inbox.Consumer(client, name)


def consumers(client: inbox.Shard) -> list[dict[str, Any]]:
    found: Any = client.xinfo_consumers(INBOX, GROUP)
    return list(found)
