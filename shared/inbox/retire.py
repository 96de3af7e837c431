"""The end of a shard: it takes no more callbacks, is drained, and leaves what it counted to the first shard."""

import hashlib
from typing import Any

from shared.inbox.client import Shard
from shared.inbox.errors import or_unavailable

Counts = dict[bytes, int]

_NOTED = ("lost", "repaired")  # what is counted among the notes


@or_unavailable
def retire(shard: Shard) -> None:
    """From now on the ingress appends to other shards. Raises RedisUnavailable."""
    shard.set(shard.names.retired, b"")


@or_unavailable
def restore(shard: Shard) -> bool:
    """Takes a retirement back; False when there was none. Raises RedisUnavailable."""
    return bool(shard.delete(shard.names.retired))


@or_unavailable
def is_retired(shard: Shard) -> bool:
    """Raises RedisUnavailable."""
    return bool(shard.exists(shard.names.retired))


@or_unavailable
def fold(shard: Shard, first: Shard) -> None:
    """Adds what an empty shard has counted to the first one, and deletes it here; once, however often it is begun.

    Raises RedisUnavailable.
    """
    hashes = [(getattr(shard.names, each), getattr(first.names, each)) for each in ("ledger", "oddities", "replayed")]
    counts = [(to, _counts(shard, name)) for name, to in hashes]
    counts.append((first.names.notes, _noted(shard)))
    if any(found for _, found in counts):
        mark = hashlib.sha256(repr(counts).encode()).hexdigest()
        with first.pipeline() as pipe:  # all of it in one step, with a mark of what was added
            if first.hget(first.names.folded, str(shard.names.number)) != mark.encode():
                pipe.hset(first.names.folded, str(shard.names.number), mark)
                for to, found in counts:
                    for field, count in found.items():
                        pipe.hincrby(to, field, count)
                pipe.execute()
    _fold_heard(shard, first)
    with shard.pipeline() as pipe:  # in one step: half of it would be other counts, and be added again
        pipe.delete(*(name for name, _ in hashes), shard.names.heard, shard.names.kinds)
        pipe.hdel(shard.names.notes, *_NOTED)
        pipe.execute()
    first.hdel(first.names.folded, str(shard.names.number))  # restored, it may come to count the same once more


def _fold_heard(shard: Shard, first: Shard) -> None:
    known = _counts(first, first.names.heard)
    heard = _counts(shard, shard.names.heard).items()
    later: dict[Any, Any] = {source: at for source, at in heard if at > known.get(source, 0)}
    if later:
        first.hset(first.names.heard, mapping=later)


def _noted(shard: Shard) -> Counts:
    found: Any = shard.hmget(shard.names.notes, _NOTED)
    return {name.encode(): int(count) for name, count in zip(_NOTED, found, strict=True) if count}


def _counts(shard: Shard, name: str) -> Counts:
    fields: Any = shard.hgetall(name)
    return {field: int(count) for field, count in sorted(fields.items())}
