"""The system under the faults: `callbox up` behind two relays, on servers that this file starts, stops and ends."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg
import redis

from deploy.local import servers
from shared import inbox
from tests import said
from tests.faults.process import PATIENCE_SECONDS, Process
from tests.faults.relay import Relay
from tests.faults.stored import Stored, read_stored
from tests.pipeline.conftest import Running

# Every deadline is short here, so that a fault can outlast all of them in seconds, and so are batches: a drain reads
# ahead only behind a full one.
SETTINGS = {
    "CALLBOX_STATEMENT_SECONDS": "1",
    "CALLBOX_RECLAIM_SECONDS": "2",
    "CALLBOX_DRAIN_SECONDS": "3",
    "CALLBOX_STALL_SECONDS": "5",
    "CALLBOX_BEAT_SECONDS": "1",
    "CALLBOX_APPEND_SECONDS": "0.25",
    "CALLBOX_BATCH_COUNT": "100",
}
LONGER_THAN_ALL = 7.0  # seconds: the time limit of a drain is 3 + 3 × 1
FRESH_SECONDS = 1.0  # an inbox whose oldest callback is younger has nothing left of a fault
STEADY_SECONDS = 3.0  # for so long, as what a lost worker had claimed is missed only after a while


class Server(Process):
    """Redis or PostgreSQL, as a process of ours."""

    def __init__(self, name: str, server: servers.Redis | servers.Postgres, log: Path) -> None:
        super().__init__(name, server.command, log)
        self.server = server


class System:
    """All of it, in one folder."""

    def __init__(self, folder: Path, environment: dict[str, str], broken: str, is_forked: bool = False) -> None:
        """`is_forked`: see Running."""
        self.folder = folder
        (folder / "broken").write_text(broken)  # read by sitecustomize.py, which is on PYTHONPATH
        self.spool = folder / "spool"
        self.spool.mkdir()
        self._environment = environment
        self._is_forked = is_forked
        self.redis = Server("redis", servers.Redis(folder / "redis", "pw"), folder / "redis.log")
        postgres = servers.Postgres(folder / "postgres", "pw")
        postgres.prepare()
        self.postgres = Server("postgres", postgres, folder / "postgres.log")
        self.to_redis = Relay(self.redis.server.port)
        self.to_postgres = Relay(self.postgres.server.port)

    async def start(self) -> None:
        self.redis.start()
        self.postgres.start()
        await until(self.servers_answer, "the servers")
        redis_port, postgres_port = await self.to_redis.start(), await self.to_postgres.start()
        here = Path(__file__).parent
        self.up = await asyncio.to_thread(
            lambda: Running(
                self.folder,
                *("--ingress", "2", "--workers", "2", "--no-flower"),
                environment={
                    **SETTINGS,
                    **self._environment,
                    "CALLBOX_REDIS_URL": f"redis://:pw@127.0.0.1:{redis_port}/0",
                    "CALLBOX_DATABASE_URL": f"postgresql://callbox:pw@127.0.0.1:{postgres_port}/callbox",
                    "CALLBOX_SPOOL_DIR": str(self.spool),
                    "PYTHONPATH": str(here),
                },
                is_forked=self._is_forked,
            )
        )
        await asyncio.to_thread(self.up.wait_ready)
        self.sources = {name: source for name, source in self.up.sources.items() if not source.unsigned}

    async def stop(self) -> None:
        if hasattr(self, "up"):
            await asyncio.to_thread(self.up.kill)
        await self.to_redis.stop()
        await self.to_postgres.stop()
        for server in (self.redis, self.postgres):
            await asyncio.to_thread(server.stop)

    def client(self) -> redis.Redis:
        """Straight to Redis, past the relay."""
        return inbox.connect(self.redis.server.url, 1.0)

    def forget_fsync(self) -> None:
        with self.client() as client:
            client.config_set("appendfsync", "no")

    def is_synced(self) -> bool:
        """Whether everything that Redis has answered by now is on its disk: WAITAOF knows."""
        with self.client() as client:
            client.set("callbox:synced", b"")
            return bool(client.execute_command("WAITAOF", 1, 0, 1)[0] == 1)

    def servers_answer(self) -> bool:
        with suppress(redis.RedisError, inbox.RedisUnavailable, psycopg.Error), self.client() as client:
            client.ping()
            with psycopg.connect(self.postgres.server.url, connect_timeout=2):
                return True
        for server in (self.redis, self.postgres):
            server.ensure()
        return False

    def fresh(self) -> bool:
        """Whether everything is as before a fault: what arrives is stored at once, and nothing waits in a spool."""
        with suppress(inbox.RedisUnavailable), self.client() as client:
            seen = inbox.take_snapshot(client)
            return seen.depth.oldest_seconds < FRESH_SECONDS and not sum(seen.spooled.values())
        return False

    async def recovered(self, within_seconds: float) -> float:
        """Waits until everything stays fresh; after how many seconds it was. Raises TimeoutError."""
        began = stale_at = time.monotonic()
        while (now := time.monotonic()) - stale_at < STEADY_SECONDS:
            if not await asyncio.to_thread(self.fresh):
                stale_at = time.monotonic()
            if now - began > within_seconds + STEADY_SECONDS:
                raise TimeoutError(f"not recovered within {within_seconds:g} s")
            await asyncio.sleep(0.05)
        return stale_at - began

    def left(self) -> dict[str, Any]:
        """What still waits somewhere: nothing, in the end."""
        with suppress(inbox.RedisUnavailable), self.client() as client:
            seen = inbox.take_snapshot(client)
            left = {"inbox": seen.depth.entries, "reported spools": dict(seen.spooled), "spools": self._spooled()}
            return {name: value for name, value in left.items() if value}
        return {"redis": "away"}

    def _spooled(self) -> int:
        """How many callbacks are in the spool files."""
        count = 0
        for path in self.spool.glob("*.spool"):
            with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection:
                count += connection.execute("SELECT count(*) FROM spooled").fetchone()[0]
        return count

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.up.command("status", "--json").stdout)
        return found

    def said_wrong(self) -> list[str]:
        """What the logs hold that they must not: a line that is no JSON, or something private."""
        found: list[str] = []
        secrets = [secret for source in self.sources.values() for secret in (*source.secrets, source.token) if secret]
        for path in sorted((self.up.data / "logs").iterdir()):
            text = path.read_text(errors="replace")
            found += [f"a line of {path.name} is not JSON: {line}" for line in said.not_json(text)]
            found += [f"something private is in {path.name}" for _ in said.private_in(text, secrets)]
        found += ["something private is on the terminal" for _ in said.private_in(self.up.output, secrets)]
        return found

    def stored(self) -> Stored:
        return read_stored(self.postgres.server.url)


async def until(
    true: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS, poll_seconds: float = 0.05
) -> float:
    """Waits for it, beside the event loop; how long it took. Raises TimeoutError."""
    began = time.monotonic()
    while not await asyncio.to_thread(true):
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        await asyncio.sleep(poll_seconds)
    return time.monotonic() - began
