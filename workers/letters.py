"""Open dead letters by what one may want of them, in pages, and their end without a replay."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.resources import files
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from workers.parse import WHOLE
from workers.store import Store
from workers.write import Connection

PAGE = 500  # letters read, or discarded in one transaction

_MATCHING, _COUNT, _STATES, _DISCARD = (
    files("workers").joinpath("sql", "letters", f"{name}.sql").read_bytes()
    for name in ("matching", "count", "states", "discard")
)


class Wanted(NamedTuple):
    """Which open letters: those that fulfil all of this. `since` is the first moment of their making, `until` the first
    that is too late."""

    ids: Sequence[int] | None = None
    source: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Match(NamedTuple):
    id: int
    callback_id: UUID
    item: int
    reason: str


# Each raises Unavailable when PostgreSQL is away or not migrated.


def callbacks(store: Store, wanted: Wanted) -> Iterator[UUID]:
    """The callbacks with letters that match, each once, in the order of their ids, which is that of their arrival."""
    return (id for id, _ in groupby(it.callback_id for page in _pages(store, wanted) for it in page))


def count_callbacks(store: Store, wanted: Wanted) -> int:
    """How many there are at the moment."""
    ((count,),) = store.run(lambda it: it.execute(_COUNT, _parameters(wanted)).fetchall())
    return int(count)


def states(store: Store, ids: Sequence[int]) -> dict[int, str]:
    """The state of each of these letters; those that do not exist are left out."""
    return dict(store.run(lambda it: it.execute(_STATES, {"ids": list(ids)}).fetchall()))


def discard(store: Store, wanted: Wanted, dry: bool = False) -> Counter[str]:
    """Discards the letters that match; how many of each reason. The raw callbacks stay, and their outcomes."""
    counts: Counter[str] = Counter()
    for page in _pages(store, wanted):
        ids = [match.id for match in page]

        def work(connection: Connection, ids: Sequence[int] = ids) -> list[tuple[str]]:
            return connection.execute(_DISCARD, {"ids": ids}).fetchall()

        counts.update(reason for (reason,) in store.run(work, rollback=dry))
    return counts


def _pages(store: Store, wanted: Wanted) -> Iterator[list[Match]]:
    parameters = {**_parameters(wanted), "callback_id": UUID(int=0), "item": WHOLE, "page": PAGE}
    while page := [Match(*row) for row in store.run(lambda it: it.execute(_MATCHING, parameters).fetchall())]:
        yield page
        parameters.update(callback_id=page[-1].callback_id, item=page[-1].item)


def _parameters(wanted: Wanted) -> dict[str, object]:
    ids = None if wanted.ids is None else list(wanted.ids)
    return {**wanted._asdict(), "ids": ids}
