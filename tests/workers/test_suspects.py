"""An entry that ends, hangs or overtaxes its workers, and what it may not cost the others."""

from typing import Any

import psycopg
import pytest
import redis
from workers.store import Stored

from shared import inbox
from shared.errors import Unavailable
from tests.workers.conftest import Rows
from tests.workers.test_tasks import Flaky, Killed, drain, ledger
from workers import parse
from workers.dead_letters import WHOLE, DeadLetter
from workers.drain.intake import SUSPECT
from workers.drain.read import ALONE, Parsed
from workers.drain.store import Refused, Store

AT_ONCE = {"reclaim_seconds": 0.001}
DEADLY = b"deadly"


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Reading a deadly callback ends the worker; the sizes of the batches that it ended."""
    read, died = parse.read, []

    def read_or_die(entry: inbox.Entry, sources: Any) -> Parsed:
        if DEADLY in entry.packed:
            died.append(entry.deliveries)
            raise Killed
        return read(entry, sources)

    monkeypatch.setattr(parse, "read", read_or_die)
    return died


def workers(client: redis.Redis, store: Any, most: int = 20) -> int:
    """Worker after worker, until one lives; how many died."""
    for died in range(most):
        try:
            drain(client, store, f"worker {died}", settings=AT_ONCE).run()
        except Killed:
            continue
        return died
    return most


def test_what_ends_its_workers_becomes_a_dead_letter_and_its_batch_is_stored(
    client: redis.Redis,
    store: Store,
    rows: Rows,
    put: Any,
    deadly: list[int],
) -> None:
    put(4)
    put(1, DEADLY)
    put(4)
    assert workers(client, store) == SUSPECT + ALONE
    assert deadly == [*range(1, SUSPECT + ALONE + 1)]
    assert ledger(client)["stored"] == 8
    (letter,) = rows("SELECT * FROM dead_letters")
    assert (letter["item"], letter["stage"], letter["reason"]) == (WHOLE, "drain", "it ends its workers")
    (dead,) = rows("SELECT * FROM callbacks WHERE outcome = 'dead'")
    assert (dead["id"], bytes(dead["body"])) == (letter["callback_id"], DEADLY)
    assert client.xlen(inbox.INBOX) == 0


def test_the_others_are_stored_before_a_suspect_is_tried_again(
    client: redis.Redis,
    store: Store,
    put: Any,
    deadly: list[int],
) -> None:
    put(1, DEADLY)
    put(8)
    assert workers(client, store, SUSPECT + 1) == SUSPECT + 1
    workers(client, store, 1)
    assert ledger(client)["stored"] == 8


def test_while_postgresql_does_not_answer_no_suspect_is_tried(
    client: redis.Redis,
    store: Store,
    put: Any,
    deadly: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(1, DEADLY)
    assert workers(client, store, SUSPECT) == SUSPECT
    monkeypatch.setattr(store, "answers", lambda: False)
    for _ in range(10):
        assert drain(client, store, settings=AT_ONCE).run() == {"claimed": 0}
    assert len(deadly) == SUSPECT


def test_no_outage_however_long_makes_a_dead_letter(
    client: redis.Redis,
    store: Store,
    rows: Rows,
    put: Any,
) -> None:
    put(3)
    away = Flaky(store, *[Unavailable("away")] * 500)
    for number in range(50):
        settings = {**AT_ONCE, "drain_seconds": 0.02}
        drain(client, away, f"worker {number}", settings=settings, sleep=lambda _: None).run()
    assert drain(client, store, settings=AT_ONCE).run() == {"claimed": 3, "stored": 3}
    assert rows("SELECT FROM dead_letters") == []


class Overtaxed(Flaky):
    """PostgreSQL cannot do one of the callbacks, however often it is tried."""

    def store(self, batch: Any, *how: Any) -> list[Stored]:
        bad = [DEADLY in it.callback.body and not any(letter.stage == "drain" for letter in it.letters) for it in batch]
        results = iter(self._store.store([it for it, its in zip(batch, bad, strict=True) if not its], *how))
        refused = Refused(DeadLetter(WHOLE, "store", "too much", "too much"), certain=False)
        return [refused if its else next(results) for its in bad]


def test_what_overtaxes_postgresql_is_blamed_and_the_others_are_not(
    client: redis.Redis,
    store: Store,
    rows: Rows,
    put: Any,
) -> None:
    put(4)
    put(1, DEADLY)
    for _ in range(20):  # more than enough
        drain(client, Overtaxed(store), settings=AT_ONCE).run()
    (letter,) = rows("SELECT detail FROM dead_letters")
    assert letter["detail"].startswith(f"{SUSPECT + ALONE} workers")
    assert (ledger(client)["stored"], ledger(client)["dead"]) == (4, 1)
    assert client.xlen(inbox.INBOX) == 0


def test_orphans_are_found_by_the_next_drain(client: redis.Redis, store: Store, put: Any) -> None:
    put(5)
    with pytest.raises(Killed):
        drain(client, Flaky(store, Killed()), "deleted").run()
    client.xgroup_delconsumer(inbox.INBOX, inbox.GROUP, "deleted")
    client.delete("callbox:audited")
    assert drain(client, store, settings=AT_ONCE).run() == {"claimed": 5, "stored": 5}


def test_a_lock_held_for_long_costs_no_callback(
    client: redis.Redis,
    store: Store,
    database_url: str,
    rows: Rows,
    put: Any,
) -> None:
    put(5)
    impatient = Store(database_url, statement_seconds=0.2)
    settings = {**AT_ONCE, "drain_seconds": 0.5}
    with psycopg.connect(database_url) as other:
        other.execute("LOCK TABLE callbacks")
        for _ in range(SUSPECT + ALONE):
            drain(client, impatient, settings=settings, sleep=lambda _: None).run()
    impatient.close()
    assert drain(client, store, settings=AT_ONCE).run() == {"claimed": 5, "stored": 5}
    assert rows("SELECT FROM dead_letters") == []
