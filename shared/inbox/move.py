"""A replay's end of the ledger: callbacks that were counted already are moved from one outcome to another."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import redis

from shared.inbox.keys import INBOX, LEDGER, MOVED, script

_MOVE = script("move")


class Move(NamedTuple):
    """A callback that changed its outcome (or turned out to be a repeat). `replay` names the change, once for all."""

    replay: UUID
    source: str
    before: str
    after: str


class Mover:
    """Moves counts. Each method raises redis.RedisError when Redis is away."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._move = client.register_script(_MOVE)

    def is_counted(self, entry_id: str) -> bool:
        """Whether the ledger counts the outcome of this entry: as long as the entry stands in the inbox, a worker may
        still count the outcome that it found."""
        return not self._client.xrange(INBOX, min=entry_id, max=entry_id, count=1)

    def move(self, moves: Sequence[Move]) -> int:
        """Moves each, unless it was moved before; how many were."""
        moved: int = self._move(keys=[LEDGER, MOVED], args=[str(field) for move in moves for field in move])
        return moved

    def forget(self, moves: Sequence[Move]) -> None:
        """For moves that nobody will ask for again: they are on record elsewhere."""
        ids: list[Any] = [str(move.replay) for move in moves]
        self._client.srem(MOVED, *ids)
