"""The inbox seen from outside: depth, ledger and holds at one moment, and whether its workers are active."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from redis.exceptions import ResponseError

from shared.inbox.client import Client, or_unavailable, text_of
from shared.inbox.group import consumers, is_missing
from shared.inbox.holds import Hold, records_in
from shared.inbox.keys import (
    APPENDED,
    AUDIT,
    COUNTERS,
    GROUP,
    HOLDS,
    INBOX,
    LEDGER,
    ODDITIES,
    REPEAT,
    SPOOLS,
    script,
)
from shared.outcomes import Outcome

Counts = Mapping[str, Mapping[str, int]]  # source → what → how many


class Depth(NamedTuple):
    """How much waits in the inbox: entries, and the age of the oldest in seconds (0 when empty)."""

    entries: int
    oldest_seconds: float


class Snapshot(NamedTuple):
    """The inbox at one moment: everything in it was read in one step."""

    depth: Depth
    ledger: Counts  # by the names in COUNTERS
    oddities: Counts
    spooled: Mapping[str, int]  # source → callbacks in the spools of all ingresses, as last reported
    holds: Mapping[str, Hold] = {}
    repaired: int = 0  # entries that were neither pending nor unread, in all

    @property
    def difference(self) -> int:
        """How many entries more wait in the inbox than the ledger says; 0 unless something broke."""
        return self.depth.entries - sum(map(pending_in, self.ledger.values()))


class Activity(NamedTuple):
    """The age of the oldest entry that no worker is busy with (0 without one), and how long ago a worker last used the
    inbox (None: never)."""

    unclaimed_seconds: float
    idle_seconds: float | None


def pending_in(counts: Mapping[str, int]) -> int:
    """What must wait in the inbox, by the ledger of a source."""
    return counts[APPENDED] - counts[REPEAT] - sum(counts[outcome] for outcome in Outcome)


@or_unavailable
def take_snapshot(client: Client) -> Snapshot:
    """The inbox at this moment. Raises RedisUnavailable."""
    with client.pipeline() as pipe:
        queue_reads(pipe)
        return snapshot_in(pipe.execute())


@or_unavailable
def waiting_by_source(client: Client) -> Mapping[str, int]:
    """How many entries of each source are in the inbox, counted one by one. Raises RedisUnavailable."""
    counted: Counter[str] = Counter()
    count = client.register_script(script("count"))
    after: Any = b"-"
    while after:
        after, counts = count(keys=[INBOX], args=[after])
        for source, number in zip(counts[::2], counts[1::2], strict=True):
            counted[source.decode(errors="replace")] += number
    return counted


@or_unavailable
def activity(client: Client, consumer_prefix: str) -> Activity:
    """Whether the workers of this prefix are active, and whether there is something to do. Raises RedisUnavailable.

    Redis itself notes when a consumer last asked for, claimed or renewed anything (waiting for PostgreSQL renews), so
    this costs the workers nothing.
    """
    unclaimed, idle = _oldest_unread_seconds(client), None
    for consumer in consumers(client):
        if consumer.name.startswith(consumer_prefix):
            idle = consumer.idle_seconds if idle is None else min(consumer.idle_seconds, idle)
        if consumer.pending and consumer.held_source is None:
            unclaimed = max(unclaimed, consumer.idle_seconds)
    return Activity(unclaimed, idle)


def queue_reads(pipe: Any) -> None:
    """Queues in a pipeline what `snapshot_in` needs to know."""
    pipe.time()
    pipe.xlen(INBOX)
    pipe.xrange(INBOX, count=1)
    pipe.hgetall(LEDGER)
    pipe.hgetall(ODDITIES)
    pipe.hvals(SPOOLS)
    pipe.hgetall(HOLDS)
    pipe.hget(AUDIT, "repaired")


def snapshot_in(answers: Sequence[Any]) -> Snapshot:
    """The snapshot in the answers to `queue_reads`, which are in its order."""
    time, entries, first, counts, odd, spools, holds, repaired = answers
    oldest = max(0.0, _seconds(time) - _appended_seconds(first[0][0])) if first else 0.0
    ledger = {source: {**dict.fromkeys(COUNTERS, 0), **counts} for source, counts in _by_source(counts).items()}
    spooled: Counter[str] = Counter()
    for spool in spools:
        spooled.update(msgspec.json.decode(spool, type=dict[str, int]))
    held = records_in(holds).held
    return Snapshot(Depth(entries, oldest), ledger, _by_source(odd), spooled, held, int(repaired or 0))


def _oldest_unread_seconds(client: Client) -> float:
    try:
        groups: Any = client.xinfo_groups(INBOX)
    except ResponseError as error:
        if not is_missing(error):
            raise
        return 0.0
    for group in groups:
        if text_of(group["name"]) == GROUP:
            unread: Any = client.xrange(INBOX, min=b"(" + group["last-delivered-id"], count=1)
            return _seconds(client.time()) - _appended_seconds(unread[0][0]) if unread else 0.0
    return 0.0


def _seconds(time: Any) -> float:
    seconds, microseconds = time
    return float(seconds + microseconds / 1e6)


def _appended_seconds(id: bytes) -> float:
    return int(id.split(b"-")[0]) / 1000


def _by_source(counts: Mapping[bytes, bytes]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for field, count in counts.items():
        source, _, what = field.decode(errors="replace").partition(":")
        found.setdefault(source, {})[what] = int(count)
    return found
