"""The inbox seen from outside: depth, ledger, holds, and whether anything waits that nobody takes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import redis
from redis.exceptions import ResponseError

from shared.inbox.client import text_of
from shared.inbox.hold import Hold, read_holds
from shared.inbox.keys import AUDIT, COUNTERS, GROUP, HOLDER, HOLDS, INBOX, LEDGER, ODDITIES, OUTCOMES, SPOOLS, script

_COUNT = script("count")

Counts = Mapping[str, Mapping[str, int]]  # source → what → how many


class Depth(NamedTuple):
    """How much waits in the inbox: entries, and the age of the oldest in seconds (0 when empty)."""

    entries: int
    oldest_seconds: float


class Seen(NamedTuple):
    """The inbox at one moment: everything in it was read in one step."""

    depth: Depth
    ledger: Counts  # by the names in COUNTERS
    oddities: Counts
    spooled: Mapping[str, int]  # source → callbacks in the spools of all ingresses, as far as they told
    holds: Mapping[str, Hold] = {}
    mended: int = 0  # entries that were neither pending nor unread, since ever

    @property
    def difference(self) -> int:
        """How many entries more wait in the inbox than the ledger says; 0 unless something broke."""
        return self.depth.entries - sum(map(pending, self.ledger.values()))


class Turns(NamedTuple):
    """How long the longest-waiting callback has been nobody's (0 when none waits), and how long ago a worker last did
    anything with the inbox (None: never)."""

    waited_seconds: float
    turned_seconds: float | None


def pending(counts: Mapping[str, int]) -> int:
    """What must wait in the inbox, by the ledger of a source."""
    return counts["appended"] - counts["repeat"] - sum(counts[outcome] for outcome in OUTCOMES)


def look(client: redis.Redis) -> Seen:
    """The inbox at this moment, for commands. Raises redis.RedisError."""
    with client.pipeline() as pipe:
        ask(pipe)
        return answer(pipe.execute())


def waiting_by_source(client: redis.Redis) -> Mapping[str, int]:
    """How many entries of each source stand in the inbox, counted one by one. Raises redis.RedisError."""
    counted: Counter[str] = Counter()
    count = client.register_script(_COUNT)
    after: Any = b"-"
    while after:
        after, counts = count(keys=[INBOX], args=[after])
        for source, number in zip(counts[::2], counts[1::2], strict=True):
            counted[source.decode(errors="replace")] += number
    return counted


def turns(client: redis.Redis, consumer_prefix: str) -> Turns:
    """Whether the workers of this prefix do something, and whether there is something to do. Raises redis.RedisError.

    Redis notes itself when a consumer last asked for, claimed or renewed anything (waiting for PostgreSQL renews), so
    this costs the workers nothing.
    """
    try:
        consumers: Any = client.xinfo_consumers(INBOX, GROUP)
        groups: Any = client.xinfo_groups(INBOX)
    except ResponseError:  # no stream or no group yet
        return Turns(0.0, None)
    waited, turned = 0.0, None
    for consumer in consumers:
        name, idle = text_of(consumer["name"]), consumer["idle"] / 1000
        if name.startswith(consumer_prefix):
            turned = idle if turned is None else min(idle, turned)
        if consumer["pending"] and not name.startswith(HOLDER):
            waited = max(waited, idle)
    last = next(it["last-delivered-id"] for it in groups if text_of(it["name"]) == GROUP)
    unread: Any = client.xrange(INBOX, min=b"(" + last, count=1)
    if unread:
        now: Any = client.time()
        waited = max(waited, now[0] + now[1] / 1e6 - _appended_seconds(unread[0][0]))
    return Turns(waited, turned)


def ask(pipe: Any) -> None:
    """Queues the questions of a look."""
    pipe.time()
    pipe.xlen(INBOX)
    pipe.xrange(INBOX, count=1)
    pipe.hgetall(LEDGER)
    pipe.hgetall(ODDITIES)
    pipe.hvals(SPOOLS)
    pipe.hgetall(HOLDS)
    pipe.hget(AUDIT, "mended")


def answer(answers: Sequence[Any]) -> Seen:
    """What the answers to `ask` say."""
    (seconds, microseconds), entries, first, counts, odd, spools, holds, mended = answers
    oldest = max(0.0, seconds + microseconds / 1e6 - _appended_seconds(first[0][0])) if first else 0.0
    ledger = {source: {**dict.fromkeys(COUNTERS, 0), **its} for source, its in _by_source(counts).items()}
    spooled: Counter[str] = Counter()
    for spool in spools:
        spooled.update(msgspec.json.decode(spool, type=dict[str, int]))
    held = read_holds(holds).held
    return Seen(Depth(entries, oldest), ledger, _by_source(odd), spooled, held, int(mended or 0))


def _appended_seconds(id: bytes) -> float:
    return int(id.split(b"-")[0]) / 1000


def _by_source(counts: Mapping[bytes, bytes]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for field, count in counts.items():
        source, _, what = field.decode(errors="replace").partition(":")
        found.setdefault(source, {})[what] = int(count)
    return found
