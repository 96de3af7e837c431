"""Callbacks on their way into the stream."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shared import inbox
from shared.errors import Unavailable
from shared.inbox import doorbell
from tests.keys import INBOX
from tests.shared.inbox.conftest import LINGER_SECONDS, consumer


def test_a_full_inbox_takes_all_of_a_group_or_nothing(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"), limit=2)
    with pytest.raises(Unavailable, match="as many callbacks as it may"):
        append(("a", b"2"), ("a", b"3"), limit=2)
    depth, ledger, *_ = inbox.take_snapshot(client)
    assert depth.entries == 1
    assert ledger["a"]["appended"] == 1


def test_a_redis_short_of_memory_refuses_callbacks_and_still_lets_them_out(client: inbox.Shard, append: Any) -> None:
    append(*[("a", b"x" * 1000)] * 10)
    entries = consumer(client).claim(10, LINGER_SECONDS)
    used: Any = client.info("memory")
    client.config_set("maxmemory", used["used_memory"] + 1)
    try:
        with pytest.raises(Unavailable, match="memory"):
            append(("a", b"1"))
        client.config_set("maxmemory", 1)
        assert consumer(client).acknowledge([inbox.Done(entry, "stored") for entry in entries]) == 10
    finally:
        client.config_set("maxmemory", 0)
    assert inbox.take_snapshot(client).ledger["a"]["stored"] == 10


def test_probing_writes_no_callback_and_rings_no_bell(redis_url: str, client: inbox.Shard) -> None:
    async def probe(limit: int) -> None:
        appender = inbox.Appender.connect(redis_url, limit, 5.0)
        try:
            await appender.probe()
        finally:
            await appender.close()

    asyncio.run(probe(limit=1))
    assert (client.xlen(INBOX), client.llen(doorbell.QUEUE)) == (0, 0)
    with pytest.raises(Unavailable):
        asyncio.run(probe(limit=0))


def test_a_redis_that_is_not_there_is_unavailable() -> None:
    async def append() -> None:
        appender = inbox.Appender.connect("redis://127.0.0.1:1/0", 10, 0.5)
        try:
            await appender.append([("a", b"1")])
        finally:
            await appender.close()

    with pytest.raises(Unavailable, match="Redis does not answer"):
        asyncio.run(append())


@pytest.mark.parametrize(
    "call",
    [
        lambda appender: appender.append([("a", b"1")]),
        lambda appender: appender.probe(),
        lambda appender: appender.report_spool("file", {"a": 1}),
        lambda appender: appender.snapshot(),
    ],
    ids=["append", "probe", "report_spool", "snapshot"],
)
def test_a_redis_that_does_not_answer_is_unavailable_after_the_deadline(call: Callable[[Any], Any]) -> None:
    async def hang() -> None:
        gone = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            await writer.wait_closed()
            gone.set()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = inbox.connect_async(f"redis://127.0.0.1:{port}/0", 5.0)
        appender = inbox.Appender(client, 10, 0.02)
        try:
            await call(appender)
        finally:
            await appender.close()
            await gone.wait()
            server.close()

    with pytest.raises(Unavailable, match=r"did not answer within 0\.02 s"):
        asyncio.run(asyncio.wait_for(hang(), 10))
