"""While PostgreSQL works on one batch, the next is claimed and parsed, and nobody loses anything by that."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pytest

from shared.errors import Unavailable
from shared.inbox import Abandoned, Consumer, Entry, RedisUnavailable, Shard
from shared.inbox.keys import GROUP
from tests.conftest import wait_until
from tests.keys import INBOX
from tests.workers.conftest import Idle, Rows, message, parsed
from tests.workers.drain.test_drainer import drain, ledger
from workers.drain import drainer
from workers.drain.intake import SUSPECT
from workers.drain.read import Parsed, read_unless_deadly
from workers.drain.run import Run
from workers.drain.store import Pending, Result, Store
from workers.rows import write

BATCH = 10


class Watched(Store):
    """Notes how many entries are claimed while PostgreSQL has a batch; `first` and `then` happen around that."""

    def __init__(
        self,
        store: Store,
        client: Shard,
        then: Callable[[], None] = lambda: None,
        first: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(store.database)
        self.claimed: list[int] = []
        self.sizes: list[int] = []
        self._client, self._then, self._first = client, then, first

    def begin(self, batch: Sequence[Parsed]) -> Pending:
        self.sizes.append(len(batch))
        pending = super().begin(batch)
        finish = pending.finish

        def watched(run: Run) -> list[Result] | None:
            found: Any = self._client.xpending(INBOX, GROUP)
            self.claimed.append(found["pending"])
            self._then()
            return finish(run)

        pending.finish = watched  # type: ignore[method-assign]
        self._first()
        return pending


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The entries that were parsed, as it happens."""

    def noting(entry: Entry, *rest: Any) -> Parsed:
        ids.append(entry.id)
        return read_unless_deadly(entry, *rest)

    ids: list[str] = []
    monkeypatch.setattr(drainer, "read_unless_deadly", noting)
    return ids


def deliveries(client: Shard) -> set[int]:
    found: Any = client.xpending_range(INBOX, GROUP, "-", "+", 1000)
    return {each["times_delivered"] for each in found}


def test_the_next_batch_is_claimed_and_parsed_while_one_is_stored(
    client: Shard, store: Store, put: Any, read: list[str]
) -> None:
    before: list[int] = []
    put(25)
    watched = Watched(store, client, lambda: before.append(len(read)))
    assert drain(client, watched).run() == {"claimed": 25, "stored": 25}
    assert watched.claimed == [20, 15, 5]
    assert before == [20, 25, 25]
    assert len(set(read)) == len(read) == 25, "each was parsed once"
    assert ledger(client)["stored"] == 25


def test_the_statement_is_with_postgresql_before_anything_else_is_done(
    store: Store, database_url: str, rows: Rows
) -> None:
    """Whole, though larger than any socket's buffer: it waits for another writer, who ends only then."""
    with psycopg.connect(database_url) as other:
        write(other, [parsed(message("7"))])
        batch = [parsed(message(str(number), text="long " * 10_000)) for number in range(200)]
        with store.begin(batch) as pending:
            wait_until(lambda: bool(rows("SELECT FROM pg_locks WHERE NOT granted")), "the statement waits")
            other.rollback()
            results = pending.finish(Run(Idle(), seconds=60))
    assert {result.outcome for result in results or ()} == {"stored"}  # type: ignore[union-attr]


def test_a_worker_that_is_to_stop_hands_back_what_it_claimed_ahead(client: Shard, store: Store, put: Any) -> None:
    put(25)
    stops: list[bool] = []
    watched = Watched(store, client, lambda: stops.append(True))
    assert drain(client, watched, stopping=lambda: bool(stops)).run() == {"claimed": 10, "stored": 10}
    assert watched.claimed == [20]
    assert deliveries(client) == {0}
    assert drain(client, store, "other").run() == {"claimed": 15, "stored": 15}


def test_a_worker_that_is_to_stop_claims_nothing_more(client: Shard, store: Store, put: Any) -> None:
    put(25)
    watched = Watched(store, client)
    assert drain(client, watched, stopping=lambda: True).run() == {"claimed": 10, "stored": 10}
    assert watched.claimed == [10]


def test_in_a_backlog_what_others_lost_is_still_looked_for(client: Shard, store: Store, put: Any) -> None:
    gone = Consumer(client, "gone")

    def lose() -> None:
        if lost:
            gone.hand_back([lost.pop()])
            time.sleep(0.2)  # until a look is due

    put(51)
    lost = gone.claim(1, 0.01)
    watched = Watched(store, client, lose)
    assert drain(client, watched, settings={"reclaim_seconds": 0.45}).run() == {"claimed": 51, "stored": 51}
    assert watched.sizes[:3] == [10, 10, 1], "before the rest of the backlog"


def test_a_drain_whose_time_is_up_stores_what_it_claimed_ahead_and_no_more(
    client: Shard, store: Store, put: Any
) -> None:
    put(35)
    watched = Watched(store, client, lambda: time.sleep(0.2))
    assert drain(client, watched, settings={"drain_seconds": 0.15}).run() == {"claimed": 20, "stored": 20}
    assert watched.claimed == [20, 10]
    assert deliveries(client) == set()


def test_while_postgresql_is_away_both_batches_stay_claimed_and_in_the_end_are_handed_back(
    client: Shard,
    store: Store,
    failing: Callable[..., Store],
    put: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def renew(self: Consumer, entries: Any) -> None:
        renewed.append(len(entries))
        original(self, entries)

    renewed: list[int] = []
    original = Consumer.renew
    monkeypatch.setattr(Consumer, "renew", renew)
    put(25)
    away = Watched(failing(*[Unavailable("away")] * 10_000), client)
    assert drain(client, away, settings={"drain_seconds": 0.3}, sleep=lambda _: None).run() == {"claimed": 10}
    assert away.claimed == [20], "claimed ahead once only"
    assert set(renewed) == {20}
    assert deliveries(client) == {0}
    assert drain(client, store, "other").run() == {"claimed": 25, "stored": 25}


def test_a_redis_that_goes_away_while_a_batch_is_stored_loses_and_doubles_nothing(
    client: Shard, store: Store, rows: Rows, put: Any
) -> None:
    def fail() -> None:
        raise RedisUnavailable("away")

    put(25)
    with pytest.raises(RedisUnavailable):
        drain(client, Watched(store, client, fail)).run()
    assert rows("SELECT FROM callbacks") == []
    assert drain(client, store, "other", settings={"reclaim_seconds": 0}).run() == {"claimed": 25, "stored": 25}
    assert len(rows("SELECT FROM callbacks")) == 25


def test_nothing_is_claimed_behind_a_suspect(client: Shard, store: Store, put: Any) -> None:
    """It may be what ended its workers, and shall take nothing else along."""
    put(2)
    (entry,) = Consumer(client, "gone").claim(1, 0.01)
    Consumer(client, "gone too").take([Abandoned(entry.id, SUSPECT - 1)], 0)
    time.sleep(0.4)
    watched = Watched(store, client)
    settings = {"batch_count": 1, "reclaim_seconds": 0.3}
    assert drain(client, watched, settings=settings).run() == {"claimed": 2, "stored": 2}
    assert watched.claimed == [1, 1]


def test_nothing_is_claimed_behind_a_batch_that_is_not_full(client: Shard, store: Store, put: Any) -> None:
    put(7)
    watched = Watched(store, client, first=lambda: put(2) if not watched.claimed else None)
    assert drain(client, watched).run() == {"claimed": 9, "stored": 9}
    assert watched.claimed == [7, 2]


def test_large_callbacks_are_not_gathered_in_memory(client: Shard, store: Store, put: Any) -> None:
    put(20)
    watched = Watched(store, client)
    assert drain(client, watched, settings={"batch_bytes": 500}).run() == {"claimed": 20, "stored": 20}
    assert max(watched.claimed) == BATCH


def test_large_callbacks_are_claimed_ahead_but_parsed_piece_by_piece(
    client: Shard, store: Store, put: Any, read: list[str]
) -> None:
    before: list[int] = []
    put(BATCH)
    put(BATCH, b'{"id": 1, "organisation": {"id": 1}, "payload": "%s"}' % (b"large " * 1000))
    watched = Watched(store, client, lambda: before.append(len(read)))
    counts = drain(client, watched, settings={"batch_bytes": 10_000}).run()
    assert counts["claimed"] == 2 * BATCH
    assert (watched.claimed[0], before[0]) == (2 * BATCH, BATCH + 1)
