"""What workers note about the system now and then, for who looks from outside: the fields of one hash."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from shared.inbox.client import Shard
from shared.inbox.clock import seconds_of
from shared.inbox.errors import or_unavailable
from shared.inbox.keys import script


class Latest(msgspec.Struct, frozen=True):
    """The callback of PostgreSQL that was received last, and when."""

    id: UUID
    received_at: datetime


class Setback(msgspec.Struct, frozen=True):
    """PostgreSQL no longer has what it had stored. `had` and `has`: when the latest callback was received that it had
    before, and that it has since then (None: it has none)."""

    noticed_at: datetime
    had: datetime
    has: datetime | None


class Notes(msgspec.Struct, frozen=True):
    """`repaired`: entries that were neither pending nor unread, in all. `since`: when the ledger began (seconds of the
    Unix epoch). `open_dead_letters`: by source, as PostgreSQL last had them. `shards`: how many the workers take from.
    `lost`: callbacks that Redis had taken and no longer knew, in all. `sources`: the names that the workers have in
    their configuration. None: not noted yet."""

    repaired: int = 0
    since: float | None = None
    open_dead_letters: dict[str, int] | None = None
    shards: int | None = None
    lost: int = 0
    sources: list[str] | None = None
    latest: Latest | None = None
    setback: Setback | None = None


@or_unavailable
def read_notes(shard: Shard) -> Notes:
    """Raises RedisUnavailable."""
    fields: Any = shard.hgetall(shard.names.notes)
    return notes_in(fields)


@or_unavailable
def note_latest(shard: Shard, latest: Latest | None, setback: Setback | None = None) -> None:
    """Notes which callback PostgreSQL has as its latest, and that it went back to it. Raises RedisUnavailable."""
    note: Any = shard.register_script(script("note"))
    if setback is not None:
        note(keys=[shard.names.notes], args=["HSET", "setback", msgspec.json.encode(setback)])
    note(keys=[shard.names.notes], args=["HSET", "latest", msgspec.json.encode(latest)])


@or_unavailable
def note_open_dead_letters(shard: Shard, counts: Mapping[str, int]) -> None:
    """Takes the place of the counts before. The first time it also notes when the ledger began.

    Raises RedisUnavailable.
    """
    note: Any = shard.register_script(script("note"))
    note(keys=[shard.names.notes], args=["HSETNX", "since", seconds_of(shard.time())])
    note(keys=[shard.names.notes], args=["HSET", "open_dead_letters", msgspec.json.encode(counts)])


@or_unavailable
def note_shards(shard: Shard, count: int) -> None:
    """Notes the number of shards that a worker takes from. Raises RedisUnavailable."""
    shard.register_script(script("note"))(keys=[shard.names.notes], args=["HSET", "shards", count])


@or_unavailable
def note_sources(shard: Shard, names: Iterable[str]) -> None:
    """Notes which sources a worker has in its configuration. Raises RedisUnavailable."""
    encoded = msgspec.json.encode(sorted(names))
    shard.register_script(script("note"))(keys=[shard.names.notes], args=["HSET", "sources", encoded])


def notes_in(fields: Mapping[bytes, bytes]) -> Notes:
    """The notes in the fields of the hash."""
    named = {name.decode(errors="replace"): msgspec.Raw(value) for name, value in fields.items()}
    return msgspec.json.decode(msgspec.json.encode(named), type=Notes)


def merged_notes(notes: Notes, others: Notes) -> Notes:
    """The notes of two shards as one. What is noted in one of them only is taken from there."""
    begun = [since for since in (notes.since, others.since) if since is not None]
    is_noted = notes.open_dead_letters is not None
    return Notes(
        notes.repaired + others.repaired,
        min(begun, default=None),
        notes.open_dead_letters if is_noted else others.open_dead_letters,
        notes.shards if notes.shards is not None else others.shards,
        notes.lost + others.lost,
        notes.sources if notes.sources is not None else others.sources,
        notes.latest or others.latest,
        notes.setback or others.setback,
    )
