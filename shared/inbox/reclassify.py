"""A replay's end of the ledger: callbacks that were counted already get another outcome."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from shared.inbox.client import Client, or_unavailable
from shared.inbox.keys import INBOX, LEDGER, RECLASSIFIED, REPLAYED, script


class Reclassification(NamedTuple):
    """A callback whose outcome changed (or that turned out to be a repeat). `replay` identifies the change."""

    replay: UUID
    source: str
    before: str
    after: str


class Reclassifier:
    """Changes counts in the ledger. Each method raises RedisUnavailable."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._reclassify = client.register_script(script("reclassify"))

    @or_unavailable
    def is_counted(self, entry_id: str) -> bool:
        """Whether the ledger counts the outcome of this entry: as long as the entry is in the inbox, a worker may
        still count the outcome that it found."""
        return not self._client.xrange(INBOX, min=entry_id, max=entry_id, count=1)

    @or_unavailable
    def reclassify(self, changes: Sequence[Reclassification]) -> int:
        """Counts each change, unless it was counted before; how many were."""
        arguments = [str(field) for change in changes for field in change]
        counted: int = self._reclassify(keys=[LEDGER, RECLASSIFIED, REPLAYED], args=arguments)
        return counted

    @or_unavailable
    def forget(self, changes: Sequence[Reclassification]) -> None:
        """Forgets changes that are recorded elsewhere as counted, and will not be sent again."""
        ids: list[Any] = [str(change.replay) for change in changes]
        self._client.srem(RECLASSIFIED, *ids)
