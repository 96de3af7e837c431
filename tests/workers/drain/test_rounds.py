"""Several shards: they take turns, and one that is away keeps nobody waiting."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared import inbox
from shared.callback import Callback, new_id, pack
from shared.inbox import RedisUnavailable, Shard
from shared.outcomes import Outcome
from shared.settings import Settings
from shared.source import Source
from tests.conftest import wait_until
from tests.own_redis import own_redis, run, url_of
from tests.workers.conftest import Rows
from workers.drain import rounds
from workers.drain.drainer import Drainer
from workers.drain.rounds import SOURCES_SHOWN, Rounds, shown
from workers.drain.run import HELD, Outcomes
from workers.drain.store import Store
from workers.reporter import Reporter

SOURCES = {"fleet": Source("fleet", "emnify", unsigned=True)}
SETTINGS = Settings(batch_count=10, linger_seconds=0.01)


@pytest.fixture
def shards(redis_url: str) -> Iterator[list[Shard]]:
    found = [inbox.connect(redis_url, 5.0, number) for number in range(3)]
    yield found
    for shard in found:
        shard.close()


def fill(shard: Shard, count: int) -> None:
    now = datetime.now(UTC)
    for _ in range(count):
        body = b'{"id": 1}'
        callback = Callback(
            id=new_id(now), source="fleet", provider="emnify", received_at=now, method="POST", body=body
        )
        shard.xadd(shard.names.inbox, {"s": "fleet", "c": pack(callback)})
        shard.hincrby(shard.names.ledger, "fleet:appended", 1)


def drainers(shards: list[Shard], store: Store) -> list[Drainer]:
    return [Drainer(shard, "one", lambda: None, store, SOURCES, SETTINGS) for shard in shards]


def test_all_shards_are_emptied_whichever_comes_first(shards: list[Shard], store: Store, rows: Rows) -> None:
    for first in range(3):
        for number, shard in enumerate(shards):
            fill(shard, 5 * number)
        done = Rounds(drainers(shards, store), store, 30.0, first).run()
        assert done == {"fleet": {"dead": 15}}
        assert [shard.xlen(shard.names.inbox) for shard in shards] == [0, 0, 0]
    ids = [row["inbox_id"] for row in rows("SELECT inbox_id FROM callbacks")]
    assert len(ids) == 45
    assert {id.partition("@")[2] for id in ids} == {"1", "2"}


def test_a_long_backlog_does_not_keep_the_others_waiting(
    shards: list[Shard], store: Store, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "TURN_SECONDS", 0.001)
    fill(shards[0], 100)
    fill(shards[1], 5)
    Rounds(drainers(shards, store), store, 30.0).run()
    order = [row["inbox_id"] for row in rows("SELECT inbox_id FROM callbacks ORDER BY xmin::text::bigint")]
    turn = next(number for number, id in enumerate(order) if id.endswith("@1"))
    assert turn < 50, "it had its turn before the backlog had ended"
    assert len(order) == 105


def test_a_shard_that_is_away_is_left_out_and_only_all_of_them_is_a_failure(shards: list[Shard], store: Store) -> None:
    with inbox.connect("redis://127.0.0.1:1", 1.0, 7) as away:
        fill(shards[0], 3)
        assert Rounds(drainers([away, shards[0]], store), store, 30.0).run() == {"fleet": {"dead": 3}}
        assert Rounds(drainers([away, shards[0]], store), store, 30.0).maintain() == {}
        for ask in (Rounds.run, Rounds.maintain):
            with pytest.raises(RedisUnavailable):
                ask(Rounds(drainers([away, away], store), store, 30.0))


def test_a_report_that_cannot_be_made_keeps_no_shard_waiting(shards: list[Shard], store: Store) -> None:
    with inbox.connect("redis://127.0.0.1:1", 1.0) as away:
        reporter = Reporter(inbox.Inbox([away, *shards], away), store.database)
        fill(shards[0], 3)
        took = Rounds(drainers(shards, store), store, 30.0, reporter=reporter)
        assert took.run() == {"fleet": {"dead": 3}}
        assert Rounds(drainers(shards, store), store, 30.0, reporter=reporter).maintain() == {}


def test_a_shard_that_says_nothing_is_waited_for_once(
    shards: list[Shard], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a host that is gone without a word: what arrives in the others must not wait for it in each run."""
    with own_redis(tmp_path) as own, inbox.connect(url_of(own), 3.0, 1) as silent:
        took = Rounds(drainers([silent, shards[0]], store), store, 30.0)
        assert took.run() == {}
        run(own, "CLIENT", "PAUSE", "5000", "ALL")
        seconds = []
        for _ in range(2):
            fill(shards[0], 3)
            began = time.monotonic()
            assert took.run() == {"fleet": {"dead": 3}}
            seconds.append(time.monotonic() - began)
        assert seconds[1] < seconds[0] / 2
        wait_until(lambda: not took.run() and not took._away, "it is back")
        fill(silent, 3)
        assert took.run() == {"fleet": {"dead": 3}}


def test_what_flower_shows_has_counts_by_source_and_a_limited_size() -> None:
    outcomes: Outcomes = Counter({("fleet", Outcome.STORED): 480, ("fleet", Outcome.DUPLICATE): 3, ("otp", HELD): 2})
    assert repr(shown(outcomes)) == "{'fleet': {'duplicate': 3, 'stored': 480}, 'otp': {'held': 2}}"
    many: Outcomes = Counter({(f"source-{number:03}", "stored"): 100 + number for number in range(100)})
    found = shown(many)
    assert len(found) == SOURCES_SHOWN + 1
    assert found["source-099"] == {"stored": 199}
    assert sum(count for counts in found.values() for count in counts.values()) == sum(many.values())


@pytest.mark.parametrize("stop", [lambda: True], ids=["stopping"])
def test_a_worker_that_is_asked_to_stop_begins_no_turn(
    shards: list[Shard], store: Store, stop: Callable[[], bool]
) -> None:
    fill(shards[0], 3)
    assert Rounds(drainers(shards, store), store, 30.0, 0, stop).run() == {}
    assert shards[0].xlen(shards[0].names.inbox) == 3
