"""Redis first, the spool behind it: where a group of callbacks is made durable (promises P1 and P6).

A breaker stands between the two: after one failure of Redis every group goes to the spool at once, while a single
probe asks whether Redis is back. Then what was spooled moves to the inbox, the oldest first, and the same is done for
the files of ingresses of this host that are gone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import NamedTuple, ParamSpec, TypeVar

from ingress import spool
from ingress.spool import Group, Spool, SpoolFull, SpoolTrouble
from shared import logs
from shared.errors import Unavailable
from shared.inbox import Appender

PROBE_SECONDS = 0.5  # between two questions whether Redis is back
ADOPT_SECONDS = 5.0  # between two looks for files whose owner is gone
MOVE_PAUSE_SECONDS = 0.01  # between two groups, so that what arrives meanwhile is not held up

P = ParamSpec("P")
R = TypeVar("R")

log = logs.get(__name__)


class Limits(NamedTuple):
    """Of one append, and of the spool."""

    group_count: int
    group_bytes: int
    spool_folder: Path
    spool_bytes: int


class Durable:
    """One for each ingress process."""

    def __init__(self, inbox: Appender, limits: Limits, now: Callable[[], datetime]) -> None:
        self._inbox = inbox
        self._limits = limits
        self._now = now
        self._redis_trouble: str | None = None  # the breaker: open while this is set
        self._own: Spool | None = None
        self._adopted: list[Spool] = []
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="spool")  # SQLite's only thread
        self._adopted_at = float("-inf")
        self._reported: dict[str, dict[str, int] | None] = {}

    async def keep(self, group: Group) -> None:
        """Returns once the group is on disk, in Redis or in the spool. Raises Unavailable when neither takes it."""
        redis_trouble = self._redis_trouble
        if redis_trouble is None:
            try:
                await self._inbox.append(group, self._now())
            except Unavailable as trouble:
                redis_trouble = self._open_breaker(trouble)
            except Exception as error:
                log.error("append failed", exc_info=error)
                redis_trouble = self._open_breaker(Unavailable("the append failed"))
            else:
                return
        try:
            await self._on_disk(self._with_own, lambda own: own.append(group))
        except Unavailable as trouble:
            raise Unavailable(f"{redis_trouble}; {trouble}") from None

    async def state(self) -> dict[str, str]:
        """What would take a callback now: `ok`, or why not, for Redis and for the spool."""
        return {
            "redis": await _say(self._inbox.probe()),
            "spool": await _say(self._on_disk(self._with_own, lambda own: own.probe())),
        }

    async def run(self) -> None:
        """Probes, moves and adopts, for as long as the ingress runs."""
        while True:
            try:
                if self._redis_trouble is not None:
                    await self._inbox.probe()
                    self._close_breaker()
                await self._adopt()
                for file in [*self._adopted, *([self._own] if self._own else [])]:
                    await self._move(file)
            except Unavailable as trouble:
                if self._redis_trouble is None:
                    self._open_breaker(trouble)
            except Exception as error:
                log.error("moving the spool failed", exc_info=error)
            await asyncio.sleep(PROBE_SECONDS)

    async def close(self) -> None:
        """Lets go of the files; what is in them waits for the next ingress."""
        await self._on_disk(self._close)
        self._disk.shutdown()

    def _open_breaker(self, trouble: Unavailable) -> str:
        self._redis_trouble = str(trouble)
        log.warning("to the spool", why=str(trouble))
        return self._redis_trouble

    def _close_breaker(self) -> None:
        if self._redis_trouble is not None:
            self._redis_trouble = None
            log.info("Redis is back")

    async def _adopt(self) -> None:
        """Takes over the files of ingresses that are gone, the oldest first."""
        if monotonic() - self._adopted_at < ADOPT_SECONDS:
            return
        self._adopted_at = monotonic()
        while await self._on_disk(self._adopt_one):
            pass

    async def _move(self, file: Spool) -> None:
        """Moves what is in a file to the inbox. A group whose move was interrupted is moved again: a callback's id
        makes it one. Raises Unavailable when Redis does not take it."""
        try:
            await self._report(file)
            while group := await self._on_disk(file.oldest, self._limits.group_count, self._limits.group_bytes):
                await self._inbox.append([(it.source, it.packed) for it in group], self._now())
                self._close_breaker()  # else what arrives meanwhile goes into this file, which would never end
                await self._on_disk(file.remove_through, group[-1].number)
                await self._report(file)
                await asyncio.sleep(MOVE_PAUSE_SECONDS)
            if file in self._adopted:
                await self._on_disk(self._let_go, file)
        except SpoolTrouble as trouble:
            log.error("the spool cannot be moved", file=file.path.name, why=str(trouble))

    async def _report(self, file: Spool) -> None:
        """Tells the ledger how much is in a file, when that has changed."""
        counts = await self._on_disk(file.counts)
        if self._reported.get(file.path.name, {}) != counts:
            self._reported[file.path.name] = None  # an answer may be lost although Redis took it
            await self._inbox.report_spool(file.path.name, counts)
            self._reported[file.path.name] = counts

    def _with_own(self, do: Callable[[Spool], None]) -> None:
        """Does something with this process's file. One in trouble is let go, to be adopted like any other; the next
        group begins a new one."""
        if self._own is None:
            self._own = spool.create(self._limits.spool_folder, self._limits.spool_bytes)
        try:
            do(self._own)
        except SpoolFull:
            raise  # it takes more once it was moved
        except SpoolTrouble:
            self._own.close()
            self._own = None
            raise

    def _adopt_one(self) -> bool:
        found = spool.adopt(self._limits.spool_folder, self._limits.spool_bytes)
        if found is not None:
            log.warning("adopted a spool file whose owner is gone", file=found.path.name)
            self._adopted.append(found)
        return found is not None

    def _let_go(self, file: Spool) -> None:
        self._adopted.remove(file)
        file.close()

    def _close(self) -> None:
        for file in [*self._adopted, *([self._own] if self._own else [])]:
            file.close()

    async def _on_disk(self, do: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._disk, lambda: do(*args, **kwargs))


async def _say(probe: Awaitable[None]) -> str:
    try:
        await probe
    except Unavailable as trouble:
        return str(trouble)
    return "ok"
