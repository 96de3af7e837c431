"""Makes callbacks durable in groups: one append, and one fsync, for all that arrived in between (promise P1).

A request is answered with its own group. While one group is on its way to the disk the next one gathers, so that groups
are small when little arrives and grow by themselves under load. Where replicas confirm, a group waits first for the
primary's disk, then for theirs: so two groups may be under way.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, cast

from ingress.keeper import Keeper
from ingress.metrics import GROUP_SIZE
from shared import logs
from shared.callback import Callback, pack
from shared.errors import Unavailable
from shared.settings import Settings

WAITING_GROUPS = 20  # full ones, by count or bytes: when these wait, the next callback is refused rather than late

log = logs.get(__name__)


Done = Callable[[Unavailable | None], None]


class _Waiting(NamedTuple):
    source: str
    packed: bytes
    done: Done


class Committer:
    """Gathers callbacks and has them kept in groups; one for each ingress process."""

    def __init__(self, keeper: Keeper, settings: Settings) -> None:
        self._keeper = keeper
        self._group_count = settings.group_count
        self._group_bytes = settings.group_bytes
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._most_flushers = 2 if settings.redis_wait_replicas else 1
        self._flushers: set[asyncio.Task[None]] = set()
        self._log = logs.Limited(log)  # an outage is one incident, and not one for each group

    def commit(self, callback: Callback, done: Done) -> None:
        """Sends a callback to the disk. Raises Unavailable at once when too many are ahead of it.

        `done` is called once it is there, with None, or with the reason why it could not be brought there.
        """
        packed = pack(callback)
        too_many = len(self._waiting) >= WAITING_GROUPS * self._group_count
        if too_many or self._waiting_bytes >= WAITING_GROUPS * self._group_bytes:
            why = "too many callbacks wait for the disk"
            self._log.warning("not durable", {"why": why}, callbacks=1)
            raise Unavailable(why)
        self._waiting.append(_Waiting(callback.source, packed, done))
        self._waiting_bytes += len(packed)
        if len(self._flushers) < self._most_flushers:
            flusher = asyncio.create_task(self._flush())
            self._flushers.add(flusher)

    async def _flush(self) -> None:
        """Runs while anything waits."""
        try:
            while self._waiting:
                group = self._take_group()
                try:
                    await self._keeper.keep([(waiting.source, waiting.packed) for waiting in group])
                except Exception as error:
                    group += self._waiting  # they would wait only to fail in the same way
                    self._waiting.clear()
                    self._waiting_bytes = 0
                    self._refuse(group, error)
                else:
                    GROUP_SIZE.observe(len(group))
                    # After the next group is sent: these are answered while Redis writes those.
                    asyncio.get_running_loop().call_soon(_report, group, None)
        finally:  # at once: who is answered may send the next one before a callback of the task runs
            self._flushers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    def _take_group(self) -> list[_Waiting]:
        count, limit_bytes = self._keeper.most
        group = [self._waiting.popleft()]
        size = len(group[0].packed)
        while self._waiting and len(group) < count:
            size += len(self._waiting[0].packed)
            if size > limit_bytes:
                break
            group.append(self._waiting.popleft())
        self._waiting_bytes -= sum(len(waiting.packed) for waiting in group)
        return group

    def _refuse(self, group: list[_Waiting], error: Exception) -> None:
        why = str(error)
        if not isinstance(error, Unavailable):
            self._log.error("commit failed", {"error": type(error).__name__}, exc_info=error)
            why = "the commit failed"
        self._log.warning("not durable", {"why": why}, callbacks=len(group))
        _report(group, Unavailable(why))


def _report(group: list[_Waiting], error: Unavailable | None) -> None:
    """Calls every `done`; one that fails does not keep the others from theirs."""
    for waiting in group:
        try:
            waiting.done(error)
        except Exception as failure:
            log.error("an answer failed", exc_info=failure)
