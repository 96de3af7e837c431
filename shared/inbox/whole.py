"""The whole inbox, from the workers' and the commands' end: its shards, and the doorbell of those who drain them."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

import redis

from shared.inbox import doorbell
from shared.inbox.activity import Activity, activity, idle_by_mark, is_drain_due
from shared.inbox.client import Shard, ask_each, connect_all, connect_broker, ping
from shared.inbox.errors import RedisUnavailable
from shared.inbox.server import used_memory
from shared.inbox.snapshot import Snapshot, merged, take_snapshot
from shared.inbox.waiting import oldest_by_source, waiting_by_source
from shared.settings import Settings


class Inbox:
    """What is asked of it raises RedisUnavailable when one of its Redis is away."""

    def __init__(self, shards: Sequence[Shard], broker: redis.Redis) -> None:
        """At least one shard. The first also has what is known of the system as a whole."""
        self.shards = shards
        self.first = shards[0]
        self.broker = broker

    @classmethod
    def connect(cls, settings: Settings, timeout_seconds: float) -> Self:
        """The inbox that the settings name. Each answer comes within the timeout."""
        return cls(connect_all(settings, timeout_seconds), connect_broker(settings.celery_url, timeout_seconds))

    def ring(self, now: datetime) -> None:
        """Asks for another drain, unless one is asked for already."""
        doorbell.ring(self.broker, now)

    def is_rung(self) -> bool:
        """Whether a message waits for a worker."""
        return doorbell.is_rung(self.broker)

    def ping(self) -> None:
        """Returns once all of its Redis have answered."""
        ask_each(self.shards, ping)

    def snapshot(self) -> Snapshot:
        """All shards, each at one moment."""
        return merged(ask_each(self.shards, take_snapshot))

    def is_drain_due(self, reclaim_seconds: float) -> bool:
        """Whether a drain would find something in one of the shards that can be asked. Raises RedisUnavailable only
        when none can."""
        failures: list[RedisUnavailable] = []
        for shard in self.shards:
            try:
                if is_drain_due(shard, reclaim_seconds):
                    return True
            except RedisUnavailable as error:
                failures.append(error)
        if len(failures) == len(self.shards):
            raise failures[0]
        return False

    def activity(self, consumer_prefix: str, reclaim_seconds: float = 0.0) -> Activity:
        """Whether the workers of this prefix are active in any shard, and how long callbacks wait in the worst."""
        found = ask_each(self.shards, lambda shard: activity(shard, consumer_prefix, reclaim_seconds))
        idle = [each.idle_seconds for each in found if each.idle_seconds is not None]
        return Activity(max(each.unclaimed_seconds for each in found), min(idle, default=None))

    def workers(self) -> Mapping[str, float]:
        """Seconds since each worker last used the inbox."""
        idle: dict[str, float] = {}
        for by_mark in ask_each(self.shards, idle_by_mark):
            for name, seconds in by_mark.items():
                idle[name] = min(seconds, idle.get(name, seconds))
        return idle

    def memory(self) -> list[tuple[int, int]]:
        """Of each shard's Redis the bytes in use, and the most that it may use, 0 without a limit."""
        return ask_each(self.shards, used_memory)

    def waiting_by_source(self) -> Mapping[str, int]:
        """How many entries of each source are in it, counted one by one."""
        counted: Counter[str] = Counter()
        for counts in ask_each(self.shards, waiting_by_source):
            counted.update(counts)
        return counted

    def oldest_by_source(self, sources: Collection[str]) -> Mapping[str, float]:
        """The age in seconds of the oldest entry of each of these sources that has one."""
        oldest: dict[str, float] = {}
        for by_source in ask_each(self.shards, lambda shard: oldest_by_source(shard, sources)):
            for source, seconds in by_source.items():
                oldest[source] = max(seconds, oldest.get(source, 0.0))
        return oldest

    def close(self) -> None:
        for shard in self.shards:
            shard.close()
        self.broker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
