"""Holds: which sources are not drained for the moment, why, and their entries. All workers share them through Redis.

One hash keeps three kinds of fields: `held:` + source (a Hold), `proven:` + source (the release that last understood
most of what the source sent) and `waived:` + source (the release that is to drain it in any case). The
entries of a held source stay in the stream, pending under the name of its holder, where no worker takes them.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from redis.exceptions import OutOfMemoryError

from shared.inbox.client import Shard
from shared.inbox.consumer import Entry
from shared.inbox.errors import or_unavailable
from shared.inbox.group import FREE_MS, Abandoned, consumers, pending
from shared.inbox.keys import GROUP, HOLDER, script

_RELEASED = "released"  # the consumer under whose name released entries wait for a worker


class Hold(msgspec.Struct, frozen=True):
    """Why a source is held, and since when (seconds of the Unix epoch); `unconfigured`: workers do not know it."""

    why: str
    since: float
    unconfigured: bool = False

    def remedy(self, source: str) -> str:
        """What to do about it."""
        if self.unconfigured:
            return f"add it to the workers' callbox.toml, or have dead letters by `callbox resume {source}`"
        return f"deploy a fix, or process it anyway by `callbox resume {source}`"


class HoldRecords(NamedTuple):
    """Everything that is recorded about holds, by source."""

    held: Mapping[str, Hold]
    proven: Mapping[str, str]
    waived: Mapping[str, str]


class Holds:
    """Reads and writes the holds. Each method raises RedisUnavailable."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._names = shard.names
        self._write_field = shard.register_script(script("note"))
        self._set_aside = shard.register_script(script("set_aside"))

    @or_unavailable
    def read(self) -> HoldRecords:
        """All records at this moment."""
        fields: Any = self._shard.hgetall(self._names.holds)
        return records_in(fields)

    @or_unavailable
    def counts(self) -> dict[str, int]:
        """How many entries are set aside, by source."""
        found = consumers(self._shard)
        return {each.held_source: each.pending for each in found if each.held_source is not None}

    @or_unavailable
    def hold(self, source: str, hold: Hold) -> bool:
        """Holds a source; False when it was held already."""
        arguments: list[Any] = ["HSETNX", _held_field(source), msgspec.json.encode(hold)]
        return bool(self._write_field(keys=[self._names.holds], args=arguments))

    @or_unavailable
    def set_aside(self, source: str, entries: Iterable[Entry]) -> bool:
        """Sets claimed entries of a held source aside; False, and nothing is done, when it is no longer held."""
        arguments: list[Any] = [GROUP, HOLDER + source, _held_field(source)]
        for entry in entries:
            arguments += (entry.id, entry.deliveries - 1)
        return bool(self._set_aside(keys=[self._names.inbox, self._names.holds], args=arguments))

    @or_unavailable
    def oldest(self, source: str, count: int) -> list[Abandoned]:
        """The oldest entries that are set aside for a source, for a consumer to take."""
        return pending(self._shard, HOLDER + source, count)

    @or_unavailable
    def release(self, source: str) -> None:
        """Ends the hold of a source and lets any worker take its entries. What an interruption leaves is released by
        the next audit."""
        self._shard.hdel(self._names.holds, _held_field(source))
        _release_entries(self._shard, source)

    @or_unavailable
    def prove(self, source: str, release: str) -> None:
        """Notes that this release understands the source."""
        self._write_field(keys=[self._names.holds], args=["HSET", f"proven:{source}", release])

    @or_unavailable
    def waive(self, source: str, release: str) -> None:
        """Has this release drain the source whatever becomes of its callbacks."""
        self._write_field(keys=[self._names.holds], args=["HSET", f"waived:{source}", release])

    @or_unavailable
    def start_trial(self, source: str, seconds: int) -> bool:
        """Starts a trial of a held source, if none began within the last `seconds` in any worker; whether it did."""
        try:
            return bool(self._shard.set(self._names.trial + source, b"", nx=True, ex=seconds))
        except OutOfMemoryError:  # a trial is not urgent
            return False


def release_left(shard: Shard) -> int:
    """Lets workers take what is still set aside for sources that are not held: the end of their hold was interrupted.
    Returns how many entries these were."""
    found = [each.held_source for each in consumers(shard) if each.pending and each.held_source is not None]
    if not found:
        return 0
    # Read after the consumers: an entry is set aside only while its source is held.
    fields: Any = shard.hgetall(shard.names.holds)
    held = records_in(fields).held
    return sum(_release_entries(shard, source) for source in found if source not in held)


def _release_entries(shard: Shard, source: str) -> int:
    released = 0
    while held := pending(shard, HOLDER + source, 1000):
        ids: list[Any] = [each.id for each in held]
        shard.xclaim(shard.names.inbox, GROUP, _RELEASED, 0, ids, idle=FREE_MS, justid=True)
        released += len(ids)
    return released


def _held_field(source: str) -> str:
    return f"held:{source}"


def records_in(fields: Mapping[bytes, bytes]) -> HoldRecords:
    """The records in the fields of the hash."""
    held, proven, waived = {}, {}, {}
    for field, value in fields.items():
        kind, _, source = field.decode(errors="replace").partition(":")
        if kind == "held":
            held[source] = msgspec.json.decode(value, type=Hold)
        elif kind == "proven":
            proven[source] = value.decode()
        elif kind == "waived":
            waived[source] = value.decode()
    return HoldRecords(held, proven, waived)
