"""How many bytes a callback needs, where it is: measured on real servers, with the callbacks of each provider."""

import asyncio
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec
import psycopg
import redis

from deploy.local import simulator
from deploy.local.simulator import KINDS, Kind
from ingress import spool
from shared import config, inbox
from shared.providers import PROVIDERS
from shared.settings import Settings
from shared.source import Source
from tests.load.payloads import now, packed
from tests.providers.support import example_of
from workers.database import Database
from workers.drain.drainer import Drainer
from workers.drain.store import Store

GROUP = 50  # callbacks of one append
_TABLES = (
    "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
    " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
)
_WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"

Groups = Sequence[Sequence[tuple[str, bytes]]]


class Bytes(NamedTuple):
    """Of one callback of a provider. `packed` is what the ingress appends; `memory` what Redis needs while it waits;
    `redis_file` what is written to the append-only file until it is acknowledged; `tables` with their indexes."""

    provider: str
    kind: Kind
    packed: int
    memory: int
    redis_file: int
    spool: int
    tables: int
    wal: int


def measure(redis_url: str, database_url: str, folder: Path, count: int) -> Iterator[Bytes]:
    """Each provider and kind in turn, with `count` callbacks of different messages. Empties both servers before."""
    (folder / "callbox.toml").write_text("".join(map(example_of, PROVIDERS)))
    sources = config.load(folder / "callbox.toml", {}, PROVIDERS).sources.values()
    for source in sources:  # what is made once is not counted: scripts, plans, the first pages
        _through(redis_url, database_url, source, list(_groups(source, "mo", GROUP)))
    for source in sources:
        for kind in KINDS:
            groups = list(_groups(source, kind, count))
            raw = sum(len(each) for group in groups for _, each in group)
            memory, redis_file, tables, wal = _through(redis_url, database_url, source, groups)
            spooled = _spooled(folder / f"{source.name}-{kind}", groups)
            sums = raw, memory, redis_file, spooled, tables, wal
            yield Bytes(source.provider, kind, *(math.ceil(each / count) for each in sums))


def _groups(source: Source, kind: Kind, count: int) -> Iterator[list[tuple[str, bytes]]]:
    dice = Random(1)
    for start in range(0, count, GROUP):
        numbers = range(start, min(start + GROUP, count))
        events = [
            msgspec.structs.replace(simulator.event(kind, now(), dice), key=(kind, str(n)), message_id=str(10**10 + n))
            for n in numbers
        ]
        yield [(source.name, packed(source, simulator.request(source, event))) for event in events]


def _through(redis_url: str, database_url: str, source: Source, groups: Groups) -> tuple[int, int, int, int]:
    """Appends the groups and drains them: memory, file, tables and WAL, in bytes for all."""
    with (
        redis.Redis.from_url(redis_url) as client,
        psycopg.connect(database_url, autocommit=True) as connection,
        inbox.connect(redis_url, 10.0) as shard,
    ):
        client.flushall()
        tables = "callbacks, inbound_messages, delivery_reports, deliveries, dead_letters, replays"
        connection.execute(f"TRUNCATE {tables}".encode())
        before = _memory(client), _file(client), _one(connection, _TABLES), _one(connection, _WAL)
        asyncio.run(_append(redis_url, groups))
        memory = _memory(client) - before[0]
        database = Database(database_url, 10.0)
        store, settings = Store(database), Settings(linger_seconds=0.01)
        try:
            Drainer(shard, "one", lambda: None, store, {source.name: source}, settings).run()
        finally:
            database.close()
        stored = connection.execute("SELECT count(*) FROM callbacks WHERE outcome = 'stored'").fetchone()
        assert stored == (sum(map(len, groups)),), f"{source.provider}: {stored} were stored"
        connection.execute("VACUUM")
        after = _file(client), _one(connection, _TABLES), _one(connection, _WAL)
    return memory, after[0] - before[1], after[1] - before[2], after[2] - before[3]


async def _append(url: str, groups: Groups) -> None:
    appender = inbox.Appender.connect(url, 10**7, 10.0)
    for group in groups:
        await appender.append(group)
    await appender.close()


def _spooled(folder: Path, groups: Groups) -> int:
    """The bytes of a spool file with all of them, once its log was moved into it."""
    made = spool.create(folder, 2**30)
    empty = made.path.stat().st_size
    for group in groups:
        made.append(group)
    path = made.path
    made.close()
    return path.stat().st_size - empty


def _memory(client: redis.Redis) -> int:
    found: Any = client.info("memory")
    return int(found["used_memory"])


def _file(client: redis.Redis) -> int:
    found: Any = client.info("persistence")
    return int(found["aof_current_size"])


def _one(connection: "psycopg.Connection[Any]", query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])
