"""What waits in the inbox, for whom: for a worker, or for the end of a hold."""

from collections.abc import Sequence
from typing import NamedTuple

from shared.inbox.client import Shard
from shared.inbox.errors import or_unavailable
from shared.inbox.keys import GROUP, HOLDER, script
from shared.inbox.snapshot import Depth


class Backlog(NamedTuple):
    """`unread` entries were not taken by any worker yet. `oldest_seconds` is the age of the oldest entry that is not
    `held`, 0 without one; those are set aside, because their source is held."""

    unread: int
    oldest_seconds: float
    held: Depth


@or_unavailable
def backlog(shard: Shard) -> Backlog:
    """At this moment; looks at a few entries only. Raises RedisUnavailable."""
    answer: Sequence[int] = shard.register_script(script("backlog"))(keys=[shard.names.inbox], args=[GROUP, HOLDER])
    unread, oldest, held, oldest_held = answer
    return Backlog(unread, oldest / 1000, Depth(held, oldest_held / 1000))


def merged_backlog(backlogs: Sequence[Backlog]) -> Backlog:
    """Those of several shards as one; at least one."""
    return Backlog(
        sum(each.unread for each in backlogs),
        max(each.oldest_seconds for each in backlogs),
        Depth(sum(each.held.entries for each in backlogs), max(each.held.oldest_seconds for each in backlogs)),
    )
