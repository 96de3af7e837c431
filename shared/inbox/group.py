"""The consumer group of the inbox: who is in it, and what is pending under whose name."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from redis.exceptions import ResponseError

from shared.inbox.client import Shard, text_of
from shared.inbox.keys import GROUP, HOLDER

FREE_MS = 3_600_000  # idle for longer than any reclaim limit: free for the next worker

R = TypeVar("R")


class ConsumerInfo(NamedTuple):
    """A consumer as Redis knows it. `idle_seconds`: since it last asked for, claimed or renewed anything."""

    name: str
    pending: int
    idle_seconds: float

    @property
    def held_source(self) -> str | None:
        """The source whose entries are set aside under this name; None for a worker."""
        return self.name.removeprefix(HOLDER) if self.name.startswith(HOLDER) else None


class Abandoned(NamedTuple):
    """An entry whose claim was handed back, or not renewed in time: its worker is gone, or hangs."""

    id: str
    deliveries: int


def in_group(shard: Shard, call: Callable[[], R]) -> R:
    """What `call` returns; the stream and its group are made first where they do not exist yet."""
    try:
        return call()
    except ResponseError as error:
        if not is_missing(error):
            raise
    try:
        shard.xgroup_create(shard.names.inbox, GROUP, id="0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    return call()


def is_missing(error: ResponseError) -> bool:
    """Whether the stream or its group does not exist."""
    return "NOGROUP" in str(error) or "no such key" in str(error)


def consumers(shard: Shard) -> list[ConsumerInfo]:
    """All of the group; none where there is no stream or group yet."""
    try:
        found: Any = shard.xinfo_consumers(shard.names.inbox, GROUP)
    except ResponseError as error:
        if not is_missing(error):
            raise
        return []
    return [ConsumerInfo(text_of(each["name"]), each["pending"], each["idle"] / 1000) for each in found]


def pending(shard: Shard, consumer: str, count: int, idle_seconds: float = 0.0) -> list[Abandoned]:
    """Up to `count` entries pending under a name for that long, the oldest first."""
    milliseconds = round(idle_seconds * 1000)
    found: Any = in_group(
        shard,
        lambda: shard.xpending_range(
            shard.names.inbox, GROUP, min="-", max="+", count=count, consumername=consumer, idle=milliseconds
        ),
    )
    return [Abandoned(text_of(each["message_id"]), each["times_delivered"]) for each in found]


def abandoned(shard: Shard, count: int, idle_seconds: float) -> list[Abandoned]:
    """Up to `count` entries whose claim was not renewed for that long; entries of held sources are skipped."""
    found: list[Abandoned] = []
    for consumer in consumers(shard):
        if consumer.pending and consumer.held_source is None and len(found) < count:
            found += pending(shard, consumer.name, count - len(found), idle_seconds)
    return found
