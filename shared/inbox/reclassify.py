"""A replay's end of the ledger: callbacks that were counted already get another outcome."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from shared.inbox.client import Shard, text_of
from shared.inbox.errors import or_unavailable
from shared.inbox.keys import script


class Reclassification(NamedTuple):
    """A callback whose outcome changed (or that turned out to be a repeat). `replay` identifies the change."""

    replay: UUID
    source: str
    before: str
    after: str


class Reclassifier:
    """Changes counts in the ledger, all of them in that of the first shard: only their sum over the shards counts. Each
    method raises RedisUnavailable."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = shards
        self._first = shards[0]
        self._names = self._first.names
        self._reclassify = self._first.register_script(script("reclassify"))

    @or_unavailable
    def is_counted(self, entry_id: str) -> bool:
        """Whether the ledger counts the outcome of this entry: as long as the entry is in the inbox, a worker may
        still count the outcome that it found."""
        id, _, number = entry_id.partition("@")
        if int(number or 0) >= len(self._shards):
            return True  # of a shard that was drained, and removed
        shard = self._shards[int(number or 0)]
        return not shard.xrange(shard.names.inbox, min=id, max=id, count=1)

    @or_unavailable
    def reclassify(self, changes: Sequence[Reclassification]) -> int:
        """Counts each change, unless it was counted before; how many were."""
        elsewhere = self._counted_elsewhere()
        arguments: list[str | int] = []
        for change in changes:
            arguments += [*map(str, change), elsewhere[f"{change.source}:{change.before}"]]
        keys = [self._names.ledger, self._names.reclassified, self._names.replayed]
        counted: int = self._reclassify(keys=keys, args=arguments)
        return counted

    @or_unavailable
    def forget(self, changes: Sequence[Reclassification]) -> None:
        """Forgets changes that are recorded elsewhere as counted, and will not be sent again."""
        ids: list[Any] = [str(change.replay) for change in changes]
        self._first.srem(self._names.reclassified, *ids)

    def _counted_elsewhere(self) -> Counter[str]:
        """What the ledgers of the other shards count, by field."""
        counted: Counter[str] = Counter()
        for shard in self._shards[1:]:
            fields: Any = shard.hgetall(shard.names.ledger)
            counted.update({text_of(field): int(count) for field, count in fields.items()})
        return counted
