"""What fails by a fault of ours is held; what a source gets wrong itself becomes dead letters."""

from typing import Any

import psycopg
import pytest

from shared import inbox
from shared.inbox import Holds, Shard
from shared.providers import emnify
from shared.source import Source
from tests.keys import INBOX, KEYS, LEDGER
from tests.workers.conftest import Rows, entries
from tests.workers.drain.test_drainer import SOURCES, drain, ledger
from workers.drain import holds
from workers.drain.store import Store

MANY = 60
JUNK = b"junk"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holds, "REFRESH_SECONDS", -1.0)


def held(client: Shard) -> dict[str, str]:
    return {source: hold.why for source, hold in inbox.take_snapshot(client).holds.items()}


def try_again(client: Shard) -> None:
    client.delete(KEYS.trial + "fleet")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Breaks the parser; what it returns fixes it."""
    parse = emnify.parse

    def fail(*_: object) -> Any:
        raise KeyError("a bug")

    monkeypatch.setattr(emnify, "parse", fail)
    return lambda: monkeypatch.setattr(emnify, "parse", parse)


def test_a_parser_that_breaks_holds_its_source_and_a_fix_releases_it(
    client: Shard,
    store: Store,
    rows: Rows,
    put: Any,
    broken: Any,
) -> None:
    put(MANY)
    counts = drain(client, store).run()
    assert counts["held"] >= MANY - holds.LEAST
    assert counts.get("dead", 0) <= holds.LEAST
    assert "parser failed" in held(client)["fleet"]
    dead = counts.get("dead", 0)
    try_again(client)
    drain(client, store).run()
    assert (len(rows("SELECT FROM dead_letters")), list(held(client))) == (dead, ["fleet"])
    broken()
    try_again(client)
    drain(client, store, settings={"reclaim_seconds": 0.001}).run()
    assert held(client) == {}
    assert ledger(client)["stored"] == MANY - dead
    assert client.xlen(INBOX) == 0


def test_a_held_source_stops_no_other(client: Shard, store: Store, put: Any, broken: Any) -> None:
    put(MANY)
    drain(client, store).run()
    broken()
    waiting = client.xlen(INBOX)
    for fields in entries(client):
        client.xadd(INBOX, {"s": "other", "c": fields[b"c"].replace(b"\xa5fleet", b"\xa5other")}, id="*")
    sources = {**SOURCES, "other": Source("other", "emnify", unsigned=True)}
    drainer = drain(client, store, sources=sources)
    assert drainer.run()["claimed"] == waiting
    assert list(held(client)) == ["fleet"]
    assert client.xlen(INBOX) == waiting


def test_junk_of_a_source_becomes_dead_letters_however_much_there_is(client: Shard, store: Store, put: Any) -> None:
    put(MANY, JUNK)
    assert drain(client, store, release="one").run() == {"claimed": MANY, "dead": MANY}
    put(MANY)
    put(MANY, JUNK)
    assert drain(client, store, release="one").run() == {"claimed": 2 * MANY, "stored": MANY, "dead": MANY}
    assert held(client) == {}


def test_a_release_that_no_longer_understands_a_source_holds_it(
    client: Shard,
    store: Store,
    rows: Rows,
    put: Any,
) -> None:
    put(MANY)
    assert drain(client, store, release="one").run() == {"claimed": MANY, "stored": MANY}
    put(MANY, JUNK)  # what the new release makes of it
    counts = drain(client, store, release="two").run()
    assert counts["held"] >= MANY - holds.LEAST
    assert list(held(client)) == ["fleet"]
    Holds(client).waive("fleet", "two")
    Holds(client).release("fleet")
    drain(client, store, release="two", settings={"reclaim_seconds": 0.001}).run()
    assert held(client) == {}
    assert len(rows("SELECT FROM dead_letters")) == MANY


def test_rows_that_postgresql_refuses_hold_their_source(
    client: Shard,
    store: Store,
    database_url: str,
    put: Any,
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE inbound_messages ADD CONSTRAINT mistaken CHECK (false)")
        put(MANY)
        counts = drain(client, store).run()
        assert counts["held"] >= MANY - 3 * holds.LEAST
        assert "PostgreSQL" in held(client)["fleet"]
        connection.execute("ALTER TABLE inbound_messages DROP CONSTRAINT mistaken")
    try_again(client)
    drain(client, store, settings={"reclaim_seconds": 0.001}).run()
    assert held(client) == {}
    assert client.xlen(INBOX) == 0


OTHER = {"other": Source("other", "emnify", unsigned=True)}


def test_a_source_that_workers_do_not_know_waits_until_one_does(
    client: Shard, store: Store, rows: Rows, put: Any
) -> None:
    put(1)
    assert drain(client, store, sources=OTHER).run() == {"claimed": 1, "held": 1}
    put(MANY)
    assert drain(client, store, sources=OTHER).run() == {"claimed": MANY, "held": MANY}
    assert held(client) == {"fleet": "it is not in the workers' configuration"}
    assert "callbox.toml" in inbox.take_snapshot(client).holds["fleet"].remedy("fleet")
    drain(client, store, sources=OTHER).run()
    assert rows("SELECT FROM callbacks") == []
    knowing = drain(client, store, settings={"reclaim_seconds": 0.001})
    knowing.run()
    assert held(client) == {}
    drain(client, store, settings={"reclaim_seconds": 0.001}).run()
    assert (len(rows("SELECT FROM callbacks")), rows("SELECT FROM dead_letters")) == (MANY + 1, [])
    assert client.xlen(INBOX) == 0


def test_a_worker_that_does_not_know_it_takes_no_trial_from_one_that_does(
    client: Shard, store: Store, put: Any
) -> None:
    put(1)
    drain(client, store, sources=OTHER).run()
    try_again(client)
    drain(client, store, sources=OTHER).run()
    assert client.exists(KEYS.trial + "fleet") == 0
    assert list(held(client)) == ["fleet"]


def test_a_source_that_workers_do_not_know_becomes_dead_letters_when_somebody_says_so(
    client: Shard, store: Store, put: Any
) -> None:
    put(MANY)
    drain(client, store, sources=OTHER).run()
    records = Holds(client)
    records.waive("fleet", holds.this_release())
    records.release("fleet")
    assert drain(client, store, sources=OTHER, settings={"reclaim_seconds": 0.001}).run()["dead"] == MANY
    assert held(client) == {}


def test_more_than_its_share_of_the_inbox_is_not_held(
    client: Shard,
    store: Store,
    put: Any,
    broken: Any,
) -> None:
    put(3 * MANY)
    counts = drain(client, store, settings={"inbox_limit": 10 * MANY}).run()
    assert counts["held"] < 2 * MANY
    assert counts["held"] + counts["dead"] == 3 * MANY


def test_a_configuration_without_any_of_several_sources_holds_every_one(client: Shard, store: Store, put: Any) -> None:
    put(MANY)
    waiting = entries(client)
    for other in ("other", "third"):
        for fields in waiting:
            client.xadd(INBOX, {"s": other, "c": fields[b"c"].replace(b"\xa5fleet", b"\xa5" + other.encode())})
    for source in ("fleet", "other", "third"):
        client.hset(LEDGER, f"{source}:appended", MANY)
    drainer = drain(client, store, settings={"batch_count": 3 * MANY}, sources={})
    assert drainer.run() == {"claimed": 3 * MANY, "held": 3 * MANY}
    assert set(held(client)) == {"fleet", "other", "third"}
