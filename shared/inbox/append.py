"""The ingress's end of one shard of the inbox."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any
from uuid import uuid4

import msgspec
from redis.exceptions import NoScriptError, RedisError

from shared.inbox.client import AsyncShard, connect_async
from shared.inbox.errors import RedisUnavailable, unavailable
from shared.inbox.keys import MEMORY_SHARE, script
from shared.inbox.snapshot import Snapshot, queue_reads, snapshot_in

Group = Sequence[tuple[str, bytes]]  # (source, packed callback), made durable together

WRITER_SECONDS = 30 * 86400  # for which the count of a process that appends nothing is kept
WAIT_SHARE = 0.8  # of the time of an append, for replicas to confirm it
TICK_SECONDS = 0.1  # by so much an idle Redis may be late to see that the time of a wait is up (its `hz` is 10)


class TooFewReplicas(RedisUnavailable):
    """Redis has the group, but too few replicas have confirmed in time that they have it too."""


class Appender:
    """Appends callbacks, and reads the shard for `/readyz`. Each method raises RedisUnavailable.

    `confirming` is how many replicas confirmed the latest append (None before the first). `lost` is how many callbacks
    Redis had taken and no longer knows: its latest state was lost, or it was replaced by a replica that lacked them.
    """

    def __init__(self, shard: AsyncShard, limit: int, deadline_seconds: float, wait_replicas: int = 0) -> None:
        """Appends up to `limit` entries in the shard; each call has the deadline unless it has its own. A group is
        durable once `wait_replicas` replicas have it on their disks as well."""
        self._shard = shard
        self._names = shard.names
        self._limit = limit
        self._deadline_seconds = deadline_seconds
        self._wait_replicas = wait_replicas
        self._append = shard.register_script(script("append"))
        self._writer = shard.names.writer + uuid4().hex
        self._total = 0  # of this process, as Redis counted it at the latest append
        self._losses = 0
        self._appended_at = float("-inf")
        self.confirming: int | None = None
        self.lost = 0

    @classmethod
    def connect(cls, url: str, limit: int, deadline_seconds: float) -> "Appender":
        """Appends to the first shard of the Redis at this URL."""
        return cls(connect_async(url, deadline_seconds), limit, deadline_seconds)

    async def append(self, group: Group, seconds: float | None = None, confirm: bool = True) -> None:
        """Makes all callbacks of the group durable, or none. One round trip, and one fsync of Redis.

        Raises RedisUnavailable when Redis refuses, is away or does not answer in time. Then the group may have been
        taken; appending it again is harmless, since a callback's id makes it one. Raises TooFewReplicas when it was
        taken, unless `confirm` is False.
        """
        arguments: list[Any] = [self._limit, MEMORY_SHARE, WRITER_SECONDS]
        for pair in group:
            arguments += pair
        seconds = seconds or self._deadline_seconds
        if monotonic() - self._appended_at > WRITER_SECONDS / 2:
            self._total = 0  # Redis may have forgotten the count by now, and lost nothing
        before, losses = self._total, self._losses
        async with self._call(seconds, waits=confirm):
            if not self._wait_replicas:
                total = await self._append(keys=self._keys, args=arguments)
            elif confirm:
                total = await self._append_and_wait(arguments, seconds)
            else:  # who appends it makes it durable elsewhere: it cannot be lost here
                await self._append(keys=self._keys, args=arguments)
                return
        self._appended_at = monotonic()
        self._compare(total, before + len(group), losses)

    async def probe(self) -> None:
        """Raises RedisUnavailable unless Redis would take a callback now: room for one, writing works, and replicas
        confirm. One round trip, as an append: over a long way there is no time for more."""
        async with self._call(self._deadline_seconds, waits=True):
            nothing = [self._limit, MEMORY_SHARE, WRITER_SECONDS]
            await self._append_and_wait(nothing, self._deadline_seconds, is_probe=True)

    async def report_spool(self, file: str, counts: Mapping[str, int]) -> None:
        """Notes how many callbacks of each source wait in a spool file. Raises RedisUnavailable."""
        async with self._call(self._deadline_seconds):
            if counts:
                await self._shard.hset(self._names.spools, file, msgspec.json.encode(counts))
            else:
                await self._shard.hdel(self._names.spools, file)

    async def snapshot(self) -> Snapshot:
        """The shard at this moment. Raises RedisUnavailable."""
        async with self._call(self._deadline_seconds), self._shard.pipeline() as pipe:
            queue_reads(pipe, self._names)
            return snapshot_in(await pipe.execute(), self._names.number)

    async def report_lost(self, count: int) -> None:
        """Notes that Redis lost this number of callbacks that it had taken. Raises RedisUnavailable."""
        async with self._call(self._deadline_seconds):
            await self._shard.hincrby(self._names.notes, "lost", count)

    async def close(self) -> None:
        await self._shard.aclose()

    @property
    def _keys(self) -> list[str]:
        names = self._names
        return [names.inbox, names.ledger, names.heard, names.retired, self._writer]

    def _compare(self, total: int, least: int, losses: int) -> None:
        """Notes what Redis counts of this process, and what it must count at least; several appends may be under way,
        and all that began before a loss was found are about the same one."""
        if total < least and losses == self._losses:
            self.lost += least - total
            self._losses += 1
            self._total = total
        else:
            self._total = max(self._total, total)

    async def _append_and_wait(self, arguments: list[Any], seconds: float, is_probe: bool = False) -> int:
        """In one round trip, and over one connection: Redis waits for what came over it."""
        try:
            answers = await self._answers(arguments, seconds, is_probe)
        except NoScriptError:
            await self._shard.script_load(self._append.script)
            answers = await self._answers(arguments, seconds, is_probe)
        if self._wait_replicas:
            self._check_confirmed(answers)
        return int(answers[0])

    async def _answers(self, arguments: list[Any], seconds: float, is_probe: bool) -> list[Any]:
        pipe = self._shard.pipeline(transaction=False)
        pipe.evalsha(self._append.sha, len(self._keys), *self._keys, *arguments)
        if is_probe:  # without callbacks the script writes nothing
            pipe.set(self._names.probe, b"")
        if self._wait_replicas:
            self._queue_wait(pipe, seconds * WAIT_SHARE)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
        if self._wait_replicas:
            answers.pop()  # of PUBLISH, which the user of a restricted Redis may not be allowed
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def _queue_wait(self, pipe: Any, seconds: float) -> None:
        # Asked at once, a replica answers before its fsync, and again only a second later: so first whether it has it.
        milliseconds = max(1, round(seconds * 1000 / 2))
        pipe.wait(self._wait_replicas, milliseconds)
        pipe.execute_command("WAITAOF", 1, self._wait_replicas, milliseconds)
        # A replica's connection may have Nagle's algorithm on (Valkey 9.1): what it confirms next, to another process,
        # waits up to 40 ms for anything sent to the replica after this answer. This is sent to it, and not to disks.
        pipe.publish(self._names.nudge, b"")

    def _check_confirmed(self, answers: Sequence[Any]) -> None:
        *_, (local, replicas) = answers
        self.confirming = replicas
        if not local or replicas < self._wait_replicas:
            raise TooFewReplicas(f"only {replicas} of {self._wait_replicas} replicas confirm in time")

    @asynccontextmanager
    async def _call(self, seconds: float, waits: bool = False) -> AsyncIterator[None]:
        """Raises RedisUnavailable when Redis refuses what is asked inside, is away or does not answer in time. Where it
        `waits` for replicas, there is time for it to report that too few confirm: the drain goes on with what it
        has."""
        if waits and self._wait_replicas:
            seconds += 2 * TICK_SECONDS
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise RedisUnavailable(f"Redis did not answer within {seconds:g} s") from None
        except (RedisError, OSError) as error:
            raise unavailable(error) from error
