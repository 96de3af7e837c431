"""The spool files of one ingress process: its own, and those that it adopted; and the one thread that works on them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from ingress import spool
from ingress.spool import Depth, Spool, Spooled, SpoolError, SpoolFull
from shared import logs
from shared.inbox import Group
from shared.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

log = logs.get(__name__)


class Spools:
    """Every method but `close` raises SpoolError."""

    def __init__(self, settings: Settings) -> None:
        self._folder = Path(settings.spool_dir)
        self._limit_bytes = settings.spool_bytes
        self._own: Spool | None = None
        self._adopted: list[Spool] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")  # SQLite's only one

    @property
    def files(self) -> list[Spool]:
        """All of them, in the order in which they are to be moved."""
        return [*self._adopted, self._own] if self._own else [*self._adopted]

    async def append(self, group: Group) -> None:
        """Makes the group durable in this process's own file, all or nothing."""
        await self._run(self._with_own, lambda own: own.append(group))

    async def probe(self) -> None:
        """Raises SpoolError unless a callback could be made durable."""
        await self._run(self._with_own, lambda own: own.probe())

    async def adopt(self) -> None:
        """Takes over the files in the folder whose owner is gone, the oldest first."""
        while await self._run(self._adopt_one):
            pass

    async def counts(self, file: Spool) -> dict[str, int]:
        """How many callbacks of each source wait in a file."""
        return await self._run(file.counts)

    async def depths(self) -> list[Depth]:
        """How many callbacks wait in each file, and since when."""
        return [await self._run(file.depth) for file in self.files]

    async def oldest(self, file: Spool, count: int, limit_bytes: int) -> list[Spooled]:
        """The oldest callbacks in a file, up to `count` and `limit_bytes`, or one."""
        return await self._run(file.oldest, count, limit_bytes)

    async def remove_through(self, file: Spool, number: int) -> None:
        """Removes the callbacks up to this number, which are in the inbox."""
        await self._run(file.remove_through, number)

    async def release(self, file: Spool) -> None:
        """Closes an adopted file that is empty. This process's own stays open."""
        await self._run(self._release, file)

    async def close(self) -> None:
        """Closes all files; what is in them waits for the next ingress."""
        await self._run(self._close)
        self._thread.shutdown()

    def _with_own(self, act: Callable[[Spool], None]) -> None:
        """Does something with this process's file. One that fails is closed, to be adopted like any other; the next
        group begins a new one."""
        if self._own is None:
            self._own = spool.create(self._folder, self._limit_bytes)
        try:
            act(self._own)
        except SpoolFull:
            raise  # it takes more once it was moved
        except SpoolError:
            self._own.close()
            self._own = None
            raise

    def _adopt_one(self) -> bool:
        found = spool.adopt(self._folder, self._limit_bytes)
        if found is not None:
            log.warning("adopted a spool file whose owner is gone", file=found.path.name)
            self._adopted.append(found)
        return found is not None

    def _release(self, file: Spool) -> None:
        if file in self._adopted:
            self._adopted.remove(file)
            file.close()

    def _close(self) -> None:
        for file in self.files:
            file.close()

    async def _run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args, **kwargs))
