"""The drain on real servers: claimed, stored, and only then acknowledged."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from shared import inbox
from shared.catalogue import BATCH_CALLBACKS, BATCH_SECONDS, DEAD_LETTERS, DRAINS, STORED_SECONDS
from shared.errors import Unavailable
from shared.inbox import Consumer, Shard, doorbell
from shared.inbox.keys import GROUP
from shared.settings import Settings
from shared.source import Source
from tests.keys import INBOX, LEDGER
from tests.workers.conftest import Rows, entries
from workers.database import Database
from workers.drain.drainer import GATHER_SECONDS, Drainer
from workers.drain.read import Parsed
from workers.drain.store import PAUSES_SECONDS, Pending, Store
from workers.tally import Tally

SOURCES = {"fleet": Source("fleet", "emnify", unsigned=True)}


class Killed(BaseException):
    """Ends a drain as a kill would: nothing after it runs."""


def drain(client: Shard, store: Store, name: str = "one", **given: Any) -> Drainer:
    settings = Settings(**{"batch_count": 10, "linger_seconds": 0.01, **given.pop("settings", {})})
    sources = given.pop("sources", SOURCES)
    return Drainer(client, name, lambda: inbox.ring(client, datetime.now(UTC)), store, sources, settings, **given)


class Counting(Store):
    """Notes the sizes of the batches."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.sizes: list[int] = []

    def begin(self, batch: Sequence[Parsed]) -> Pending:
        self.sizes.append(len(batch))
        return super().begin(batch)


def ledger(client: Shard) -> dict[str, int]:
    return dict(inbox.take_snapshot(client).ledger["fleet"])


def test_a_drain_empties_the_inbox_and_counts(client: Shard, store: Store, rows: Rows, put: Any) -> None:
    put(25)
    put(1, b"junk")
    assert drain(client, store).run() == {"claimed": 26, "stored": 25, "dead": 1}
    assert (len(rows("SELECT FROM callbacks")), len(rows("SELECT FROM inbound_messages"))) == (26, 25)
    assert client.xlen(INBOX) == 0
    assert ledger(client) == {"appended": 26, "repeat": 0, "stored": 25, "duplicate": 0, "dead": 1, "ignored": 0}


def test_a_callback_that_was_appended_twice_is_counted_as_a_repeat(
    client: Shard, store: Store, rows: Rows, put: Any
) -> None:
    put(1)
    (entry,) = entries(client)
    client.xadd(INBOX, entry)
    client.hincrby(LEDGER, "fleet:appended", 1)
    assert drain(client, store).run() == {"claimed": 2, "stored": 1, "repeat": 1}
    assert ledger(client) == {"appended": 2, "repeat": 1, "stored": 1, "duplicate": 0, "dead": 0, "ignored": 0}
    assert len(rows("SELECT FROM callbacks")) == 1


def test_what_is_odd_is_counted_per_source(client: Shard, store: Store, put: Any) -> None:
    first = b'{"id": 1, "organisation": {"id": 1}, "payload": "hi", "colour": "red", "submit_date": {}}'
    put(1, first)
    put(1, first.replace(b"hi", b"ho"))
    assert drain(client, store).run() == {"claimed": 2, "stored": 1, "duplicate": 1}
    assert inbox.take_snapshot(client).oddities == {
        "fleet": {"undocumented field colour": 2, "unreadable time": 2, "conflict": 1}
    }


def test_a_drain_of_nothing_ends_at_once(client: Shard, store: Store) -> None:
    assert drain(client, store).run() == {"claimed": 0}


def test_few_callbacks_are_gathered_before_the_next_transaction(client: Shard, store: Store, put: Any) -> None:
    pauses: list[float] = []

    counting = Counting(store.database)

    def sleep(seconds: float) -> None:
        if not pauses:
            put(3)
        pauses.append(seconds)

    put(1)
    assert drain(client, counting, sleep=sleep, settings={"batch_count": 50}).run() == {
        "claimed": 4,
        "stored": 4,
    }
    assert counting.sizes == [1, 3]
    assert pauses == [GATHER_SECONDS], "three are no longer few"


def test_a_drain_that_has_to_end_does_not_gather(client: Shard, store: Store, put: Any) -> None:
    pauses: list[float] = []
    put(1)
    drainer = drain(client, store, sleep=pauses.append, stopping=lambda: True, settings={"batch_count": 50})
    assert drainer.run() == {"claimed": 1, "stored": 1}
    assert pauses == []


def test_a_worker_killed_before_commit_loses_nothing(
    client: Shard, store: Store, failing: Callable[..., Store], rows: Rows, put: Any
) -> None:
    put(5)
    with pytest.raises(Killed):
        drain(client, failing(Killed()), "killed").run()
    assert rows("SELECT FROM callbacks") == []
    other = drain(client, store, "other", settings={"reclaim_seconds": 0.001})
    assert other.run() == {"claimed": 5, "stored": 5}
    assert client.xlen(INBOX) == 0


def test_a_worker_killed_between_commit_and_acknowledgement_doubles_nothing(
    client: Shard, store: Store, failing: Callable[..., Store], rows: Rows, put: Any
) -> None:
    put(5)
    with pytest.raises(Killed):
        drain(client, failing(Killed(), after=True), "killed").run()
    assert client.xlen(INBOX) == 5, "acknowledged although the drain never came so far"
    assert drain(client, store, "other", settings={"reclaim_seconds": 0.001}).run() == {"claimed": 5, "stored": 5}
    assert (len(rows("SELECT FROM callbacks")), len(rows("SELECT FROM inbound_messages"))) == (5, 5)
    assert ledger(client)["stored"] == 5


def test_while_postgresql_is_away_a_drain_waits_with_growing_pauses(
    client: Shard, failing: Callable[..., Store], rows: Rows, put: Any
) -> None:
    put(3)
    slept: list[float] = []
    flaky = failing(*[Unavailable("away")] * 7)
    counts = drain(client, flaky, sleep=slept.append).run()
    assert counts == {"claimed": 3, "stored": 3}
    assert slept == [*PAUSES_SECONDS, PAUSES_SECONDS[-1], PAUSES_SECONDS[-1]]
    assert len(rows("SELECT FROM callbacks")) == 3


def test_a_drain_whose_time_is_up_hands_its_claim_back_and_rings(
    client: Shard, store: Store, failing: Callable[..., Store], put: Any
) -> None:
    put(3)
    away = failing(*[Unavailable("away")] * 99)
    assert drain(client, away, settings={"drain_seconds": 0.05}, sleep=lambda _: None).run() == {"claimed": 3}
    assert client.llen(doorbell.QUEUE) == 1
    assert drain(client, store, "other").run() == {"claimed": 3, "stored": 3}


def test_a_worker_that_is_to_stop_finishes_its_batch_and_rings(client: Shard, store: Store, put: Any) -> None:
    put(25)
    assert drain(client, store, stopping=lambda: True).run() == {"claimed": 10, "stored": 10}
    assert (client.xlen(INBOX), client.llen(doorbell.QUEUE)) == (15, 1)


@pytest.mark.parametrize(
    ("end", "options"),
    [
        ("empty", {}),
        ("stopping", {"stopping": lambda: True}),
        ("time", {"settings": {"drain_seconds": 1e-9}}),
    ],
)
def test_what_ends_a_drain_and_the_batches_before_are_counted(
    client: Shard, store: Store, put: Any, end: str, options: Any
) -> None:
    put(10)
    tally = Tally()
    drain(client, store, tally=tally, **options).run()
    assert tally.value(DRAINS, end) == [1]
    *_, callbacks = tally.value(BATCH_CALLBACKS)
    *batches, _ = tally.value(BATCH_SECONDS)
    assert (callbacks, sum(batches)) == (10, 1)
    *stored, _ = tally.value(STORED_SECONDS, "fleet")
    assert sum(stored) == 10


def test_a_drain_that_a_server_ends_is_counted_as_that(
    client: Shard, failing: Callable[..., Store], store: Store, put: Any
) -> None:
    put(1)
    tally = Tally()
    away = failing(*[Unavailable("away")] * 99)
    drain(client, away, settings={"drain_seconds": 0.05}, sleep=lambda _: None, tally=tally).run()
    nowhere = inbox.connect("redis://127.0.0.1:1/0", 0.5)
    with nowhere as shard, pytest.raises(Unavailable):
        drain(shard, store, tally=tally).run()
    assert (tally.value(DRAINS, "postgresql"), tally.value(DRAINS, "redis")) == ([1], [1])


def test_a_dead_letter_is_counted_by_its_stage(client: Shard, store: Store, put: Any) -> None:
    put(1, b"junk")
    tally = Tally()
    drain(client, store, tally=tally).run()
    assert tally.value(DEAD_LETTERS, "fleet", "parse") == [1]


def test_a_standing_backlog_calls_for_other_children(client: Shard, store: Store, put: Any) -> None:
    put(10)
    drain(client, store).run()
    assert client.llen(doorbell.QUEUE) == 1


def test_a_batch_is_cut_by_bytes(client: Shard, store: Store, put: Any) -> None:
    put(10)
    counting = Counting(store.database)
    assert drain(client, counting, settings={"batch_bytes": 500}).run() == {"claimed": 10, "stored": 10}
    assert sum(counting.sizes) == 10
    assert 1 < len(counting.sizes) < 10


def test_without_redis_a_drain_says_so(store: Store) -> None:
    nowhere = inbox.connect("redis://127.0.0.1:1/0", 0.5)
    with nowhere as client, pytest.raises(Unavailable, match="Redis does not answer"):
        drain(client, store).run()


def test_a_closed_drain_leaves_no_name_behind(client: Shard, store: Store, put: Any) -> None:
    put(1)
    one = drain(client, store)
    one.run()
    one.close()
    consumers: Any = client.xinfo_consumers(INBOX, GROUP)
    assert consumers == []


def test_a_cut_connection_in_the_middle_is_taken_up_again(
    client: Shard, store: Store, database_url: str, rows: Rows, put: Any
) -> None:
    put(1)
    drain(client, store).run()
    with suppress(psycopg.Error), psycopg.connect(database_url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    put(1)
    assert drain(client, store).run() == {"claimed": 1, "stored": 1}
    assert len(rows("SELECT FROM callbacks")) == 2


def test_everything_that_was_handed_back_is_taken_in_one_drain(client: Shard, store: Store, put: Any) -> None:
    put(35)
    gone = Consumer(client, "gone")
    gone.hand_back(gone.claim(35, 0.01))
    assert drain(client, store).run() == {"claimed": 35, "stored": 35}
