"""What waits in the inbox by source, counted entry by entry. That takes time; the ledger knows most of it."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from shared.inbox.client import Shard, text_of
from shared.inbox.clock import appended_seconds, seconds_of
from shared.inbox.errors import or_unavailable
from shared.inbox.keys import script


class _Some(NamedTuple):
    """Entries of one source in a stretch of the inbox."""

    source: str
    entries: int
    oldest_id: bytes


@or_unavailable
def waiting_by_source(shard: Shard) -> Mapping[str, int]:
    """How many entries of each source are in the inbox. Raises RedisUnavailable."""
    counted: Counter[str] = Counter()
    for stretch in _stretches(shard):
        for some in stretch:
            counted[some.source] += some.entries
    return counted


@or_unavailable
def oldest_by_source(shard: Shard, sources: Collection[str]) -> Mapping[str, float]:
    """The age in seconds of the oldest entry of each of these sources that has one; looks no further than it must.

    Raises RedisUnavailable.
    """
    missing, oldest = set(sources), {}
    now = seconds_of(shard.time())
    for stretch in _stretches(shard) if missing else ():
        for some in stretch:
            if some.source in missing:
                missing.remove(some.source)
                oldest[some.source] = max(0.0, now - appended_seconds(some.oldest_id))
        if not missing:
            break
    return oldest


def _stretches(shard: Shard) -> Iterator[list[_Some]]:
    after: Any = b"-"
    count = shard.register_script(script("count"))
    while after:
        after, found = count(keys=[shard.names.inbox], args=[after])
        yield [_Some(text_of(found[i]), found[i + 1], found[i + 2]) for i in range(0, len(found), 3)]
