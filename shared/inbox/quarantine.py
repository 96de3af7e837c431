"""The quarantine: refused requests, kept for a while so that they may be proven later. Nothing else is done with them.

All of them are in the first shard's Redis, each source's under keys of its own. One script keeps them within their
bounds, whoever adds or removes: the ingress (async), or a command.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from redis.exceptions import RedisError

from shared.errors import Malformed
from shared.inbox.client import AsyncShard, Shard, connect_async, text_of
from shared.inbox.errors import RedisUnavailable, or_unavailable, unavailable
from shared.inbox.keys import MEMORY_SHARE, Keys, script
from shared.refused import Refused
from shared.settings import Settings

ALL_SHARE = 1 / 20  # of maxmemory, for the refused requests of all sources
ALL_BYTES = 256 * 1024 * 1024  # the same where there is no maxmemory
KEEP_SHARE = MEMORY_SHARE - ALL_SHARE  # of maxmemory: when more is used, room is for callbacks only
BESIDE_BYTES = 512  # of Redis's memory that a request takes beside its own, about
MOST_REMOVED = 2000  # requests by one call, since callbacks wait for so long

KEPT, PROVEN = "kept", "proven"  # what becomes of requests; any other word is why they were dropped

Item = tuple[str, Refused]  # with the address that it counts for


class Bounds(NamedTuple):
    """What is kept of each source."""

    requests: int
    bytes: int
    seconds: int

    @classmethod
    def of(cls, settings: Settings) -> "Bounds":
        return cls(settings.quarantine_requests, settings.quarantine_bytes, settings.quarantine_hours * 3600)


_NO_BOUNDS = Bounds(2**40, 2**50, 2**32)  # those of the ingresses may be others than a command's


class Change(NamedTuple):
    """What a call did: `counts` by source and what became of its requests. `is_over`: there was no more to remove."""

    counts: Mapping[tuple[str, str], int]
    is_over: bool


class KeptRequest(NamedTuple):
    """A request in the quarantine, and its member in the sorted sets."""

    member: bytes
    refused: Refused


class Known(NamedTuple):
    """That a request is in the quarantine, and since when, in milliseconds of Redis's clock."""

    member: bytes
    since_ms: int


class QuarantineWriter:
    """The ingress's end, over a connection of its own."""

    def __init__(self, shard: AsyncShard, bounds: Bounds, deadline_seconds: float) -> None:
        self._shard = shard
        self._bounds = bounds
        self._deadline_seconds = deadline_seconds
        self._script = shard.register_script(script("quarantine"))

    @classmethod
    def connect(cls, settings: Settings) -> "QuarantineWriter":
        """Of the first shard that the settings name."""
        shard = connect_async(settings.shard_urls[0], settings.connect_seconds)
        return cls(shard, Bounds.of(settings), settings.connect_seconds)

    async def keep(self, items: Sequence[Item]) -> Change:
        """Keeps requests, and removes what is too old or too much; without any it only removes.

        Raises RedisUnavailable; then they may have been kept.
        """
        names = self._shard.names
        try:
            async with asyncio.timeout(self._deadline_seconds):
                fields: Any = await self._shard.hkeys(names.quarantine)
                sources = _sources(fields, [refused.callback.source for _, refused in items])
                arguments = _arguments(self._bounds, sources, (), items)
                return _change(await self._script(keys=_keys(names, sources), args=arguments))
        except TimeoutError:
            raise RedisUnavailable(f"Redis did not answer within {self._deadline_seconds:g} s") from None
        except (RedisError, OSError) as error:
            raise unavailable(error) from error

    async def close(self) -> None:
        await self._shard.aclose()


class Quarantine:
    """The end of commands. Each method raises RedisUnavailable. A request of another release is left out."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._names = shard.names

    @or_unavailable
    def sources(self) -> list[str]:
        """Those that have requests in it, by name."""
        fields: Any = self._shard.hkeys(self._names.quarantine)
        return _sources(fields)

    def newest(self, source: str) -> Iterator[Refused]:
        """The requests of a source, the newest first."""
        return (kept.refused for page in self._pages(source, 100, is_reversed=True) for kept in page)

    def oldest(self, source: str, count: int) -> Iterator[list[KeptRequest]]:
        """The requests of a source in groups of up to `count`, the oldest first; what is removed in between is skipped,
        and nothing else."""
        return self._pages(source, count)

    @or_unavailable
    def known_since(self, source: str, since_ms: int, count: int) -> list[Known]:
        """Which requests of a source came in then or later, the newest `count` of them, without reading any."""
        times = self._names.refused(source).times
        found: Any = self._shard.zrevrangebyscore(times, "+inf", since_ms, start=0, num=count, withscores=True)
        return [Known(member, int(score)) for member, score in found]

    @or_unavailable
    def read(self, source: str, members: Sequence[bytes]) -> list[KeptRequest]:
        """These requests of a source, but for those that are removed by now."""
        if not members:
            return []
        ids = [member.split(b" ")[1] for member in members]
        found: Any = self._shard.hmget(self._names.refused(source).requests, ids)
        return [
            KeptRequest(member, refused)
            for member, packed in zip(members, found, strict=True)
            for refused in _readable([packed])
        ]

    @or_unavailable
    def find(self, id: UUID) -> Refused | None:
        """The request with this id, of any source."""
        for source in self.sources():
            packed: Any = self._shard.hget(self._names.refused(source).requests, str(id))
            for refused in _readable([packed]):
                return refused
        return None

    @or_unavailable
    def remove(self, source: str, members: Sequence[bytes]) -> None:
        """Removes requests that are proven now."""
        run: Any = self._shard.register_script(script("quarantine"))
        arguments = _arguments(_NO_BOUNDS, [source], members, ())
        run(keys=_keys(self._names, [source]), args=arguments)

    def _pages(self, source: str, count: int, is_reversed: bool = False) -> Iterator[list[KeptRequest]]:
        """All members as they are at the beginning: they are short, and what is added later does not move them."""
        members = self._members(source, is_reversed)
        for start in range(0, len(members), count):
            yield self.read(source, members[start : start + count])

    @or_unavailable
    def _members(self, source: str, is_reversed: bool) -> list[bytes]:
        found: Any = self._shard.zrange(self._names.refused(source).times, 0, -1, desc=is_reversed)
        return list(found)


def _readable(packed: Sequence[bytes | None]) -> Iterator[Refused]:
    for each in packed:
        if each is not None:
            try:
                yield Refused.unpacked(each)
            except Malformed:
                continue


def _sources(fields: Sequence[bytes], others: Sequence[str] = ()) -> list[str]:
    return sorted({text_of(field).rpartition(":")[0] for field in fields} | set(others))


def _keys(names: Keys, sources: Sequence[str]) -> list[str]:
    return [names.quarantine, *(key for source in sources for key in names.refused(source))]


def _arguments(
    bounds: Bounds, sources: Sequence[str], removed: Sequence[bytes], items: Sequence[Item]
) -> list[str | int | float | bytes]:
    """What the script takes. `removed` are members of the first source."""
    numbers = {source: number for number, source in enumerate(sources, 1)}
    arguments: list[str | int | float | bytes] = [*bounds, ALL_SHARE, ALL_BYTES, KEEP_SHARE, BESIDE_BYTES, MOST_REMOVED]
    arguments += (len(sources), *sources, len(removed))
    for member in removed:
        arguments += (1, member)
    for address, refused in items:
        callback = refused.callback
        arguments += (numbers[callback.source], str(callback.id), address, refused.packed())
    return arguments


def _change(answer: Sequence[Any]) -> Change:
    more, *counts = answer
    found: Counter[tuple[str, str]] = Counter()
    for source, what, count in zip(counts[::3], counts[1::3], counts[2::3], strict=True):
        found[text_of(source), text_of(what)] += count
    return Change(found, not more)
