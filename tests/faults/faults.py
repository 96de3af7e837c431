"""The faults, each a coroutine that does its harm and takes it back; it returns when the harm is over."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple
from uuid import UUID

import psycopg
import redis

from shared.callback import unpack
from shared.errors import Malformed
from shared.inbox import doorbell
from shared.inbox.keys import GROUP
from tests.faults.relay import Relay
from tests.faults.stored import Body
from tests.faults.system import LONGER_THAN_ALL, Server, System, until
from tests.faults.traffic import Traffic
from tests.keys import AUDITED, INBOX
from tests.pipeline.conftest import family

EVERYTHING = "everything"
STOP_SECONDS = 20.0
FULL_SECONDS = 5.0
SPOOL_DISK_BYTES = 40 * 1024 * 1024
POISON_SECONDS = 90.0

# Takes the newest entry that no worker has seen, and puts damaged bytes in its place.
_DAMAGE = """
local last
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  for i = 1, #group, 2 do if group[i] == 'last-delivered-id' then last = group[i + 1] end end
end
local unread = redis.call('XREVRANGE', KEYS[1], '+', '(' .. last, 'COUNT', 1)
if #unread == 0 then return false end
redis.call('XDEL', KEYS[1], unread[1][1])
redis.call('XADD', KEYS[1], '*', 's', unread[1][2][2], 'c', 'damaged' .. unread[1][2][4])
return unread[1][2][4]
"""


class Fault(NamedTuple):
    """`hurts` is what it hurts: faults that hurt the same do not meet, and those that hurt EVERYTHING meet no other."""

    name: str
    do: Callable[[], Awaitable[None]]
    hurts: str


class Faults:
    """What can happen to one system."""

    def __init__(self, system: System, traffic: Traffic, dice: random.Random) -> None:
        self._system = system
        self._traffic = traffic
        self._dice = dice
        self.damaged: dict[UUID, Body] = {}

    def all(self) -> list[Fault]:
        system = self._system
        faults = [
            Fault(f"kill -9 {name}", partial(self._kill, name), name.partition("-")[0])
            for name in ("ingress-1", "worker-1", "beat")
        ]
        faults.append(Fault("kill -9 a worker's child", self._kill_child, "worker"))
        faults += [
            Fault(f"kill -9 {server.name}", partial(self._kill_server, server), server.name)
            for server in self._servers()
        ]
        faults += [
            Fault(f"freeze {name}", partial(self._freeze, name), name.partition("-")[0])
            for name in ("ingress-1", "worker-1", "beat")
        ]
        faults.append(Fault("a worker that lives and consumes nothing", self._stall, "worker"))
        faults.append(Fault("freeze a worker's child", self._freeze_child, "worker"))
        faults += [
            Fault(f"freeze {server.name}", partial(self._freeze_server, server), server.name)
            for server in self._servers()
        ]
        faults += [
            Fault(f"stop {server.name} for {STOP_SECONDS:g} s", partial(self._stop, server), server.name)
            for server in self._servers()
        ]
        for relay, name in ((system.to_redis, "redis"), (system.to_postgres, "postgres")):
            faults += [
                Fault(f"cut every connection to {name}, again and again", partial(self._cut, relay), name),
                Fault(f"0.1 s of latency to {name}", partial(self._delay, relay), name),
                Fault(f"half-open connections to {name}", partial(self._half_open, relay), name),
            ]
        return [
            *faults,
            Fault("cut 20 connections in the middle of a COMMIT", self._cut_commits, "postgres"),
            Fault("fill Redis to maxmemory", self._fill_redis, "redis"),
            Fault("fill the spool's disk while Redis is frozen", self._fill_spool, "redis"),
            Fault("delete Celery's queue", self._delete_queue, "redis"),
            Fault("delete the consumers of the inbox", self._delete_consumers, "redis"),
            Fault("damage one stream entry", self._damage_entry, EVERYTHING),
            Fault("damage one spool row", self._damage_row, EVERYTHING),
            Fault("a poisoned callback", self._poison, EVERYTHING),
            Fault("SIGTERM to every process in turn (rolling restart)", self._roll, EVERYTHING),
        ]

    def _servers(self) -> tuple[Server, Server]:
        return self._system.redis, self._system.postgres

    def _pid(self, name: str) -> int:
        return self._system.up.pids[name]

    async def _again(self, name: str, before: int) -> None:
        await until(lambda: self._system.up.pids.get(name, before) != before, f"{name} again")

    async def _kill(self, name: str) -> None:
        before = self._pid(name)
        os.kill(before, signal.SIGKILL)
        await self._again(name, before)

    def _child(self) -> int:
        worker = self._pid("worker-1")
        return self._dice.choice(sorted(family(worker) - {worker}))

    async def _kill_child(self) -> None:
        os.kill(self._child(), signal.SIGKILL)

    async def _kill_server(self, server: Server) -> None:
        await asyncio.to_thread(server.kill)
        await until(self._system.servers_answer, server.name)

    async def _freeze(self, name: str) -> None:
        await self._frozen(self._pid(name))

    async def _stall(self) -> None:
        """Until it is noticed and replaced."""
        worker = self._pid("worker-1")
        os.kill(worker, signal.SIGSTOP)
        await self._again("worker-1", worker)

    async def _freeze_child(self) -> None:
        await self._frozen(self._child())

    async def _frozen(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(LONGER_THAN_ALL)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    async def _freeze_server(self, server: Server, seconds: float = LONGER_THAN_ALL) -> None:
        server.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        server.signal(signal.SIGCONT)

    async def _stop(self, server: Server) -> None:
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(STOP_SECONDS)
        await until(self._system.servers_answer, server.name)

    async def _cut(self, relay: Relay) -> None:
        for _ in range(10):
            relay.cut()
            await asyncio.sleep(self._dice.uniform(0.05, 0.5))

    async def _delay(self, relay: Relay) -> None:
        relay.delay_seconds = 0.1
        await asyncio.sleep(FULL_SECONDS)
        relay.delay_seconds = 0.0

    async def _half_open(self, relay: Relay) -> None:
        relay.flows.clear()
        await asyncio.sleep(LONGER_THAN_ALL)
        relay.flows.set()

    async def _cut_commits(self) -> None:
        self._system.to_postgres.cut_commits = 20
        await until(lambda: self._system.to_postgres.cut_commits == 0, "20 COMMITs")

    async def _fill_redis(self) -> None:
        await asyncio.to_thread(self._fill, True)
        await asyncio.sleep(FULL_SECONDS)
        await asyncio.to_thread(self._fill, False)

    def _fill(self, full: bool) -> None:
        with self._system.client() as client:
            if not full:
                client.delete("foreign")
                client.config_set("maxmemory", 0)
                return
            used = client.info("memory")["used_memory"]
            client.config_set("maxmemory", used + 4_000_000)
            with suppress(redis.exceptions.OutOfMemoryError):
                while True:
                    client.append("foreign", b"x" * 100_000)
            with suppress(redis.exceptions.OutOfMemoryError):
                while True:
                    client.append("foreign", b"x" * 1_000)

    async def _fill_spool(self) -> None:
        """The folder is a small file system of its own where this user may mount one; else the limit of the spool,
        which the run set low, replaces it."""
        filler = self._system.spool / "filler"
        freeze = asyncio.ensure_future(self._freeze_server(self._system.redis))
        await asyncio.sleep(1)

        def fill() -> None:
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))

        if os.path.ismount(self._system.spool):
            await asyncio.to_thread(fill)
        await freeze
        filler.unlink(missing_ok=True)

    async def _delete_queue(self) -> None:
        for _ in range(20):
            with self._system.client() as client:
                client.delete(doorbell.QUEUE)
            await asyncio.sleep(0.05)

    async def _delete_consumers(self) -> None:
        """What an operator may do by mistake: entries that were pending are then neither pending nor unread."""
        with self._system.client() as client:
            for consumer in client.xinfo_consumers(INBOX, GROUP):
                client.xgroup_delconsumer(INBOX, GROUP, consumer["name"])
            client.delete(AUDITED)  # or the next audit is AUDIT_SECONDS away

    async def _damage_entry(self) -> None:
        worker = family(self._pid("worker-1"))
        for pid in worker:
            os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(0.3)
            with self._system.client() as client:
                packed = client.eval(_DAMAGE, 1, INBOX)
        finally:
            for pid in worker:
                os.kill(pid, signal.SIGCONT)
        if packed:
            self._note(packed)

    async def _damage_row(self) -> None:
        freeze = asyncio.ensure_future(self._freeze_server(self._system.redis, 3.0))
        await asyncio.sleep(2)
        await asyncio.to_thread(self._damage_spool)
        await freeze

    def _damage_spool(self) -> None:
        for path in self._system.spool.glob("*.spool"):
            with suppress(sqlite3.Error):
                connection = sqlite3.connect(path, timeout=1, isolation_level=None)
                found = connection.execute("SELECT n, packed FROM spooled ORDER BY n DESC LIMIT 1").fetchone()
                if found:
                    connection.execute("UPDATE spooled SET packed = ? WHERE n = ?", (b"damaged" + found[1], found[0]))
                    self._note(found[1])
                connection.close()
                if found:
                    return

    def _note(self, packed: bytes) -> None:
        with suppress(Malformed):
            callback = unpack(packed)
            self.damaged[callback.id] = (callback.source, callback.body)

    async def _poison(self) -> None:
        before = len(self._traffic.poisoned)
        self._traffic.poison()

        def is_dead_letter() -> bool:
            with suppress(psycopg.Error), psycopg.connect(self._system.postgres.server.url) as connection:
                query = "SELECT count(*) FROM dead_letters WHERE reason = 'crashes its worker'"
                return bool(connection.execute(query).fetchall()[0][0] > before)
            return False

        await until(is_dead_letter, "the dead letter of a poisoned callback", POISON_SECONDS)

    async def _roll(self) -> None:
        for name in ("ingress-1", "ingress-2", "worker-1", "beat"):
            before = self._pid(name)
            os.kill(before, signal.SIGTERM)
            await self._again(name, before)
            await asyncio.sleep(2)


def mount(system: System) -> bool:
    """Puts a small file system under the spool, if this user may."""
    options = ["-t", "tmpfs", "-o", f"size={SPOOL_DISK_BYTES}", "callbox-spool", str(system.spool)]
    with suppress(OSError):
        return subprocess.run(["mount", *options], capture_output=True).returncode == 0
    return False


def unmount(system: System) -> None:
    subprocess.run(["umount", str(system.spool)], capture_output=True)
