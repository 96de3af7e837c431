"""The inbox: a Redis stream that holds every acknowledged callback until it stands in PostgreSQL.

The only place that knows its keys. The ingress appends (async); workers claim, acknowledge and hand back (sync);
both ends read the ledger, the counts per source that the scripts keep in the same step as they change the stream.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from importlib.resources import files
from typing import Any, NamedTuple, TypeVar

import msgspec
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from shared import doorbell
from shared.callback import new_id
from shared.errors import Unavailable

INBOX = "callbox:inbox"
LEDGER = "callbox:ledger"
ODDITIES = "callbox:oddities"
SPOOLS = "callbox:spools"
PROBE = "callbox:probe"
GROUP = "drain"
MEMORY_SHARE = 0.8  # of Redis's maxmemory; the rest is for Celery and the drain

# What the ledger counts. For every source: appended - repeat = stored + duplicate + dead + ignored + pending.
OUTCOMES = ("stored", "duplicate", "dead", "ignored")
COUNTERS = ("appended", "repeat", *OUTCOMES)

ODDITIES_COUNTED = 1000  # kinds of them, over all sources

_HANDED_BACK_MS = 3_600_000  # older than any reclaim limit: free for the next worker
_APPEND, _ACKNOWLEDGE, _LEAVE = (
    files("shared").joinpath("lua", f"{name}.lua").read_text() for name in ("append", "acknowledge", "leave")
)

Client = TypeVar("Client", redis.Redis, redis.asyncio.Redis)


class Entry(NamedTuple):
    """A claimed callback, still packed. `id` is the stream's."""

    id: str
    source: str
    packed: bytes


class Depth(NamedTuple):
    """How much waits in the inbox: entries, and the age of the oldest in seconds (0 when empty)."""

    entries: int
    oldest_seconds: float


class Settled(NamedTuple):
    """What became of an entry, and what was odd about its callback: short phrases without data."""

    entry: Entry
    outcome: str
    oddities: Sequence[str] = ()


Counts = Mapping[str, Mapping[str, int]]  # source → what → how many


class Seen(NamedTuple):
    """The inbox at one moment."""

    depth: Depth
    ledger: Counts  # by the names in COUNTERS
    oddities: Counts
    spooled: Mapping[str, int]  # source → callbacks in the spools of all ingresses, as far as they told


def connect(kind: type[Client], url: str, timeout_seconds: float) -> Client:
    """A client that answers or fails within the timeout: redis-py's own defaults hold a caller for a minute."""
    retry = redis.retry.Retry(NoBackoff(), 0) if kind is redis.Redis else redis.asyncio.retry.Retry(NoBackoff(), 0)
    return kind.from_url(url, socket_timeout=timeout_seconds, socket_connect_timeout=timeout_seconds, retry=retry)


class Appender:
    """The ingress's end."""

    def __init__(self, client: redis.asyncio.Redis, limit: int) -> None:
        self._client = client
        self._limit = limit
        self._append = client.register_script(_APPEND)

    async def append(self, group: Sequence[tuple[str, bytes]], now: datetime) -> None:
        """Makes all of (source, packed callback) durable, or none. One round trip, and one fsync of Redis.

        Raises Unavailable when Redis refuses, is away or does not answer in time. Then the group may have been
        taken all the same; appending it again is harmless, since a callback's id makes it one.
        """
        arguments: list[Any] = [self._limit, MEMORY_SHARE, doorbell.ring(new_id(now))]
        for pair in group:
            arguments += pair
        try:
            await self._append(keys=[INBOX, LEDGER, doorbell.QUEUE], args=arguments)
        except (RedisError, OSError) as error:
            raise Unavailable(_say(error)) from error

    async def probe(self) -> None:
        """Raises Unavailable unless Redis would take a callback now: room for one, and writing works."""
        try:
            await self._append(keys=[INBOX, LEDGER, doorbell.QUEUE], args=[self._limit, MEMORY_SHARE, b""])
            await self._client.set(PROBE, b"")
        except (RedisError, OSError) as error:
            raise Unavailable(_say(error)) from error

    async def report_spool(self, file: str, counts: Mapping[str, int]) -> None:
        """Tells how many callbacks of each source wait in a spool file. Raises Unavailable."""
        try:
            if counts:
                await self._client.hset(SPOOLS, file, msgspec.json.encode(counts))
            else:
                await self._client.hdel(SPOOLS, file)
        except (RedisError, OSError) as error:
            raise Unavailable(_say(error)) from error

    async def look(self) -> Seen:
        """Depth, ledger and oddities. Raises Unavailable."""
        try:
            async with self._client.pipeline(transaction=False) as pipe:
                _ask(pipe)
                return _answer(await pipe.execute())
        except (RedisError, OSError) as error:
            raise Unavailable(_say(error)) from error

    async def close(self) -> None:
        await self._client.aclose()


class Claimer:
    """A worker's end. Each method raises redis.RedisError when Redis is away: Celery's business, as its broker."""

    def __init__(self, client: redis.Redis, consumer: str) -> None:
        self._client = client
        self._consumer = consumer
        self._acknowledge = client.register_script(_ACKNOWLEDGE)
        self._leave = client.register_script(_LEAVE)

    def claim(self, count: int, linger_seconds: float) -> list[Entry]:
        """Up to `count` entries that nobody claimed yet, waiting a moment for the first."""
        milliseconds = max(1, round(linger_seconds * 1000))
        answer = self._in_group(
            lambda: self._client.xreadgroup(GROUP, self._consumer, {INBOX: ">"}, count=count, block=milliseconds)
        )
        return [entry for _, entries in _pairs(answer) for entry in map(_entry, entries)]

    def reclaim(self, count: int, idle_seconds: float) -> list[Entry]:
        """Up to `count` entries whose claim was not renewed for so long: their worker is gone."""
        cursor: Any = "0-0"
        found: list[Entry] = []
        while len(found) < count:
            cursor, entries = self._in_group(partial(self._autoclaim, cursor, count - len(found), idle_seconds))[:2]
            found += map(_entry, entries)
            if cursor == b"0-0":
                break
        return found

    def renew(self, entries: Iterable[Entry]) -> None:
        """Keeps the claim while PostgreSQL is waited for, without counting as another delivery."""
        self._set_idle(entries, 0)

    def hand_back(self, entries: Iterable[Entry]) -> None:
        """Lets any worker reclaim these at once."""
        self._set_idle(entries, _HANDED_BACK_MS)

    def acknowledge(self, settled: Iterable[Settled]) -> int:
        """Takes the entries out and counts what became of them, in one step; how many were still there to take."""
        arguments: list[Any] = [GROUP, ODDITIES_COUNTED]
        for (id, source, _), outcome, oddities in settled:
            arguments += (id, source, outcome, "\n".join(oddities))
        taken: int = self._acknowledge(keys=[INBOX, LEDGER, ODDITIES], args=arguments)
        return taken

    def ring(self, now: datetime) -> None:
        """Asks for another drain, unless one is asked for already."""
        if self._client.llen(doorbell.QUEUE) == 0:
            self._client.lpush(doorbell.QUEUE, doorbell.ring(new_id(now)))

    def leave(self) -> None:
        """Takes this consumer's name off the group, if nothing is pending under it."""
        self._in_group(lambda: self._leave(keys=[INBOX], args=[GROUP, self._consumer]))

    def _autoclaim(self, cursor: Any, count: int, idle_seconds: float) -> Any:
        milliseconds = round(idle_seconds * 1000)
        return self._client.xautoclaim(INBOX, GROUP, self._consumer, milliseconds, cursor, count=count)

    def _set_idle(self, entries: Iterable[Entry], milliseconds: int) -> None:
        ids: list[Any] = [entry.id for entry in entries]
        if ids:
            self._client.xclaim(INBOX, GROUP, self._consumer, 0, ids, idle=milliseconds, justid=True)

    def _in_group(self, call: Any) -> Any:
        try:
            return call()
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
        try:
            self._client.xgroup_create(INBOX, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        return call()


def look(client: redis.Redis) -> Seen:
    """Depth, ledger and oddities, for commands. Raises redis.RedisError."""
    with client.pipeline(transaction=False) as pipe:
        _ask(pipe)
        return _answer(pipe.execute())


def seconds_since_turn(client: redis.Redis) -> float | None:
    """How long ago a worker last asked for entries; None before the first. Raises redis.RedisError."""
    try:
        consumers: Any = client.xinfo_consumers(INBOX, GROUP)
    except ResponseError:  # no stream or no group yet
        return None
    return min((consumer["idle"] / 1000 for consumer in consumers), default=None)


def _ask(pipe: Any) -> None:
    pipe.time()
    pipe.xlen(INBOX)
    pipe.xrange(INBOX, count=1)
    pipe.hgetall(LEDGER)
    pipe.hgetall(ODDITIES)
    pipe.hvals(SPOOLS)


def _answer(answers: Sequence[Any]) -> Seen:
    (seconds, microseconds), entries, first, counts, odd, spools = answers
    oldest = 0.0
    if first:
        appended_ms = int(first[0][0].split(b"-")[0])
        oldest = max(0.0, seconds + microseconds / 1e6 - appended_ms / 1000)
    ledger = {source: {**dict.fromkeys(COUNTERS, 0), **its} for source, its in _by_source(counts).items()}
    spooled: Counter[str] = Counter()
    for spool in spools:
        spooled.update(msgspec.json.decode(spool, type=dict[str, int]))
    return Seen(Depth(entries, oldest), ledger, _by_source(odd), spooled)


def _by_source(counts: Mapping[bytes, bytes]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for field, count in counts.items():
        source, _, what = field.decode(errors="replace").partition(":")
        found.setdefault(source, {})[what] = int(count)
    return found


def _pairs(answer: Any) -> Iterable[tuple[Any, Any]]:
    return answer.items() if isinstance(answer, dict) else answer or ()


def _entry(item: Any) -> Entry:
    id, fields = item
    return Entry(id.decode(), (fields or {}).get(b"s", b"").decode(errors="replace"), (fields or {}).get(b"c", b""))


def _say(error: Exception) -> str:
    if isinstance(error, ResponseError) and str(error).startswith("FULL "):
        return str(error).removeprefix("FULL ")
    return f"Redis cannot take it ({type(error).__name__})"
