"""An entry that ends, hangs or overtaxes its workers, and what it may not cost the others."""

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pytest

from shared.errors import Unavailable
from shared.inbox import Entry, Shard
from shared.inbox.keys import GROUP
from shared.outcomes import Stage
from tests.keys import AUDITED, INBOX
from tests.workers.conftest import Rows
from tests.workers.drain.test_drainer import Killed, drain, ledger
from workers.database import Database
from workers.dead_letters import WHOLE, DeadLetter
from workers.drain import drainer
from workers.drain.intake import SUSPECT
from workers.drain.read import ALONE, Parsed, read_unless_deadly
from workers.drain.run import Run
from workers.drain.store import Pending, Refused, Result, Store

AT_ONCE = {"reclaim_seconds": 0.001}
DEADLY = b"deadly"


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Reading a deadly callback ends the worker; the deliveries of those that did."""
    died: list[int] = []

    def read_or_die(entry: Entry, sources: Any) -> Parsed:
        if DEADLY in entry.packed and entry.deliveries <= SUSPECT + ALONE:
            died.append(entry.deliveries)
            raise Killed
        return read_unless_deadly(entry, sources)

    monkeypatch.setattr(drainer, "read_unless_deadly", read_or_die)
    return died


def workers(client: Shard, store: Any, most: int = 20) -> int:
    """Worker after worker, until one lives; how many died."""
    for died in range(most):
        try:
            drain(client, store, f"worker {died}", settings=AT_ONCE).run()
        except Killed:
            continue
        return died
    return most


def test_what_ends_its_workers_becomes_a_dead_letter_and_its_batch_is_stored(
    client: Shard,
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
    (dead_letter,) = rows("SELECT * FROM dead_letters")
    assert (dead_letter["item"], dead_letter["stage"], dead_letter["reason"]) == (WHOLE, "drain", "crashes its worker")
    (dead,) = rows("SELECT * FROM callbacks WHERE outcome = 'dead'")
    assert (dead["id"], bytes(dead["body"])) == (dead_letter["callback_id"], DEADLY)
    assert client.xlen(INBOX) == 0


def test_the_others_are_stored_before_a_suspect_is_tried_again(
    client: Shard,
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
    client: Shard,
    store: Store,
    put: Any,
    deadly: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(1, DEADLY)
    assert workers(client, store, SUSPECT) == SUSPECT
    monkeypatch.setattr(store, "is_working", lambda: False)
    for _ in range(10):
        assert drain(client, store, settings=AT_ONCE).run() == {"claimed": 0}
    assert len(deadly) == SUSPECT


def test_no_outage_however_long_makes_a_dead_letter(
    client: Shard,
    store: Store,
    failing: Callable[..., Store],
    rows: Rows,
    put: Any,
) -> None:
    put(3)
    away = failing(*[Unavailable("away")] * 500)
    for number in range(50):
        settings = {**AT_ONCE, "drain_seconds": 0.02}
        drain(client, away, f"worker {number}", settings=settings, sleep=lambda _: None).run()
    assert drain(client, store, settings=AT_ONCE).run() == {"claimed": 3, "stored": 3}
    assert rows("SELECT FROM dead_letters") == []


class Overtaxed(Store):
    """PostgreSQL cannot do one of the callbacks, however often it is tried."""

    def begin(self, batch: Sequence[Parsed]) -> Pending:
        pending = super().begin([parsed for parsed in batch if not _is_too_much(parsed)])
        finish = pending.finish

        def refusing(run: Run) -> list[Result] | None:
            results = iter(finish(run) or ())
            return [_TOO_MUCH if _is_too_much(parsed) else next(results) for parsed in batch]

        pending.finish = refusing  # type: ignore[method-assign]
        return pending


_TOO_MUCH = Refused(DeadLetter(WHOLE, Stage.STORE, "too much", "too much"), certain=False)


def _is_too_much(parsed: Parsed) -> bool:
    is_dead = any(dead_letter.stage is Stage.DRAIN for dead_letter in parsed.dead_letters)
    return DEADLY in parsed.callback.body and not is_dead


def test_what_overtaxes_postgresql_is_blamed_and_the_others_are_not(
    client: Shard,
    store: Store,
    rows: Rows,
    put: Any,
) -> None:
    put(4)
    put(1, DEADLY)
    for _ in range(20):  # more than enough
        drain(client, Overtaxed(store.database), settings=AT_ONCE).run()
    (dead_letter,) = rows("SELECT detail FROM dead_letters")
    assert dead_letter["detail"].startswith(f"{SUSPECT + ALONE} times a worker took it")
    assert (ledger(client)["stored"], ledger(client)["dead"]) == (4, 1)
    assert client.xlen(INBOX) == 0


def test_orphans_are_found_by_the_next_drain(
    client: Shard, store: Store, failing: Callable[..., Store], put: Any
) -> None:
    put(5)
    with pytest.raises(Killed):
        drain(client, failing(Killed()), "deleted").run()
    client.xgroup_delconsumer(INBOX, GROUP, "deleted")
    client.delete(AUDITED)
    assert drain(client, store, settings=AT_ONCE).run() == {"claimed": 5, "stored": 5}


def test_a_lock_held_for_long_costs_no_callback(
    client: Shard,
    store: Store,
    database_url: str,
    rows: Rows,
    put: Any,
) -> None:
    put(5)
    impatient = Store(Database(database_url, statement_seconds=0.2))
    settings = {**AT_ONCE, "drain_seconds": 0.5}
    with psycopg.connect(database_url) as other:
        other.execute("LOCK TABLE callbacks")
        for _ in range(SUSPECT + ALONE):
            drain(client, impatient, settings=settings, sleep=lambda _: None).run()
    impatient.database.close()
    assert drain(client, store, settings=AT_ONCE).run() == {"claimed": 5, "stored": 5}
    assert rows("SELECT FROM dead_letters") == []
