"""Finds and mends what a foreign hand or a fault left in the consumer group: entries that nobody would ever take, and
names of workers that are gone."""

from typing import Any

import redis
from redis.exceptions import OutOfMemoryError, ResponseError

from shared.inbox.keys import AUDIT, AUDITED, GROUP, HOLDER, INBOX, script

FORGET_SECONDS = 600  # a worker that asked for nothing for so long is gone, or comes back under the same name

_MEND, _LEAVE = script("mend"), script("leave")


def audit(client: redis.Redis, every_seconds: int) -> int | None:
    """Does it, unless some worker did within so many seconds (None then); how many entries were mended.

    An entry that is neither pending nor unread (its consumer was deleted, or the group was set by hand) is made
    pending again, free to be taken. Raises redis.RedisError.
    """
    try:
        if not client.set(AUDITED, b"", nx=True, ex=every_seconds):
            return None
        mended = _mend(client)
        if mended:
            client.hincrby(AUDIT, "mended", mended)
        _forget(client)
    except OutOfMemoryError:  # nothing here is urgent
        return None
    return mended


def _mend(client: redis.Redis) -> int:
    mend = client.register_script(_MEND)
    after: Any = b"-"
    mended = 0
    while after:
        after, count = mend(keys=[INBOX], args=[GROUP, after])
        mended += count
    return mended


def _forget(client: redis.Redis) -> None:
    leave = client.register_script(_LEAVE)
    try:
        consumers: Any = client.xinfo_consumers(INBOX, GROUP)
    except ResponseError:  # no stream or no group yet
        return
    for consumer in consumers:
        held = bytes(consumer["name"]).startswith(HOLDER.encode())
        if not consumer["pending"] and (held or consumer["idle"] > FORGET_SECONDS * 1000):
            leave(keys=[INBOX], args=[GROUP, consumer["name"]])
