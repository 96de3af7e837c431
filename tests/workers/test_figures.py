"""What beat shows: the ledger as it is, every source that is known, and what does not answer."""

import time
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from shared import catalogue, inbox
from shared.catalogue import Metric, Place, metrics_of
from shared.inbox import COUNTERS, Backlog, Depth, Hold, Inbox, Notes, RedisUnavailable, Shard, Snapshot
from shared.metrics import Labels
from shared.outcomes import Outcome
from shared.settings import Settings
from tests.conftest import wait_until
from workers.database import Database
from workers.figures import Figures, figures_of

COUNTS = {"appended": 10, "repeat": 1, "stored": 4, "duplicate": 2, "dead": 1, "ignored": 1}
FIRST = {"stored": 3, "duplicate": 1, "dead": 3, "ignored": 1}  # before the replays
SEEN = Snapshot(
    Depth(1, 99.0),
    {"fleet": COUNTS, "otp": dict.fromkeys(COUNTERS, 0)},
    {"fleet": {"conflict": 3, "undocumented field price": 2, "undocumented field currency": 1}},
    {"otp": 5},
    {"otp": Hold("why", 1.0)},
    {"fleet": {"from:dead": 2, "to:stored": 1, "to:duplicate": 1}},
    Notes(repaired=7, open_dead_letters={"fleet": 2}, sources=["fleet", "new"]),
    shards={0: Depth(1, 99.0)},
    heard={"fleet": 1700000000.5},
)
BACKLOG = Backlog(1, 2.5, Depth(4, 60.0))
NOWHERE = "postgresql://127.0.0.1:1/x"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, statement_seconds=5)
    yield database
    database.close()


def shown(found: Inbox, database: Database) -> dict[str, dict[tuple[str, ...], float]]:
    """What Prometheus gets: the values by metric and the values of its labels in the order of their names."""
    return {
        family.name: {tuple(label for _, label in sorted(each.labels.items())): each.value for each in family.samples}
        for family in Figures(found, database, 5.0).collect()
    }


@pytest.mark.parametrize(
    ("metric", "labels", "expected"),
    [
        (catalogue.DURABLE, (), 1),
        (catalogue.INBOX_CALLBACKS, (), 1),
        (catalogue.INBOX_UNREAD_CALLBACKS, (), 1),
        (catalogue.INBOX_OLDEST_SECONDS, (), 2.5),
        (catalogue.INBOX_HELD_CALLBACKS, (), 4),
        (catalogue.INBOX_HELD_OLDEST_SECONDS, (), 60),
        (catalogue.SHARD_CALLBACKS, ("0",), 1),
        (catalogue.SPOOLED_CALLBACKS, ("otp",), 5),
        (catalogue.SPOOLED_CALLBACKS, ("new",), 0),
        (catalogue.SOURCE_HELD, ("otp",), 1),
        (catalogue.SOURCE_HELD, ("fleet",), 0),
        (catalogue.SOURCE_LAST_CALLBACK, ("fleet",), 1700000000.5),
        (catalogue.SOURCE_LAST_CALLBACK, ("new",), 0),
        (catalogue.REPAIRED, (), 7),
        (catalogue.LEDGER_DIFFERENCE, (), 0),
        (catalogue.ODDITIES, ("fleet", "conflict"), 3),
        (catalogue.ODDITIES, ("fleet", "undocumented field"), 3),
        (catalogue.APPENDED, ("fleet",), 10),
        (catalogue.APPENDED, ("new",), 0),
        (catalogue.REPEATS, ("fleet",), 1),
        *((catalogue.CALLBACKS, ("fleet", outcome), FIRST[outcome]) for outcome in Outcome),
        (catalogue.CALLBACKS, ("new", "stored"), 0),
        (catalogue.REPLAYED, ("fleet", "stored"), 1),
        (catalogue.REPLAYED, ("fleet", "dead"), 0),
        (catalogue.DEAD_LETTERS_OPEN, ("fleet",), 2),
        (catalogue.DEAD_LETTERS_OPEN, ("otp",), 0),
    ],
)
def test_the_inbox_is_shown_as_it_is(metric: Metric, labels: Labels, expected: float) -> None:
    assert figures_of(SEEN, BACKLOG)[metric][labels] == expected


def test_the_name_of_a_field_which_its_sender_chose_is_no_label() -> None:
    assert {what for _, what in figures_of(SEEN, BACKLOG)[catalogue.ODDITIES]} == {"conflict", "undocumented field"}


@pytest.mark.parametrize("unmet", ["unmet", "ingress_unmet"])
def test_what_any_process_found_unmet_is_not_durable(unmet: str) -> None:
    found: dict[str, Any] = {unmet: {"a-host": {"spool": ["is full"]}}}
    snapshot = SEEN._replace(**found)
    assert figures_of(snapshot, BACKLOG)[catalogue.DURABLE] == {(): 0}


def test_beat_shows_what_the_catalogue_says(client: Shard, database: Database) -> None:
    inbox.note_sources(client, ["fleet"])
    inbox.note_open_dead_letters(client, {})
    found = shown(Inbox([client], client), database)
    assert set(found) == {metric.name.removesuffix("_total") for metric in metrics_of(Place.BEAT)}
    assert (found["callbox_redis_up"], found["callbox_postgres_up"]) == ({(): 1}, {(): 1})
    assert found["callbox_source_held"] == {("fleet",): 0}


def test_of_servers_that_are_away_only_that_is_shown() -> None:
    with Inbox.connect(Settings(redis_url="redis://127.0.0.1:1/0"), 1.0) as away:
        found = shown(away, Database(NOWHERE, 1))
    assert found["callbox_redis_up"] == {(): 0}
    assert found["callbox_postgres_up"] == {(): 0}
    assert {name for name, values in found.items() if values} == {
        "callbox_build_info",
        "callbox_postgres_up",
        "callbox_redis_up",
    }


def test_of_a_shard_that_answers_its_age_is_shown_while_another_is_away(client: Shard, database: Database) -> None:
    client.xadd(client.names.inbox, {"s": "fleet", "c": b"x"}, id="1-0")
    away = inbox.connect("redis://127.0.0.1:1/0", 1.0, number=1)
    found = shown(Inbox([client, away], client), database)
    away.close()
    assert found["callbox_redis_up"] == {(): 0}
    assert list(found["callbox_shard_oldest_seconds"]) == [("0",)]
    assert "callbox_inbox_callbacks" not in found


def test_a_postgresql_that_hangs_keeps_nobody_waiting_and_is_asked_once(client: Shard) -> None:
    answer, asked = Event(), []

    class Hanging(Database):
        def ask(self, question: Any) -> Any:
            asked.append(question)
            answer.wait()

    figures = Figures(Inbox([client], client), Hanging(NOWHERE, 1), 0.01)

    def is_up() -> float:
        (up,) = [each for each in figures.collect() if each.name == "callbox_postgres_up"]
        return up.samples[0].value

    assert [is_up(), is_up(), is_up()] == [0, 0, 0]
    assert len(asked) == 1
    answer.set()
    wait_until(lambda: is_up() == 1, "an answer in time")


def test_of_many_shards_in_a_redis_that_hangs_few_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Shard] = []

    def ask(shard: Shard) -> Backlog:
        asked.append(shard)
        time.sleep(0.2)
        raise RedisUnavailable("Redis does not answer")

    monkeypatch.setattr(inbox, "backlog", ask)
    shards = [inbox.connect("redis://127.0.0.1:1/0", 1.0, number=number) for number in range(8)]
    found = {family.name: family for family in Figures(Inbox(shards, shards[0]), Database(NOWHERE, 1), 0.3).collect()}
    assert found["callbox_redis_up"].samples[0].value == 0
    assert 0 < len(asked) < len(shards) / 2
