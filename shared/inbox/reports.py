"""Reports that their writers repeat, in one hash: one that is not repeated for a while is of a writer that is gone."""

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeGuard, TypeVar

import msgspec

from shared.inbox.client import Shard
from shared.inbox.clock import seconds_of
from shared.inbox.keys import script

T = TypeVar("T")


class Report(msgspec.Struct, Generic[T], frozen=True):
    """What was reported, and when (seconds of the Unix epoch)."""

    at: float
    body: T


class Reports(Generic[T]):
    """Of one kind: each counts for `seconds` after it was written. `of` is `Report[KIND]`."""

    def __init__(self, of: Any, seconds: float) -> None:
        self._decode = msgspec.json.Decoder(of).decode
        self.seconds = seconds

    def write(self, shard: Shard, key: str, name: str, body: T | None) -> None:
        """Takes the place of the report before of this writer, or removes it (None), and forgets writers that are gone.
        Raises redis.RedisError."""
        at = seconds_of(shard.time())
        fields: Any = shard.hgetall(key)
        gone = [field for field, report in self._all(fields) if not self._counts(report, at)]
        if body is None:
            gone.append(name.encode())
        if gone:
            shard.hdel(key, *gone)
        if body is not None:
            written = msgspec.json.encode(Report(at, body))
            shard.register_script(script("note"))(keys=[key], args=["HSET", name, written])

    def read(self, fields: Mapping[bytes, bytes], now: float) -> dict[str, T]:
        """Those that still count, by their writers."""
        return {
            name.decode(errors="replace"): report.body
            for name, report in self._all(fields)
            if self._counts(report, now)
        }

    def _all(self, fields: Mapping[bytes, bytes]) -> Iterator[tuple[bytes, Report[T] | None]]:
        """None for one of another release, in a form that this one does not know."""
        for name, written in fields.items():
            try:
                yield name, self._decode(written)
            except msgspec.MsgspecError:
                yield name, None

    def _counts(self, report: Report[T] | None, now: float) -> TypeGuard[Report[T]]:
        return report is not None and now - report.at <= self.seconds
