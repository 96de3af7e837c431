"""Repairs what a fault, an interruption or a foreign hand left in the consumer group: entries that no worker would ever
take, and names of workers that are gone."""

from typing import Any

from redis.exceptions import OutOfMemoryError

from shared import logs
from shared.inbox.activity import idle_by_mark
from shared.inbox.client import Shard
from shared.inbox.errors import or_unavailable
from shared.inbox.group import consumers
from shared.inbox.holds import release_left
from shared.inbox.keys import GROUP, script

log = logs.get(__name__)

FORGET_SECONDS = 600  # a worker that asked for nothing for so long is gone, or comes back under the same name


@or_unavailable
def audit_group(shard: Shard, every_seconds: int) -> int | None:
    """Repairs the group, unless a worker did within the last `every_seconds` (None then); how many entries were
    repaired.

    An entry that is neither pending nor unread (its consumer was deleted, or the group was set by hand) is made
    pending again, free to be taken. One that is still set aside after the end of a hold is released, which is no
    repair: that end may still go on. Raises RedisUnavailable.
    """
    try:
        if not shard.set(shard.names.audited, b"", nx=True, ex=every_seconds):
            return None
        if released := release_left(shard):
            log.warning("released what an ended hold had left", entries=released)
        repaired = _repair(shard)
        if repaired:
            shard.hincrby(shard.names.notes, "repaired", repaired)
        _forget(shard)
    except OutOfMemoryError:  # nothing here is urgent
        return None
    return repaired


def _repair(shard: Shard) -> int:
    repair = shard.register_script(script("repair"))
    after: Any = b"-"
    repaired = 0
    while after:
        after, count = repair(keys=[shard.names.inbox], args=[GROUP, after])
        repaired += count
    return repaired


def _forget(shard: Shard) -> None:
    leave = shard.register_script(script("leave"))
    marks = idle_by_mark(shard)
    for consumer in consumers(shard):
        idle_seconds = min(consumer.idle_seconds, marks.get(consumer.name, consumer.idle_seconds))
        is_holder = consumer.held_source is not None
        if not consumer.pending and (is_holder or idle_seconds > FORGET_SECONDS):
            leave(keys=[shard.names.inbox, shard.names.marks], args=[GROUP, consumer.name])
    if gone := [name for name, seconds in marks.items() if seconds > FORGET_SECONDS]:
        shard.hdel(shard.names.marks, *gone)
