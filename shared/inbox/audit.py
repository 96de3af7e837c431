"""Repairs what a fault or a foreign hand left in the consumer group: entries that no worker would ever take, and names
of workers that are gone."""

from typing import Any

from redis.exceptions import OutOfMemoryError

from shared.inbox.activity import idle_by_mark
from shared.inbox.client import Client, or_unavailable
from shared.inbox.group import consumers
from shared.inbox.keys import AUDITED, GROUP, INBOX, MARKS, NOTES, script

FORGET_SECONDS = 600  # a worker that asked for nothing for so long is gone, or comes back under the same name


@or_unavailable
def audit_group(client: Client, every_seconds: int) -> int | None:
    """Repairs the group, unless a worker did within the last `every_seconds` (None then); how many entries were
    repaired.

    An entry that is neither pending nor unread (its consumer was deleted, or the group was set by hand) is made
    pending again, free to be taken. Raises RedisUnavailable.
    """
    try:
        if not client.set(AUDITED, b"", nx=True, ex=every_seconds):
            return None
        repaired = _repair(client)
        if repaired:
            client.hincrby(NOTES, "repaired", repaired)
        _forget(client)
    except OutOfMemoryError:  # nothing here is urgent
        return None
    return repaired


def _repair(client: Client) -> int:
    repair = client.register_script(script("repair"))
    after: Any = b"-"
    repaired = 0
    while after:
        after, count = repair(keys=[INBOX], args=[GROUP, after])
        repaired += count
    return repaired


def _forget(client: Client) -> None:
    leave = client.register_script(script("leave"))
    marks = idle_by_mark(client)
    for consumer in consumers(client):
        idle_seconds = min(consumer.idle_seconds, marks.get(consumer.name, consumer.idle_seconds))
        is_holder = consumer.held_source is not None
        if not consumer.pending and (is_holder or idle_seconds > FORGET_SECONDS):
            leave(keys=[INBOX, MARKS], args=[GROUP, consumer.name])
    if gone := [name for name, seconds in marks.items() if seconds > FORGET_SECONDS]:
        client.hdel(MARKS, *gone)
