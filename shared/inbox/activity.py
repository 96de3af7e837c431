"""Whether workers are active: the marks that they set, and what waits for them.

Redis notes by itself when a consumer last did something, but before 7.2 not when it asked in vain, and a consumer that
never got anything is not even listed. So a worker sets a mark of its own.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from shared.inbox.client import Shard, text_of
from shared.inbox.clock import appended_seconds, seconds_of
from shared.inbox.errors import or_unavailable
from shared.inbox.group import abandoned, consumers, is_missing
from shared.inbox.keys import GROUP


class Activity(NamedTuple):
    """For how long an entry has been waiting for these workers (0: none does), and how long ago one of them last used
    the inbox (None: never)."""

    unclaimed_seconds: float
    idle_seconds: float | None


@or_unavailable
def activity(shard: Shard, consumer_prefix: str, reclaim_seconds: float = 0.0) -> Activity:
    """Whether the workers of this prefix are active, and whether there is something to do. Raises RedisUnavailable.

    A worker is active when it asks for entries, claims some, or renews its claims, as it does while it waits for
    PostgreSQL. What another worker has claimed waits for these once it was not renewed for `reclaim_seconds`.
    """
    unclaimed = _oldest_unread_seconds(shard)
    idle = [seconds for name, seconds in idle_by_mark(shard).items() if name.startswith(consumer_prefix)]
    for consumer in consumers(shard):
        is_own = consumer.name.startswith(consumer_prefix)
        if is_own:
            idle.append(consumer.idle_seconds)
        if consumer.pending and consumer.held_source is None:
            unclaimed = max(unclaimed, consumer.idle_seconds - (0.0 if is_own else reclaim_seconds))
    return Activity(unclaimed, min(idle, default=None))


@or_unavailable
def is_drain_due(shard: Shard, reclaim_seconds: float) -> bool:
    """Whether a drain would find something: entries that no worker has taken, or claims that were handed back or not
    renewed for `reclaim_seconds`. Raises RedisUnavailable."""
    if not shard.xlen(shard.names.inbox):
        return False
    return _has_unread(shard) or bool(abandoned(shard, 1, reclaim_seconds))


def idle_by_mark(shard: Shard) -> Mapping[str, float]:
    """For each worker how many seconds ago it set its mark."""
    marks: Any = shard.hgetall(shard.names.marks)
    now = seconds_of(shard.time()) if marks else 0.0
    return {text_of(name): max(0.0, now - int(at) / 1000) for name, at in marks.items()}


def _has_unread(shard: Shard) -> bool:
    """Also where no worker was there yet to make the group."""
    last = _last_read(shard)
    return last is None or bool(shard.xrange(shard.names.inbox, min=b"(" + last, count=1))


def _oldest_unread_seconds(shard: Shard) -> float:
    last = _last_read(shard)
    unread: Any = shard.xrange(shard.names.inbox, min=b"(" + last, count=1) if last is not None else []
    return seconds_of(shard.time()) - appended_seconds(unread[0][0]) if unread else 0.0


def _last_read(shard: Shard) -> bytes | None:
    """The entry up to which workers have read; None without the stream or its group."""
    try:
        groups: Any = shard.xinfo_groups(shard.names.inbox)
    except ResponseError as error:
        if not is_missing(error):
            raise
        return None
    found = (group["last-delivered-id"] for group in groups if text_of(group["name"]) == GROUP)
    return next(found, None)
