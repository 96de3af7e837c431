"""Refused requests on their way to the quarantine: a few a second, and none of them waits for Redis or is waited for.

A flood costs little: what comes beyond the bounds is only counted. Whoever takes most of the room gives way, first
among the sources, then among the addresses at that source, so that an honest provider beside a flood is kept.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from heapq import heappop, heappush
from time import monotonic
from typing import NamedTuple

from ingress.address import network_of
from ingress.metrics import QUARANTINE_DROPPED, QUARANTINE_KEPT
from shared import logs
from shared.callback import Arrival
from shared.errors import Unavailable
from shared.inbox import KEPT, QuarantineWriter
from shared.refused import Refused
from shared.source import Source

FLUSH_SECONDS = 1.0  # between two groups that go to Redis
GROUP_BYTES = 1024 * 1024  # of one group
REQUEST_BYTES = 4096  # that each request counts with beside its body: so a group has up to 256
SPARE_SIZES = 1000  # that are out of date, before they are removed
SWEEP_SECONDS = 60.0  # between two removals of what is too old, while nothing is refused

log = logs.get(__name__)


class _Taker(NamedTuple):
    source: str
    address: str


class _Sizes:
    """How many bytes each name takes, and which takes most: found at once, however many there are."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []  # every size that a name had since, negative: the largest comes first

    def add(self, name: str, size: int) -> None:
        """`size` may be negative."""
        self._sizes[name] = self._sizes.get(name, 0) + size
        heappush(self._heap, (-self._sizes[name], name))
        if not self._sizes[name]:
            del self._sizes[name]
        if len(self._heap) > 4 * len(self._sizes) + SPARE_SIZES:
            self._heap = sorted((-size, name) for name, size in self._sizes.items())

    def largest(self) -> str:
        """The name that takes most; there is one."""
        while self._sizes.get(self._heap[0][1]) != -self._heap[0][0]:  # it has another size by now
            heappop(self._heap)
        return self._heap[0][1]


class Quarantine:
    """One for each ingress process."""

    def __init__(self, writer: QuarantineWriter) -> None:
        self._writer = writer
        self._waiting: dict[_Taker, list[Refused]] = {}
        self._sources = _Sizes()
        self._addresses: defaultdict[str, _Sizes] = defaultdict(_Sizes)  # of each source
        self._all_bytes = 0
        self._swept_at = monotonic()
        self._log = logs.Limited(log)

    def has_room(self, source: str, address: str | None) -> bool:
        """Whether one more request of this source from there would be kept now."""
        if self._all_bytes + REQUEST_BYTES <= GROUP_BYTES:
            return True
        return self._largest() != _Taker(source, network_of(address) or "")

    def add(self, arrival: Arrival, reason: str, source: Source, peer: str | None, place: Mapping[str, str]) -> None:
        """Keeps a request soon, or counts it as dropped. It may take the place of one of a larger taker."""
        if not self.has_room(source.name, arrival.remote_ip):
            self.drop(source.name)
            return
        taker = _Taker(source.name, network_of(arrival.remote_ip) or "")
        self._put(taker, Refused.of(arrival, reason, source, peer, place))

    def drop(self, source: str) -> None:
        """Counts a request that is more than the ingress keeps in a second."""
        QUARANTINE_DROPPED.labels(source, "rate").inc()

    async def run(self) -> None:
        """Sends what waits to Redis, for as long as the ingress runs."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except Exception as error:
                log.error("keeping refused requests failed", exc_info=error)

    async def flush(self) -> None:
        """Sends what waits, and has what is too old removed now and then."""
        is_due = monotonic() - self._swept_at >= SWEEP_SECONDS
        if not self._waiting and not is_due:
            return
        sent = self._take()
        try:
            change = await self._writer.keep([(taker.address, refused) for taker, refused in sent])
        except asyncio.CancelledError:  # the ingress stops: `close` sends them again, and each is kept once
            for taker, refused in sent:
                self._put(taker, refused)
            raise
        except Unavailable as error:
            for taker, _ in sent:
                QUARANTINE_DROPPED.labels(taker.source, "redis").inc()
            if sent:
                self._log.warning("refused requests are not kept", {"why": str(error)})
            return
        self._swept_at = monotonic() if change.is_over else float("-inf")  # then it is due at once
        for (source, what), count in change.counts.items():
            if what == KEPT:
                QUARANTINE_KEPT.labels(source).inc(count)
            else:
                QUARANTINE_DROPPED.labels(source, what).inc(count)

    async def close(self) -> None:
        """Sends what still waits."""
        if self._waiting:
            await self.flush()
        await self._writer.close()

    def _put(self, taker: _Taker, refused: Refused) -> None:
        self._note(taker, _cost(refused))
        self._waiting.setdefault(taker, []).append(refused)
        while self._all_bytes > GROUP_BYTES:
            largest = self._largest()
            self._note(largest, -_cost(self._waiting[largest].pop()))
            if not self._waiting[largest]:
                del self._waiting[largest]
            self.drop(largest.source)

    def _take(self) -> list[tuple[_Taker, Refused]]:
        taken = [(taker, refused) for taker, waiting in self._waiting.items() for refused in waiting]
        self._waiting.clear()
        self._sources = _Sizes()
        self._addresses.clear()
        self._all_bytes = 0
        return taken

    def _note(self, taker: _Taker, size: int) -> None:
        self._sources.add(taker.source, size)
        self._addresses[taker.source].add(taker.address, size)
        self._all_bytes += size

    def _largest(self) -> _Taker:
        source = self._sources.largest()
        return _Taker(source, self._addresses[source].largest())


def _cost(refused: Refused) -> int:
    return len(refused.callback.body) + REQUEST_BYTES
