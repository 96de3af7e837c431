"""Whether workers are active: the marks that they set, and what waits for them.

Redis notes by itself when a consumer last did something, but before 7.2 not when it asked in vain, and a consumer that
never got anything is not even listed. So a worker sets a mark of its own.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from shared.inbox.client import Shard, or_unavailable, text_of
from shared.inbox.clock import appended_seconds, seconds_of
from shared.inbox.group import consumers, is_missing
from shared.inbox.keys import GROUP


class Activity(NamedTuple):
    """The age of the oldest entry that no worker is busy with (0 without one), and how long ago a worker last used the
    inbox (None: never)."""

    unclaimed_seconds: float
    idle_seconds: float | None


@or_unavailable
def activity(shard: Shard, consumer_prefix: str) -> Activity:
    """Whether the workers of this prefix are active, and whether there is something to do. Raises RedisUnavailable.

    A worker is active when it asks for entries, claims some, or renews its claims, as it does while it waits for
    PostgreSQL.
    """
    unclaimed = _oldest_unread_seconds(shard)
    idle = [seconds for name, seconds in idle_by_mark(shard).items() if name.startswith(consumer_prefix)]
    for consumer in consumers(shard):
        if consumer.name.startswith(consumer_prefix):
            idle.append(consumer.idle_seconds)
        if consumer.pending and consumer.held_source is None:
            unclaimed = max(unclaimed, consumer.idle_seconds)
    return Activity(unclaimed, min(idle, default=None))


def idle_by_mark(shard: Shard) -> Mapping[str, float]:
    """For each worker how many seconds ago it set its mark."""
    marks: Any = shard.hgetall(shard.names.marks)
    now = seconds_of(shard.time()) if marks else 0.0
    return {text_of(name): max(0.0, now - int(at) / 1000) for name, at in marks.items()}


def _oldest_unread_seconds(shard: Shard) -> float:
    try:
        groups: Any = shard.xinfo_groups(shard.names.inbox)
    except ResponseError as error:
        if not is_missing(error):
            raise
        return 0.0
    for group in groups:
        if text_of(group["name"]) == GROUP:
            unread: Any = shard.xrange(shard.names.inbox, min=b"(" + group["last-delivered-id"], count=1)
            return seconds_of(shard.time()) - appended_seconds(unread[0][0]) if unread else 0.0
    return 0.0
